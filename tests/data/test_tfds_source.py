import sys
import types

import numpy as np
import pytest
from PIL import Image

from keras_lc.data import load

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """TFDS' own writer prepares a few images, with class names that only their files know."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    data_dir = tmp_path_factory.mktemp("tensorflow_datasets")
    rng = np.random.default_rng(0)
    examples = {}
    for name, shape in (("cifar10", (32, 32, 3)), ("fashion_mnist", (28, 28, 1))):
        examples[name] = {
            split: [
                {"image": rng.integers(0, 256, shape, np.uint8), "label": label} for label in labels
            ]
            for split, labels in (("train", [2, 0, 1, 1]), ("test", [1, 2]))
        }
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.2.3",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=shape),
                    "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
                }
            ),
            split_datasets={
                split: tf.data.Dataset.from_tensor_slices(
                    {key: [example[key] for example in stored] for key in ("image", "label")}
                )
                for split, stored in examples[name].items()
            },
            data_dir=data_dir,
        )
    return data_dir, examples


def pairs(x, y):
    """As a set: TFDS stores its examples in an order of its own."""
    return {(image.tobytes(), int(label)) for image, label in zip(x, y, strict=True)}


def stored_pairs(examples):
    return {(example["image"].tobytes(), example["label"]) for example in examples}


def assert_is_prepared_cifar10(data, examples):
    assert pairs(data.x_train, data.y_train) == stored_pairs(examples["cifar10"]["train"])
    assert pairs(data.x_test, data.y_test) == stored_pairs(examples["cifar10"]["test"])


def test_reads_prepared_data_in_data_dir(prepared):
    data_dir, examples = prepared
    data = load("cifar10", data_dir)
    assert_is_prepared_cifar10(data, examples)
    assert data.x_train.shape == (4, 32, 32, 3)
    assert data.y_train.dtype == np.int32


def test_reads_prepared_data_in_the_folder_of_tfds(prepared, monkeypatch):
    data_dir, examples = prepared
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert_is_prepared_cifar10(load("cifar10"), examples)


def test_prepared_data_is_not_downloaded_again(prepared, monkeypatch):
    data_dir, examples = prepared
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert_is_prepared_cifar10(load("cifar10", download=True), examples)


def test_class_names_are_those_of_the_prepared_data(prepared):
    assert load("cifar10", prepared[0]).class_names == ("ant", "bee", "cow")


def test_fashion_mnist_is_upscaled_from_there_too(prepared):
    data_dir, examples = prepared
    data = load("fashion_mnist", data_dir)
    expected = {
        (
            Image.fromarray(example["image"][..., 0])
            .resize((32, 32), Image.Resampling.BILINEAR)
            .tobytes(),
            example["label"],
        )
        for example in examples["fashion_mnist"]["train"]
    }
    assert data.image_shape == (32, 32, 1)
    assert pairs(data.x_train, data.y_train) == expected


@pytest.mark.parametrize("module", ["tensorflow", "tensorflow_datasets"])
def test_a_missing_package_is_named_with_what_to_install(module, prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module},.* pip install \"keras-lc\[data"):
        load("cifar10", prepared[0])


class FakeBuilder:
    """A builder of TFDS that counts what it is asked to download."""

    downloads = 0

    def __init__(self, name, data_dir):
        self.name, self.data_dir = name, data_dir
        self.info = types.SimpleNamespace(
            features={"label": types.SimpleNamespace(names=["ant", "bee"])}
        )

    def download_and_prepare(self):
        FakeBuilder.downloads += 1

    def as_dataset(self, split, batch_size, shuffle_files):
        images = {"image": np.zeros((2, 32, 32, 3), np.uint8), "label": np.array([0, 1])}
        return [images for _ in split]


@pytest.fixture
def fake_tfds(monkeypatch):
    fake = types.ModuleType("tensorflow_datasets")
    fake.builder = FakeBuilder
    fake.as_numpy = lambda data: data
    fake.disable_progress_bar = lambda: None
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    monkeypatch.setattr(FakeBuilder, "downloads", 0)


def test_nothing_is_downloaded_unless_asked_for(fake_tfds):
    with pytest.raises(FileNotFoundError, match="download=True"):
        load("cifar10")
    assert FakeBuilder.downloads == 0


def test_downloads_on_request(fake_tfds):
    data = load("cifar10", download=True, progress=False)
    assert FakeBuilder.downloads == 1
    assert data.class_names == ("ant", "bee")
