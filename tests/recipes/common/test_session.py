"""What surrounds the training of a run: its folder, its files, and how it ends."""

import dataclasses
import errno
import json
import os
import pathlib
import shlex
import shutil
import sys

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.training.resume import save_with_state
from recipes.common import folder as folders
from recipes.common.files import read_checked
from recipes.common.session import Session, count_parameters
from tests.recipes.fake_runs import change

pytestmark = pytest.mark.once

EPOCHS = 2
X = np.linspace(0, 1, 8, dtype="float32").reshape(4, 2)
RESULTS = {"test_accuracy": 0.5, "images_per_second": None, "compile_seconds": None}


@dataclasses.dataclass
class Arguments:
    output: pathlib.Path
    dataset: str = "digits"
    resume: bool = False
    seed: int = 0
    batch_size: int = 4
    distribute: str = "none"
    export: bool = False
    export_format: str = "tf_saved_model"
    export_quantization: str = "none"
    export_probabilities: bool = False
    export_resize: bool = False
    export_opset: int | None = None


@pytest.fixture(autouse=True)
def command(monkeypatch):
    monkeypatch.setattr(folders, "_JUST_KILLED", 0.0)
    monkeypatch.setattr(sys, "argv", ["train.py"])


def build():
    dense = keras.layers.Dense(1, kernel_initializer="ones")
    return keras.Sequential([keras.Input((2,)), dense], name="small")


def compile(model):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    # Eagerly, since compiling takes longer.
    model.compile(optimizer, "mse", weighted_metrics=["accuracy"], run_eagerly=True)


IMAGES = np.arange(1000)


