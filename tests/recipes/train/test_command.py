"""`python -m recipes.train`, on a small folder of real digits."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_lc
from recipes.common.folder import record
from recipes.common.settings import Settings as Arguments
from recipes.evaluate.run import evaluate
from recipes.evaluate.settings import Evaluation
from recipes.predict.command import Arguments as PredictArguments
from recipes.predict.run import predict
from recipes.train.run import run

ROOT = pathlib.Path(__file__).parents[3]
EPOCHS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three digits as colour images, 24 a class for training and 8 for testing."""
    folder = tmp_path_factory.mktemp("images")
    digits = keras_lc.data.load("digits", progress=False)
    for split, x, y, count in (
        ("train", digits.x_train, digits.y_train, 24),
        ("test", digits.x_test, digits.y_test, 8),
    ):
        for label in range(3):
            target = folder / split / str(label)
            target.mkdir(parents=True)
            for i, image in enumerate(x[y == label][:count]):
                Image.fromarray(np.repeat(image, 3, axis=-1)).save(target / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LC_CACHE", str(tmp_path / "cache"))


def arguments(folder, output, **kwargs):
    small = {"depth": 8, "width": 4, "expansion": 2, "epochs": EPOCHS, "batch_size": 16}
    return Arguments(**{
        "dataset": "three", "data_dir": folder, "output": output, "augmentation": "crop_flip",
        **small, **kwargs,
    })  # fmt: skip


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    os.environ["KERAS_LC_CACHE"] = str(output.parent / "cache")
    return output, run(arguments(folder, output))


def test_writes_its_files_and_nothing_else(finished):
    names = sorted(path.name for path in finished[0].iterdir())
    assert names == ["config.json", "curves.png", "history.json", "model.keras", "seconds.json"]


def test_reported_accuracy_is_that_of_the_saved_model(finished, folder):
    output, results = finished
    data = keras_lc.data.load("three", folder, progress=False)
    model = keras.saving.load_model(output / "model.keras")
    predicted = np.argmax(keras.ops.convert_to_numpy(model(data.x_test)), axis=-1)
    assert results["test_correct"] == int(np.sum(predicted == data.y_test))
    assert results["test_accuracy"] == results["test_correct"] / 24


@pytest.mark.once
def test_the_saved_model_knows_the_names_of_its_classes(finished):
    assert keras.saving.load_model(finished[0] / "model.keras").class_names == ("0", "1", "2")


@pytest.mark.once
def test_a_finished_run_answers_by_name(finished, folder, capsys):
    output, results = finished
    found = predict(PredictArguments(output, (folder / "test",), top=1, json=True))
    right = [answer.picture.split("/")[-2] == answer.names[0] for answer in found]
    assert sum(right) == results["test_correct"] and len(right) == 24
    assert json.loads(capsys.readouterr().out)[0]["classes"][0]["name"] == found[0].names[0]


@pytest.mark.once
def test_reported_parameters_add_up(finished):
    output, results = finished
    model = keras.saving.load_model(output / "model.keras")
    lc = [layer for layer in model.layers if isinstance(layer, keras_lc.LCConv2D)]
    assert results["frozen_parameters"] == sum(int(np.prod(layer.basis.shape)) for layer in lc)
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert results["trained_parameters"] == trained


def test_config_says_how_the_run_was_made(finished):
    config = json.loads((finished[0] / "config.json").read_text())
    assert config["arguments"]["expansion"] == 2
    assert config["backend"] == keras.backend.backend()
    assert config["versions"]["keras"] == keras.__version__
    assert config["results"] == finished[1]
    assert {"device", "git_commit", "started"} <= config.keys()


def test_history_has_training_and_test_values_of_every_epoch(finished):
    history = json.loads((finished[0] / "history.json").read_text())
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        ["accuracy", "loss", "val_accuracy", "val_loss"], EPOCHS
    )
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.once
def test_curves_are_a_picture(finished):
    with Image.open(finished[0] / "curves.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


# Under the other backends the run that is resumed below shows it.
@pytest.mark.once
def test_equal_arguments_give_equal_runs(finished, folder, tmp_path):
    run(arguments(folder, tmp_path / "again"))
    first, second = (
        json.loads((output / "history.json").read_text())
        for output in (finished[0], tmp_path / "again")
    )
    assert first == second


@pytest.mark.once
def test_finished_run_is_not_overwritten(finished, folder, capsys):
    before = {path.name: path.read_bytes() for path in finished[0].iterdir()}
    with pytest.raises(SystemExit, match="already holds a run"):
        run(arguments(folder, finished[0]))
    assert run(arguments(folder, finished[0], resume=True)) == finished[1]
    assert "is finished" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in finished[0].iterdir()} == before


