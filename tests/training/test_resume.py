import json

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.training import ResumableRun

EPOCHS = 4


@pytest.fixture(scope="module")
def arrays():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (48, 32, 32, 3), dtype="uint8")
    return images, generator.integers(0, 10, 48)


def new_model():
    # With its augmentation: the state of its random numbers must be resumed too.
    return keras_lc.ResNetLC(depth=8, width=4, expansion=2, seed=1)


class StopAfter(keras.callbacks.Callback):
    """Ends the process' work as Ctrl-C does, in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now == self.epoch and batch == 1:
            raise KeyboardInterrupt


def train(folder, arrays, *callbacks):
    run = ResumableRun(folder)
    model, epoch = run.restore() or (new_model(), 0)
    model.fit(
        *arrays, batch_size=16, epochs=EPOCHS, initial_epoch=epoch, verbose=0,
        callbacks=[run, *callbacks],
    )  # fmt: skip
    return model, run


@pytest.fixture(scope="module")
def uninterrupted(arrays, tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"), arrays)


def test_stopped_and_resumed_run_ends_as_the_uninterrupted_one(arrays, uninterrupted, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, arrays, StopAfter(2))
    model, run = train(tmp_path, arrays)
    for a, b in zip(uninterrupted[0].get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.history == uninterrupted[1].history


def model_with_dropout():
    """Random numbers from Keras' own layers, one of them in a nested model."""
    inner = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.RandomTranslation(0.2, 0.2)])
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            inner,
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, kernel_initializer="zeros"),
        ]
    )
    model.compile(keras.optimizers.SGD(1e-2), "mse")
    return model


def test_dropout_and_augmentation_of_keras_go_on_where_they_were(arrays, tmp_path):
    images, labels = arrays
    fit = dict(x=images, y=np.eye(10)[labels], batch_size=16, shuffle=False, verbose=0)
    keras.utils.set_random_seed(5)
    whole = model_with_dropout()
    whole.fit(**fit, epochs=2)

    keras.utils.set_random_seed(5)
    model_with_dropout().fit(**fit, epochs=1, callbacks=[ResumableRun(tmp_path)])
    keras.utils.set_random_seed(6)  # another process
    run = ResumableRun(tmp_path)
    resumed, epoch = run.restore()
    resumed.fit(**fit, initial_epoch=epoch, epochs=2, callbacks=[run])
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_history_has_one_value_an_epoch(uninterrupted):
    run = uninterrupted[1]
    assert {name: len(values) for name, values in run.history.items()} == {
        "accuracy": EPOCHS,
        "loss": EPOCHS,
    }
    assert json.loads((run.folder / "history.json").read_text()) == run.history


def test_the_last_two_checkpoints_are_kept(uninterrupted):
    names = sorted(path.name for path in uninterrupted[1].folder.iterdir())
    assert names == [
        "checkpoint-0003.keras",
        "checkpoint-0003.seeds.json",
        "checkpoint-0004.keras",
        "checkpoint-0004.seeds.json",
        "history.json",
    ]


def test_figures_that_not_every_epoch_has_are_restored_as_they_were(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1), "float32")
    run = ResumableRun(tmp_path)
    model.fit(x, x, epochs=4, validation_data=(x, x), validation_freq=2, callbacks=[run], verbose=0)
    # As after a kill between the writing of the history and of the checkpoint.
    (tmp_path / "checkpoint-0004.keras").unlink()
    resumed = ResumableRun(tmp_path)
    assert resumed.restore()[1] == 3
    assert {name: len(values) for name, values in resumed.history.items()} == {
        "loss": 3,
        "val_loss": 1,
    }


def test_a_run_without_a_checkpoint_cannot_be_finished(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        ResumableRun(tmp_path).finish(tmp_path / "model.keras")


def test_nothing_to_restore_in_a_new_folder(tmp_path):
    assert ResumableRun(tmp_path / "new").restore() is None


def test_half_written_files_are_not_taken_for_checkpoints(tmp_path):
    (tmp_path / ".checkpoint-0009.keras.tmp.keras").write_bytes(b"half")
    assert ResumableRun(tmp_path).restore() is None


def test_finish_leaves_the_model_alone(arrays, tmp_path):
    model, run = train(tmp_path, arrays)
    run.finish(tmp_path / "model.keras")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["history.json", "model.keras"]
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[-1], model.get_weights()[-1])