def train(output, **options):
    with Session(Arguments(output, **options), "recipes.train", "digits") as session:
        if session.finished:
            return session.make_up(lambda: IMAGES)
        model, first = session.start(build, compile, data={"fingerprint": "1"})
        session.say(f"Files: {session.output}")
        model.fit(
            X, X[:, :1], epochs=EPOCHS, initial_epoch=first, shuffle=False, verbose=0,
            validation_data=(X, X[:, :1]), callbacks=[session.checkpoints],
        )  # fmt: skip
        return session.finish(model, RESULTS, {"test accuracy": "50%"}, lambda: IMAGES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    return output, train(output)


@pytest.fixture
def finished(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "finished")


def weights(output):
    return keras.saving.load_model(output / "model.keras").get_weights()


def assert_like(whole, output):
    for a, b in zip(weights(whole[0]), weights(output), strict=True):
        np.testing.assert_array_equal(a, b)
    histories = [json.loads((run / "history.json").read_text()) for run in (whole[0], output)]
    assert histories[0] == histories[1]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fails(error):
    def fail(*_, **__):
        raise error

    return fail


# --- nothing stands before the result ---


def test_the_model_is_written_although_the_pictures_fail(whole, tmp_path, monkeypatch, capsys):
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(keras_lc.analysis, "plot_curves", fails(ValueError("no [red] ink")))
        assert train(output) == whole[1]
    said = capsys.readouterr().out
    assert f"Warning: {output / 'curves.png'} was not written: no [red] ink" in said
    assert_like(whole, output)
    assert train(output, resume=True) == whole[1]
    assert "is finished" in capsys.readouterr().out
    assert sorted(contents(output)) == sorted(contents(whole[0]))


def test_the_model_is_written_although_the_export_fails(whole, tmp_path, monkeypatch, capsys):
    output = tmp_path / "run"
    monkeypatch.setattr(keras_lc, "export", fails(RuntimeError("no room")))
    assert train(output, export=True) == whole[1]
    said = capsys.readouterr().out
    assert f"Warning: {output / 'saved_model'} was not written: no room" in said
    assert "Exported" not in said
    assert_like(whole, output)


def test_the_name_of_a_data_set_is_no_formula(whole, tmp_path, capsys):
    train(tmp_path / "run", dataset="cost$\\x$")
    assert "Warning" not in capsys.readouterr().out
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000


# --- a run that is finished ---


def test_what_a_finished_run_lacks_is_made_up_for(whole, finished, monkeypatch, capsys):
    (finished / "curves.png").unlink()
    before = contents(finished)
    exported = []

    def export(model, path, format):
        exported.append((model.get_weights(), path, format))

    monkeypatch.setattr(keras_lc, "export", export)
    assert train(finished, resume=True, export=True, export_format="onnx") == whole[1]
    after = contents(finished)
    assert after.pop("curves.png").startswith(b"\x89PNG") and after == before
    ((values, path, form),) = exported
    assert (path, form) == (finished / "model.onnx", "onnx")
    np.testing.assert_array_equal(values[0], weights(finished)[0])
    assert f"Exported and verified: {path}" in capsys.readouterr().out


def test_each_kind_of_export_is_a_file_of_its_own(finished, monkeypatch):
    exported = {}

    def export(model, path, format, **options):
        exported[path.name] = options
        path.touch()

    monkeypatch.setattr(keras_lc, "export", export)
    kinds = {
        "model.tflite": {},
        "model-int8.tflite": {"quantization": "int8"},
        "model-probabilities.tflite": {"probabilities": True},
        "model-dynamic-probabilities-resize.tflite": {
            "quantization": "dynamic",
            "probabilities": True,
            "resize": True,
        },
        "model-opset15.onnx": {"opset": 15},
    }
    for name, options in kinds.items():
        chosen = {f"export_{name}": value for name, value in options.items()}
        file_format = "onnx" if name.endswith(".onnx") else "litert"
        train(finished, resume=True, export=True, export_format=file_format, **chosen)
    found = {name: options.pop("calibration", None) for name, options in exported.items()}
    assert exported == kinds
    assert [name for name in kinds if found[name] is not None] == [
        "model-int8.tflite",
        "model-dynamic-probabilities-resize.tflite",
    ]
    calibration = found["model-int8.tflite"]
    # From the whole of the training images, which a folder sorts by class.
    assert calibration[0] == 0 and calibration[-1] == 999 and len(calibration) == 256
    assert set(np.diff(calibration)) == {3, 4}


def with_best(finished, run=None):
    """Gives a finished run a best model, which its results are of. Returns its weights."""
    config = read_checked(finished / "config.json")
    change(finished / "config.json", results={**config["results"], "best_epoch": 1})
    best = build()
    best.set_weights([7 * np.ones((2, 1)), np.ones(1)])
    save_with_state(best, finished / "best.keras", {"run": run or config["run"]})
    return best.get_weights()


def test_what_is_made_up_for_is_of_the_model_that_the_results_are_of(finished, monkeypatch):
    best, exported = with_best(finished), []
    monkeypatch.setattr(keras_lc, "export", lambda model, *_, **__: exported.append(model))
    train(finished, resume=True, export=True)
    for a, b in zip(exported[0].get_weights(), best, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_best_model_that_is_not_of_the_run_is_not_exported(finished):
    with_best(finished, run="another")
    for message in ("and the config.json beside it belong to", r"is damaged \(.*No such file"):
        with pytest.raises(SystemExit, match=rf"best\.keras {message}"):
            train(finished, resume=True, export=True)
        (finished / "best.keras").unlink(missing_ok=True)


def test_a_finished_run_that_lacks_nothing_is_not_even_loaded(finished, whole, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", fails(AssertionError()))
    before = contents(finished)
    assert train(finished, resume=True) == whole[1]
    assert contents(finished) == before


def test_a_finished_run_with_other_settings_is_refused(finished):
    with pytest.raises(SystemExit, match="--seed: 0 then, 1 now"):
        train(finished, resume=True, seed=1)


def cut_off(output):
    content = (output / "model.keras").read_bytes()
    (output / "model.keras").write_bytes(content[:-100])


def flip_a_bit(output):
    content = bytearray((output / "model.keras").read_bytes())
    content[len(content) // 2] ^= 1
    (output / "model.keras").write_bytes(content)


def of_another_run(output):
    other = output.parent / "other"
    train(other)
    shutil.copy(other / "model.keras", output)


def of_no_run(output):
    build().save(output / "model.keras")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_off, r"model\.keras is damaged \(.*\)\."),
        (flip_a_bit, r"model\.keras is damaged \(.*\)\."),
        (of_another_run, r"model\.keras and the config\.json beside it belong to different runs\."),
        (of_no_run, r"model\.keras was not written by a run\."),
    ],
)
def test_a_model_that_the_run_did_not_write_is_not_its_result(damage, message, finished):
    damage(finished)
    with pytest.raises(SystemExit, match=f"{message} Restore the file, or pass another"):
        train(finished, resume=True)


def test_a_model_put_into_the_folder_of_a_stopped_run_is_not_its_result(tmp_path, finished):
    output = tmp_path / "run"
    with pytest.raises(SystemExit, match="130"):
        stopped(output, KeyboardInterrupt())
    shutil.copy(finished / "model.keras", output)
    with pytest.raises(SystemExit, match=r"model\.keras exists, but the config\.json"):
        train(output, resume=True)


# --- ended before its end ---


def stopped(output, error, at=EPOCHS - 1, **options):
    """Trains until an epoch, whose checkpoint is not written."""
    with pytest.MonkeyPatch.context() as patch:
        save = keras.Model.save

        def save_or_fail(model, path, *args, **kwargs):
            if model.optimizer.iterations == at + 1:
                raise error
            return save(model, path, *args, **kwargs)

        patch.setattr(keras.Model, "save", save_or_fail)
        train(output, **options)


def disk_error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "remedy", "at"),
    [
        (errno.ENOSPC, "No space left on device. Free space", 0),
        (errno.EROFS, "Read-only file system. Make it writable", 1),
        (errno.EACCES, "Permission denied. Give access to it", 1),
    ],
)
def test_a_disk_that_takes_no_more_is_answered_with_the_way_on(number, remedy, at, whole, tmp_path):
    output = tmp_path / "a run"
    with pytest.raises(SystemExit) as ended:
        stopped(output, disk_error(number), at)
    said, _, way_on = ended.value.code.partition(", then resume with: ")
    assert said == f"[Errno {number}] {remedy}"
    words = ["python", "-m", "recipes.train", "--output", str(output), "--resume"]
    assert shlex.split(way_on) == words
    train(output, resume=True)
    assert_like(whole, output)