def command(folder, output, *more):
    words = [sys.executable, "-m", "recipes.train", "--dataset", "three", "--data-dir", folder]
    words += ["--output", output, "--depth", 8, "--width", 4, "--expansion", 2, "--epochs", EPOCHS]
    words += ["--batch-size", 16, "--augmentation", "crop_flip", *more]
    return list(map(str, words))


def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_end(finished, folder, tmp_path):
    output = tmp_path / "stopped"
    said = ""
    with subprocess.Popen(
        command(folder, output), cwd=ROOT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        for line in process.stdout:
            said += line
            if line.startswith("Epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        said += process.stdout.read()
    assert process.returncode == 130, said
    resume = re.search(r"Resume with: (python -m recipes\.train .* --resume)", said)
    assert resume, said
    with pytest.raises(SystemExit, match=r"--expansion: 2 then, 4 now"):
        run(arguments(folder, output, expansion=4, resume=True))
    fewer = shutil.copytree(folder, tmp_path / "fewer")
    (fewer / "train" / "0" / "0.png").unlink()
    with pytest.raises(SystemExit, match="The run was started with other images"):
        run(arguments(fewer, output, resume=True))
    results = run(arguments(folder, output, resume=True))
    seconds = json.loads((output / "seconds.json").read_text())
    assert len(seconds) == EPOCHS and results["seconds"] == sum(seconds)
    whole, resumed = (
        keras.saving.load_model(path / "model.keras") for path in (finished[0], output)
    )
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    config = json.loads((output / "config.json").read_text())
    (part,) = config["resumed"]
    assert part["started"] > config["started"] and part["backend"] == config["backend"]


@pytest.mark.once
def test_environment_of_the_start_is_kept_and_later_ones_are_added():
    def environment(backend, started):
        about = {"backend": backend, "device": "2 CPU cores", "versions": {}, "git_commit": "1"}
        return {**about, "started": started, "data": {"fingerprint": "abc"}}

    first, second, third = map(environment, ("torch", "jax", "jax"), ("1", "2", "3"))
    assert record(None, first) == first
    twice = record(record(first, second), third)
    assert (twice["backend"], twice["started"]) == ("torch", "1")
    assert [(part["backend"], part["started"]) for part in twice["resumed"]] == [
        ("jax", "2"),
        ("jax", "3"),
    ]


@pytest.mark.once
def test_resume_needs_the_folder():
    with pytest.raises(SystemExit, match="--resume needs --output"):
        run(Arguments(resume=True))


@pytest.mark.once
@pytest.mark.parametrize("spatial", ["learned", "frozen"])
def test_other_spatial_operators_train(spatial, folder, tmp_path):
    results = run(arguments(folder, tmp_path / "run", spatial=spatial, epochs=1))
    assert (results["frozen_parameters"] > 0) == (spatial == "frozen")


@pytest.mark.once
def test_missing_folder_is_named(tmp_path):
    with pytest.raises(SystemExit, match="nowhere"):
        run(Arguments(dataset="mine", data_dir=tmp_path / "nowhere", output=tmp_path / "out"))


@pytest.mark.once
def test_a_batch_of_more_images_than_there_are_is_refused(folder, tmp_path):
    with pytest.raises(SystemExit, match=r"--batch-size must be .* images, 72\. Received: 5000"):
        run(arguments(folder, tmp_path / "run", batch_size=5000))


@pytest.mark.once
def test_settings_that_only_the_network_refuses_are_refused_in_one_line(folder, tmp_path):
    output = tmp_path / "run"
    with pytest.raises(SystemExit, match=r"^`width` must be .* Received: width=0$"):
        run(arguments(folder, output, network="resnet14", width_multiplier=0.001))
    assert not (output / "config.json").exists()


@pytest.mark.once
def test_photos_in_class_folders_are_divided_resized_and_named(folder, tmp_path):
    photos = tmp_path / "photos"
    for number, path in enumerate(sorted(folder.glob("train/[01]/*.png"))):
        target = photos / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.resize((24 + number, 40)).save(target)
    output = tmp_path / "out"
    own = {"image_size": 16, "test_share": 0.3, "augmentation": "auto", "epochs": 1}
    results = run(arguments(photos, output, **own))
    assert 0 < results["test_images"] < 30
    model = keras.saving.load_model(output / "model.keras")
    assert model.input_shape == (None, 16, 16, 3) and model.class_names == ("0", "1")
    evaluation = evaluate(output, Evaluation(attack_images=2))
    assert evaluation["test_accuracy"] == results["test_accuracy"]


@pytest.mark.once
def test_one_class_is_nothing_to_learn(folder, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(folder / split / "0", tmp_path / "data" / split / "0")
    with pytest.raises(SystemExit, match=r"three must have at least two classes. Received: 1"):
        run(arguments(tmp_path / "data", tmp_path / "out"))
