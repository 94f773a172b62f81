"""`python -m recipes.imagenet --distribute` on two virtual devices."""

import json
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from recipes.imagenet import sources
from recipes.imagenet.input import Batches, Corrupt
from tests.distribution import launch

pytestmark = pytest.mark.long

BACKEND = keras.backend.backend()
MODE = "hosts" if BACKEND == "jax" else "data"
SCRIPT = pathlib.Path(__file__).with_name("imagenet.py")
TRAINING_IMAGES, TEST_IMAGES = 12, 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of two colours, a class each."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAINING_IMAGES), ("val", TEST_IMAGES)):
        for i in range(count):
            directory = root / split / f"n{i % 2}"
            directory.mkdir(parents=True, exist_ok=True)
            image = (120 * (i % 2) + rng.integers(0, 60, (16, 20, 3))).astype("uint8")
            Image.fromarray(image).save(directory / f"{i:02}.JPEG")
    return root


@pytest.fixture(scope="module")
def output(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    words = ["--data-dir", str(folder), "--output", str(output), "--distribute", "data"]
    words += ["--image-size", "8", "--batch-size", "6", "--epochs", "2", "--warmup-epochs", "0"]
    words += ["--augmentation", "light"]
    launch.finish(launch.processes_of(BACKEND, MODE, [str(SCRIPT), *words]))
    return output


def test_one_process_writes_the_files(output):
    names = sorted(path.name for path in output.iterdir())
    files = ["best.keras", "config.json", "curves.png", "history.json", "model.keras"]
    assert names == [*files, "seconds.json"]
    config = json.loads((output / "config.json").read_text())
    assert config["replicas"] == 2
    history = json.loads((output / "history.json").read_text())
    assert {len(values) for values in history.values()} == {2}


def test_reported_accuracy_is_that_of_the_best_model_on_one_device(output, folder):
    _, test, _ = sources.find(folder, 0)
    batches = Batches(2, image_size=8, batch_size=4, crop_ratio=0.95, seed=0, corrupt=Corrupt(0))
    data = list(batches.evaluation(test).as_numpy_iterator())
    model = keras.saving.load_model(output / "best.keras", compile=False)
    correct = sum(
        np.sum(np.argmax(model.predict_on_batch(images), -1) == np.argmax(shares, -1))
        for images, shares, _ in data
    )
    results = json.loads((output / "config.json").read_text())["results"]
    np.testing.assert_allclose(results["test_accuracy"], correct / TEST_IMAGES, rtol=1e-6)
