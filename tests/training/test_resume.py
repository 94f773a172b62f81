import errno
import json
import os
import shutil
import zipfile

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
        "checkpoint-0004.keras",
        "history.json",
    ]


@pytest.mark.once
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


@pytest.mark.once
def test_a_run_without_a_checkpoint_cannot_be_finished(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        ResumableRun(tmp_path).finish(tmp_path / "model.keras")


@pytest.mark.once
def test_nothing_to_restore_in_a_new_folder(tmp_path):
    assert ResumableRun(tmp_path / "new").restore() is None


@pytest.mark.once
def test_half_written_files_are_not_taken_for_checkpoints(tmp_path):
    (tmp_path / ".checkpoint-0009.keras.tmp.keras").write_bytes(b"half")
    assert ResumableRun(tmp_path).restore() is None


# --- a checkpoint belongs to one run ---

X = np.linspace(0, 1, 8, dtype="float32").reshape(4, 2)


def small_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def fit(run, model, epochs, first=0):
    model.fit(
        X, X[:, :1], epochs=epochs, initial_epoch=first, shuffle=False, verbose=0, callbacks=[run]
    )


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    fit(ResumableRun(folder, config={"depth": 8}), small_model(), 3)
    return folder


@pytest.fixture
def folder(three_epochs, tmp_path):
    """After three epochs, of which the last two are kept."""
    return shutil.copytree(three_epochs, tmp_path / "run")


def restore(folder, **config):
    run = ResumableRun(folder, config={"depth": 8, **config})
    return run, *run.restore()


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-200])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.once
@pytest.mark.parametrize("damage", [cut_off, empty, flip_a_bit, zero])
def test_a_damaged_newest_checkpoint_is_passed_over_for_the_older_one(damage, folder, three_epochs):
    damage(folder / "checkpoint-0003.keras")
    with pytest.warns(UserWarning, match=r"checkpoint-0003\.keras is damaged .* older one"):
        run, model, epoch = restore(folder)
    assert epoch == 2 and len(run.history["loss"]) == 2
    fit(run, model, 3, first=2)
    whole, again = restore(three_epochs), restore(folder)
    assert whole[0].history == again[0].history
    for a, b in zip(whole[1].get_weights(), again[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.once
def test_damaged_checkpoints_alone_are_an_error(folder):
    for path in folder.glob("*.keras"):
        cut_off(path)
    with pytest.raises(ValueError, match=r"0003\.keras is damaged .* start a new run"):
        restore(folder)


def swap_generations(folder):
    first, second = folder / "checkpoint-0002.keras", folder / "checkpoint-0003.keras"
    first.rename(folder / "other")
    second.rename(first)
    (folder / "other").rename(second)


def another_model(folder):
    small_model().save(folder / "checkpoint-0003.keras")


def stray_copy(folder):
    shutil.copy(folder / "checkpoint-0003.keras", folder / "checkpoint-0009.keras")


def of_another_run(folder):
    other = ResumableRun(folder.parent / "other", config={"depth": 8})
    fit(other, small_model(), 3)
    shutil.copy(other.folder / "checkpoint-0003.keras", folder)


def more_steps(folder):
    rewrite_state(folder / "checkpoint-0003.keras", iterations=9)


def rewrite_state(path, **changes):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["run.json"] = json.dumps(json.loads(members["run.json"]) | changes)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_generations, "0003.keras was written after epoch 2, but its name says another epoch"),
        (stray_copy, "0009.keras was written after epoch 3, but its name says another epoch"),
        (another_model, "0003.keras is not a checkpoint, but another model's file"),
        (of_another_run, "0002.keras and checkpoint-0003.keras are from different runs"),
        (more_steps, "was written after 9 steps, but its optimizer has taken 3"),
    ],
)
def test_a_checkpoint_that_is_not_of_this_run_and_epoch_is_refused(change, message, folder):
    change(folder)
    with pytest.raises(ValueError, match=message):
        restore(folder)


@pytest.mark.once
def test_a_run_with_other_settings_is_refused(folder):
    with pytest.raises(ValueError, match="other settings: depth: 8 then, 14 now; width: None then"):
        restore(folder, depth=14, width=4)


@pytest.mark.once
def test_the_history_is_that_of_the_checkpoint(folder):
    whole = json.loads((folder / "history.json").read_text())
    (folder / "history.json").write_text('{"loss": [0.0]}')
    run, _, _ = restore(folder)
    assert run.history == whole
    run.finish(folder / "model.keras")
    assert json.loads((folder / "history.json").read_text()) == whole


@pytest.mark.once
def test_a_run_that_begins_refuses_a_folder_with_checkpoints(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"holds checkpoints of another run\. Call `restore\(\)`"):
        fit(ResumableRun(folder), small_model(), 3)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.once
def test_a_run_that_begins_refuses_a_folder_with_a_finished_model(folder):
    restore(folder)[0].finish(folder / "model.keras")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"holds the `model\.keras` of a finished run"):
        fit(ResumableRun(folder), small_model(), 3)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.once
def test_one_run_is_of_one_model(tmp_path, folder):
    run = ResumableRun(tmp_path / "new")
    fit(run, small_model(), 1)
    with pytest.raises(ValueError, match="belongs to the model that it restored, or to the first"):
        fit(run, small_model(), 1)
    run, _, _ = restore(folder)
    with pytest.raises(ValueError, match="belongs to the model that it restored"):
        fit(run, small_model(), 4, first=3)


def test_fit_goes_on_where_the_run_has_ended(folder):
    run, model, _ = restore(folder)
    with pytest.raises(ValueError, match=r"finished 3 epochs.* `initial_epoch=3`.*initial_epoch=0"):
        fit(run, model, 4)
    fit(run, model, 4, first=3)
    fit(run, model, 5, first=4)
    assert len(run.history["loss"]) == 5


@pytest.mark.once
def test_what_a_killed_process_left_half_written_is_removed(folder):
    (folder / ".checkpoint-0009.keras.tmp.keras").write_bytes(b"half")
    run, model, _ = restore(folder)
    fit(run, model, 4, first=3)
    assert not list(folder.glob(".*"))


@pytest.mark.once
def test_where_the_disk_is_full_nothing_half_written_stays(folder, monkeypatch):
    run, model, _ = restore(folder)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", full)
        fit(run, model, 4, first=3)
    assert not list(folder.glob(".*"))
    assert restore(folder)[2] == 3


def test_the_finished_model_is_the_one_that_was_trained(folder):
    run, model, _ = restore(folder)
    fit(run, model, 4, first=3)
    another_model_appears = folder / "checkpoint-0009.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save(another_model_appears)
    run.finish(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.once
def test_finish_leaves_the_model_alone(arrays, tmp_path):
    model, run = train(tmp_path, arrays)
    run.finish(tmp_path / "model.keras")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["history.json", "model.keras"]
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights()[-1], model.get_weights()[-1])
