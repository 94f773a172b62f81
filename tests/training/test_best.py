import keras
import numpy as np
import pytest

from keras_lc.training import BestModel

pytestmark = pytest.mark.once


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])


def epochs(model, callback, values, first=0):
    """Ends epochs with these accuracies, with a weight that is the number of the epoch."""
    callback.set_model(model)
    for epoch, value in enumerate(values, first):
        model.set_weights([np.full((1, 1), epoch, "float32")])
        callback.on_epoch_end(epoch, {"val_accuracy": value})


def saved_epoch(path):
    return int(keras.saving.load_model(path).get_weights()[0].item())


def test_keeps_the_first_of_the_best_epochs(model, tmp_path):
    callback = BestModel(tmp_path / "best.keras")
    epochs(model, callback, [0.1, 0.5, 0.3, 0.5, 0.2])
    assert saved_epoch(tmp_path / "best.keras") == 1
    assert callback.best == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]


def test_goes_on_from_the_history_of_a_resumed_run(model, tmp_path):
    path = tmp_path / "best.keras"
    epochs(model, BestModel(path), [0.1, 0.5])
    resumed = BestModel(path, history={"val_accuracy": [0.1, 0.5]})
    epochs(model, resumed, [0.4], first=2)
    assert saved_epoch(path) == 1
    epochs(model, resumed, [0.6], first=3)
    assert saved_epoch(path) == 3


def test_a_file_that_is_not_the_best_model_so_far_is_refused(model, tmp_path):
    path = tmp_path / "best.keras"
    history = {"val_accuracy": [0.1, 0.5]}
    with pytest.raises(ValueError, match=r"best\.keras is gone"):
        BestModel(path, history=history, run="a")
    epochs(model, BestModel(path, run="a"), [0.1, 0.3])
    with pytest.raises(ValueError, match=r"not the best model of this run\. .* was 0\.5"):
        BestModel(path, history=history, run="a")
    epochs(model, BestModel(path, run="b"), [0.1, 0.5])
    with pytest.raises(ValueError, match="not the best model of this run"):
        BestModel(path, history=history, run="a")
    model.save(path)
    with pytest.raises(ValueError, match="not the best model of this run"):
        BestModel(path, history=history, run="a")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"best\.keras is damaged"):
        BestModel(path, history=history, run="a")


def test_a_better_model_of_an_epoch_that_will_be_trained_again_is_no_error(model, tmp_path):
    path = tmp_path / "best.keras"
    epochs(model, BestModel(path, run="a"), [0.1, 0.5, 0.6])
    assert BestModel(path, history={"val_accuracy": [0.1, 0.5]}, run="a").best == 0.5


def test_a_figure_that_no_epoch_has_is_named(model, tmp_path):
    with pytest.raises(ValueError, match=r"`monitor` must be one of \['val_accuracy'\].*'top9'"):
        epochs(model, BestModel(tmp_path / "best.keras", monitor="top9"), [0.1])


def test_epochs_without_validation_are_left_out(model, tmp_path):
    model.compile("sgd", "mse", metrics=["accuracy"])
    x = np.ones((4, 1), "float32")
    best = BestModel(tmp_path / "best.keras")
    options = {"validation_data": (x, x), "validation_freq": 2, "callbacks": [best], "verbose": 0}
    with pytest.warns(UserWarning, match="Epoch 1 ended without a validation"):
        model.fit(x, x, epochs=3, **options)
    assert best.best is not None and (tmp_path / "best.keras").exists()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="`monitor` must be one of"):
        model.fit(x, x, epochs=2, callbacks=[BestModel(tmp_path / "none.keras")], verbose=0)


def test_nan_is_never_the_best(model, tmp_path):
    callback = BestModel(tmp_path / "best.keras", history={"val_accuracy": [float("nan")]})
    epochs(model, callback, [float("nan"), 0.5, float("nan"), 0.1])
    assert saved_epoch(tmp_path / "best.keras") == 1 and callback.best == 0.5
