import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_lc
from keras_lc.data import load

pytestmark = pytest.mark.once


def test_an_unknown_name_is_answered_with_the_known_ones():
    message = (
        r"`name` must be one of cifar10, cifar100, svhn_cropped, fashion_mnist, digits, unless "
        r"`data_dir` is an image folder. Received: name='mnist'"
    )
    with pytest.raises(ValueError, match=message):
        load("mnist")


def test_a_folder_that_does_not_exist_is_named_with_how_to_get_the_data(tmp_path):
    message = r"does not exist: .*/nowhere. To get the data.*download=True.*cifar-10-binary.tar.gz"
    with pytest.raises(FileNotFoundError, match=message):
        load("cifar10", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("cifar10", "cifar-10-binary.tar.gz"),
        ("cifar100", "cifar-100-binary.tar.gz"),
        ("svhn_cropped", "train_32x32.mat"),
        ("fashion_mnist", "train-images-idx3-ubyte.gz"),
    ],
)
def test_data_that_is_nowhere_is_answered_with_each_place_tried(name, archive, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load(name)
    message = str(error.value)
    assert str(tmp_path / "tfds" / name) in message
    assert str(tmp_path / "tfds/downloads/manual") in message
    assert archive in message
    assert "download=True" in message
    assert "data_dir" in message


def test_an_empty_folder_is_answered_with_each_thing_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load("svhn_cropped", tmp_path)
    message = str(error.value)
    assert f"{tmp_path}/train/<class>/*" in message
    assert "train_32x32.mat, test_32x32.mat" in message
    assert str(tmp_path / "svhn_cropped") in message


def test_an_unknown_name_needs_an_image_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load("pets", tmp_path)
    message = str(error.value)
    assert f"{tmp_path}/train/<class>/*" in message
    assert "must be one of cifar10" in message


def test_digits_need_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"the digits come with scikit-learn"):
        load("digits", tmp_path)


def test_data_dir_is_never_downloaded_into(tmp_path):
    with pytest.raises(ValueError, match=r"`data_dir` is only read.*TFDS_DATA_DIR"):
        load("cifar10", tmp_path, download=True)


def test_a_home_folder_is_expanded(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path}/home/nowhere")):
        load("cifar10", "~/nowhere")


def test_a_missing_package_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'needs sklearn.datasets.*install "keras-lc\[data\]"'):
        load("digits")


def test_importing_it_imports_no_heavy_package():
    # Under a `keras_lc` without its `__init__`, which imports Keras and so a backend.
    code = f"""
import sys, types
package = types.ModuleType("keras_lc")
package.__path__ = [{str(Path(keras_lc.__file__).parent)!r}]
sys.modules["keras_lc"] = package
import keras_lc.data
print(*sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {
        *("tensorflow", "torch", "jax", "tensorflow_datasets"),
        *("matplotlib", "scipy", "sklearn", "PIL"),
    }
    imported = set(result.stdout.split())
    assert "keras_lc.data.load" in imported
    assert not heavy & imported


def test_images_of_another_data_format_than_keras_is_set_to_are_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match=r"height, width, channels.*'channels_first', Keras' set"):
        keras_lc.data.load("digits")
    digits = keras_lc.data.load("digits", data_format="channels_last")
    assert digits.image_shape == (32, 32, 1)


def test_no_other_data_format_can_be_asked_for():
    with pytest.raises(ValueError, match=r"data_format='channels_last'.*='channels_first'$"):
        keras_lc.data.load("digits", data_format="channels_first")