# config.json, then history and checkpoint of two epochs, config.json, history, model and picture.
@pytest.mark.parametrize("place", [0, 1, 4, 5, 7, 8])
def test_a_disk_that_is_full_where_a_file_gets_its_name_costs_nothing(place, whole, tmp_path):
    output, replace, seen = tmp_path / "run", os.replace, []

    def full(*paths):
        seen.append(paths)
        if len(seen) > place:
            raise disk_error(errno.ENOSPC)
        return replace(*paths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", full)
        try:
            train(output)
        except SystemExit as error:
            assert "Free space, then resume with: python" in error.code
    assert not list(output.glob(".*"))
    train(output, resume=output.exists())
    assert_like(whole, output)


def test_ctrl_c_while_finishing_says_how_to_go_on(whole, tmp_path, monkeypatch, capsys):
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(keras_lc.training.ResumableRun, "finish", fails(KeyboardInterrupt()))
        with pytest.raises(SystemExit) as ended:
            train(output)
    assert ended.value.code == 130
    assert f"Stopped. Resume with: python -m recipes.train --output {output} --resume" in (
        capsys.readouterr().out
    )
    train(output, resume=True)
    assert_like(whole, output)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), disk_error(errno.ENOSPC)])
def test_what_ends_a_run_after_its_model_is_written_says_that_it_is_finished(
    error, whole, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "run"
    monkeypatch.setattr(Session, "_decorate", fails(error))
    with pytest.raises(SystemExit) as ended:
        train(output)
    said = f"{ended.value.code} {capsys.readouterr().out}"
    assert f"The run is finished: {output / 'model.keras'}" in said and "--resume" not in said
    assert_like(whole, output)


# --- what it prints ---


def test_paths_are_printed_as_they_are(tmp_path, capsys):
    output = tmp_path / "[red]a[/red] :smile: [link=x]"
    train(output)
    said = capsys.readouterr().out
    assert f"Files: {output}\n" in said
    with pytest.raises(SystemExit) as ended:
        train(output)
    assert str(output) in ended.value.code


def test_checkpoints_of_another_run_are_not_gone_on_with(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for output in (first, second):
        with pytest.raises(SystemExit, match="130"):
            stopped(output, KeyboardInterrupt())
    shutil.copy(first / "config.json", second)
    with pytest.raises(SystemExit, match=r"config\.json in .* belong to different runs\. Restore"):
        train(second, resume=True)


def test_a_folder_that_is_being_written_to_is_refused_before_anything_is_trained(tmp_path):
    first = Session(Arguments(tmp_path / "run"), "recipes.train", "digits")
    with first, pytest.raises(SystemExit, match=f"Another run is .*: process {os.getpid()} on"):
        train(tmp_path / "run")


def test_frozen_parameters_are_those_of_all_kernels_and_not_statistics():
    conv = keras.layers.Conv2D(4, 3, use_bias=False)
    model = keras.Sequential([keras.Input((8, 8, 1)), conv, keras.layers.BatchNormalization()])
    # As a layer of one's own can create it.
    conv.kernel.trainable = False
    assert count_parameters(model) == (8, 36)
