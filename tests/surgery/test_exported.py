"""`open_exported`: files that are not what it takes. The files of `export` are in its tests."""

import importlib
import sys

import keras
import numpy as np
import pytest

from keras_lc.surgery import open_exported

pytestmark = pytest.mark.once
module = importlib.import_module("keras_lc.surgery.exported")


def opened(shape=(None, 4, 4, 3), dtype="float32"):
    return module.ExportedModel("m", "onnx", shape, dtype, "logits", None, lambda x: x)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*none\.onnx'"):
        open_exported(tmp_path / "none.onnx")


def test_a_keras_file_is_refused(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"is not a file of `keras_lc\.export`"):
        open_exported(tmp_path / "m.keras")


@pytest.mark.parametrize("content", [b"", b"text", b"PNG and more"])
def test_another_file_is_refused(content, tmp_path):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a file of `keras_lc\.export`"):
        open_exported(tmp_path / "m.onnx")


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is a folder, but not a SavedModel"):
        open_exported(tmp_path)


def test_a_missing_runtime_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    (tmp_path / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    with pytest.raises(ImportError, match=r"m\.tflite' needs ai_edge_litert"):
        open_exported(str(tmp_path / "m.tflite"))


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 5, 3), (1, 4, 4, 1)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must have the shape \(None, 4, 4, 3\)"):
        opened()(np.zeros(shape))


def test_images_get_the_number_format_of_the_file():
    assert opened()(np.zeros((1, 4, 4, 3), "uint8")).dtype == "float32"
    image = np.full((1, 4, 4, 3), 254.6)
    image[0, 0, 0] = (-3, 300, 0.4)
    answer = opened(dtype="uint8")(image)
    assert answer.dtype == "uint8" and answer[0, 0, 0].tolist() == [0, 255, 0]
    assert answer[0, 1, 1, 0] == 255
