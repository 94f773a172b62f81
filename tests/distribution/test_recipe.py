"""`python -m recipes.train --distribute`, stopped and resumed, on two virtual devices."""

import json
import pathlib

import keras
import numpy as np
import pytest

import keras_lc
from recipes.common.settings import Settings as Arguments
from recipes.train.run import run
from tests.distribution import launch

pytestmark = pytest.mark.long

BACKEND = keras.backend.backend()
#: Several processes, where the backend has them.
MODE = "hosts" if BACKEND == "jax" else "data"
SCRIPT = pathlib.Path(__file__).with_name("train.py")


def train(folder, *more, **variables):
    """On the digits: 1,442 to train, and 355 to test, which two devices cannot share equally."""
    words = ["--dataset", "digits", "--depth", "8", "--width", "2", "--expansion", "2"]
    words += ["--epochs", "2", "--batch-size", "208", "--distribute", "data"]
    words += ["--output", str(folder), *more]
    processes = launch.processes_of(BACKEND, MODE, [str(SCRIPT), *words], **variables)
    return [process.communicate(timeout=900)[0] for process in processes]


@pytest.fixture(scope="module")
def stopped_and_resumed(tmp_path_factory):
    """The run's folder, what the stopped processes said, and what the resumed ones said."""
    folder = tmp_path_factory.mktemp("run") / "out"
    stopped = train(folder, STOP_AT="1")
    names = sorted(path.name for path in folder.iterdir())
    return folder, names, stopped, train(folder, "--resume")


def test_stopped_run_leaves_one_checkpoint_of_all_processes(stopped_and_resumed):
    _, names, stopped, _ = stopped_and_resumed
    expected = ["checkpoint-0001.keras", "config.json"]
    assert names == [*expected, "history.json", "seconds.json"], "".join(stopped)
    assert "".join(stopped).count("Resume with: python -m recipes.train") == 1


def test_resumed_run_is_finished_by_one_process(stopped_and_resumed):
    folder, _, _, resumed = stopped_and_resumed
    said = "".join(resumed)
    assert said.count("test accuracy") == 1, said
    assert "2 replicas in" in said
    names = sorted(path.name for path in folder.iterdir())
    expected = ["config.json", "curves.png", "history.json", "model.keras", "seconds.json"]
    assert names == expected
    history = json.loads((folder / "history.json").read_text())
    assert {len(values) for values in history.values()} == {2}
    assert history["loss"][1] < history["loss"][0]


def test_reported_accuracy_is_that_of_the_saved_model_on_one_device(stopped_and_resumed):
    folder = stopped_and_resumed[0]
    data = keras_lc.data.load("digits", progress=False)
    model = keras.saving.load_model(folder / "model.keras")
    predicted = np.argmax(model.predict(data.x_test, verbose=0), axis=-1)
    results = json.loads((folder / "config.json").read_text())["results"]
    assert results["test_correct"] == int(np.sum(predicted == data.y_test))
    assert results["test_images"] == 355


def test_what_the_backend_cannot_do_ends_the_command(tmp_path, monkeypatch):
    if BACKEND == "jax":
        monkeypatch.setattr(keras_lc.distribution, "distribute", lambda kind: TwoProcesses())
        with pytest.raises(SystemExit, match="need --output"):
            run(Arguments(distribute="data"))
    else:
        with pytest.raises(SystemExit, match=r"--distribute model: .* KERAS_BACKEND=jax"):
            run(Arguments(distribute="model", output=tmp_path / "out"))


class TwoProcesses(keras_lc.distribution.Distribution):
    processes = 2
