import keras
import numpy as np
import pytest

from keras_lc.training import BestModel


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


def test_a_figure_that_no_epoch_has_is_named(model, tmp_path):
    with pytest.raises(ValueError, match=r"`monitor` must be one of \['val_accuracy'\].*'top9'"):
        epochs(model, BestModel(tmp_path / "best.keras", monitor="top9"), [0.1])
