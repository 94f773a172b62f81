"""What `export` can put into a file besides the model, and numbers of other sizes.

The workers run in this process: two new processes for each file would take too long.
"""

import importlib
import importlib.util
import json
import re
import warnings
import zipfile

import keras
import numpy as np
import pytest

from keras_lc.data.resize import square
from keras_lc.layers import LCConv2D
from keras_lc.surgery import export, open_exported
from tests.surgery.test_export import FakeWorker

# `keras_lc.surgery.export` is the function.
export_module = importlib.import_module("keras_lc.surgery.export")
exported_module = importlib.import_module("keras_lc.surgery.exported")
SIZE = 16
NAMES = ("cat", "dog", "fox", "elk")
SUFFIXES = {"tf_saved_model": "", "onnx": ".onnx", "litert": ".tflite", "torch": ".pt2"}


def load_writer():
    path = export_module._WORKERS["write"]
    spec = importlib.util.spec_from_file_location("export_worker", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def in_process(monkeypatch):
    def run(verb, format, *arguments):
        if verb == "write":
            source, target, options = arguments
            # The converters' own.
            warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
            warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter", UserWarning)
            load_writer().write(format, source, target, json.loads(options))
        else:
            exported_module._answer(*arguments)

    monkeypatch.setattr(export_module, "_run_worker", run)


def each_format(function):
    """Runs a test with the formats that are written under the current backend."""
    here = keras.backend.backend()
    formats = [name for name, spec in export_module._FORMATS.items() if spec.backend == here]
    if not formats:
        return pytest.mark.skip(reason=f"no format is written under {here}")(function)
    return pytest.mark.parametrize("format", formats)(function)


# Not together with `once`: those tests may run under another backend.
litert = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow writes it")


def make_model(activation=None, size=SIZE):
    """A network whose logits are far apart, and that takes pixel values."""
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            keras.layers.Rescaling(1 / 127.5, offset=-1.0),
            LCConv2D(8, 3, strides=2, padding="same", seed=0),
            keras.layers.ReLU(),
            LCConv2D(8, 3, strides=2, padding="same", seed=1),
            keras.layers.GlobalAveragePooling2D() if size is None else keras.layers.Flatten(),
            keras.layers.Dense(4, activation=activation),
        ],
        name="animals",
    )
    head = model.layers[-1].kernel
    head.assign(np.random.default_rng(3).normal(0, 0.3, head.shape))
    model.class_names = NAMES
    return model


def pictures(count=64, height=SIZE, width=SIZE):
    """Smooth pictures: blobs of colour, as photos have them, not noise."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).astype("uint8")
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    return coarse[:, rows][:, :, columns]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def write(model, folder, format, **options):
    return export(model, folder / f"model{SUFFIXES[format]}", format=format, **options)


class TestProbabilities:
    @each_format
    def test_a_softmax_is_added_to_logits(self, format, in_process, tmp_path):
        model = make_model()
        opened = open_exported(write(model, tmp_path, format, probabilities=True))
        assert opened.output == "probabilities" and opened.probabilities
        expected = softmax(model.predict(pictures(3), verbose=0))
        np.testing.assert_allclose(opened(pictures(3)), expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.once
    @pytest.mark.parametrize("probabilities", [False, True])
    @pytest.mark.parametrize("place", ["in a layer", "as a layer", "in an inner model"])
    def test_a_models_own_softmax_is_named_and_not_repeated(
        self, place, probabilities, monkeypatch, tmp_path
    ):
        worker = FakeWorker(monkeypatch)
        model = make_model("softmax" if place == "in a layer" else None)
        if place != "in a layer":
            model.add(keras.layers.Softmax())
        if place == "in an inner model":
            model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), model])
        export(model, tmp_path / "m.onnx", format="onnx", probabilities=probabilities)
        assert worker.options["output"] == "probabilities"
        outputs = keras.ops.convert_to_numpy(worker.source(pictures(2).astype("float32")))
        np.testing.assert_allclose(outputs, model.predict(pictures(2), verbose=0), rtol=1e-4)

    @pytest.mark.once
    def test_another_activation_gives_no_probabilities(self, monkeypatch, tmp_path):
        worker = FakeWorker(monkeypatch)
        export(make_model("sigmoid"), tmp_path / "m.onnx", format="onnx")
        assert worker.options["output"] == "outputs"
        with pytest.raises(ValueError, match=r"a model with logits .* with outputs of shape"):
            export(make_model("sigmoid"), tmp_path / "n.onnx", format="onnx", probabilities=True)

    @pytest.mark.once
    def test_a_map_of_logits_is_refused(self, tmp_path):
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 1)])
        with pytest.raises(ValueError, match=r"of shape \(None, classes\)"):
            export(model, tmp_path / "m.onnx", format="onnx", probabilities=True)


class TestResize:
    @each_format
    def test_a_picture_of_any_size_is_answered_as_after_the_pipelines_resizing(
        self, format, in_process, tmp_path
    ):
        model = make_model()
        opened = open_exported(write(model, tmp_path, format, resize=True))
        assert (opened.input_shape, opened.input_dtype) == ((None, None, None, 3), "uint8")
        for height, width in [(16, 16), (37, 50), (90, 17), (9, 30), (201, 200)]:
            x = np.random.default_rng(5).integers(0, 256, (2, height, width, 3), "uint8")
            expected = model.predict(pipeline(x), verbose=0)
            # A pixel in the middle between two values may be rounded to the other one.
            np.testing.assert_allclose(opened(x), expected, atol=5e-3 * np.abs(expected).max())

    @pytest.mark.once
    @pytest.mark.parametrize("size", [15, 16, 24])
    def test_its_pixels_are_those_of_the_pipeline(self, size):
        resize = load_writer().make_resize()(size)
        for height, width in [(16, 16), (37, 50), (50, 37), (90, 17), (9, 30), (500, 333)]:
            for channels in (1, 3):
                x = np.random.default_rng(6).integers(0, 256, (2, height, width, channels), "uint8")
                difference = np.abs(
                    keras.ops.convert_to_numpy(resize(x)) - pipeline(x, size).astype(float)
                )
                # In simple ratios, many pixels are in the middle between two values.
                assert difference.max() <= 1 and np.mean(difference) <= 0.1

    @pytest.mark.once
    @pytest.mark.parametrize("shape", [(16, 8, 3), (16, 16, 4), (3, 16, 16), (16, 3)])
    def test_what_is_no_square_picture_is_refused(self, shape, tmp_path):
        model = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
        with pytest.raises(ValueError, match="resize=True needs a model for square pictures"):
            export(model, tmp_path / "m.onnx", format="onnx", resize=True)

    @pytest.mark.once
    def test_a_model_of_any_size_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="needs a model with a fixed image size"):
            export(make_model(size=None), tmp_path / "m.onnx", format="onnx", resize=True)


@litert
class TestQuantization:
    def test_int8_computes_in_integers_only(self, in_process, tmp_path, capsys):
        from tensorflow.lite.tools import flatbuffer_utils

        model, x = make_model(), pictures()
        path = write(model, tmp_path, "litert", quantization="int8", calibration=x)
        (graph,) = flatbuffer_utils.read_model(str(path)).subgraphs
        integers = {2, 3, 4, 9}  # INT32, UINT8, INT64, INT8 in the format's schema
        assert {tensor.type for tensor in graph.tensors} <= integers
        opened = open_exported(path)
        assert opened.input_dtype == "uint8" and opened.class_names == NAMES
        expected, answers = model.predict(x, verbose=0), opened(x)
        same = int(np.sum(answers.argmax(-1) == expected.argmax(-1)))
        assert same >= 0.95 * len(x)
        # A few steps of the output's scale.
        assert np.abs(answers - expected).max() < 0.05 * np.abs(expected).max()
        said = capsys.readouterr().out
        assert f"the same top-1 class as the model for {same} of 64 images" in said
        assert f"litert, int8, {path.stat().st_size:,} bytes" in said

    def test_int8_takes_pixel_values_although_no_picture_has_them_all(self, in_process, tmp_path):
        x = pictures() // 4 + 80
        path = write(make_model(), tmp_path, "litert", quantization="int8", calibration=x)
        from ai_edge_litert.interpreter import Interpreter

        assert Interpreter(str(path)).get_input_details()[0]["quantization"] == (1.0, 0)

    def test_float16_and_dynamic_take_less_room(self, in_process, tmp_path):
        model, x, sizes = make_model(), pictures(), {}
        model.class_names = None
        # Most of the bytes are weights.
        for units in (256, 256, 4):
            model.add(keras.layers.Dense(units, use_bias=False))
        expected = model.predict(x, verbose=0)
        for quantization in (None, "float16", "dynamic"):
            calibration = x if quantization else None
            path = export(
                model, tmp_path / f"{quantization}.tflite", "litert",
                quantization=quantization, calibration=calibration, min_agreement=0.9,
            )  # fmt: skip
            sizes[quantization] = path.stat().st_size
            opened = open_exported(path)
            assert opened.input_dtype == "float32"
            difference = np.abs(opened(x) - expected).max()
            assert difference < 0.05 * np.abs(expected).max()
        assert 0.5 < sizes["float16"] / sizes[None] < 0.6
        assert 0.25 < sizes["dynamic"] / sizes[None] < 0.35

    def test_resize_goes_with_numbers_of_fewer_bytes(self, in_process, tmp_path):
        model, x = make_model(), pictures()
        path = write(model, tmp_path, "litert", quantization="dynamic", resize=True, calibration=x)
        large = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
        expected = model.predict(pipeline(large), verbose=0)
        answers = open_exported(path)(large)
        assert np.abs(answers - expected).max() < 0.05 * np.abs(expected).max()


@litert
class TestFiles:
    @pytest.mark.parametrize("opset", [13, 18])
    def test_the_opset_is_that_of_the_file(self, opset, in_process, tmp_path):
        import onnx

        path = write(make_model(), tmp_path, "onnx", opset=opset)
        versions = {x.domain: x.version for x in onnx.load(path).opset_import}
        assert versions[""] == opset

    def test_litert_readers_find_them(self, in_process, tmp_path):
        path = write(make_model(), tmp_path, "litert")
        # The identifier of the metadata's schema.
        assert b"TFLITE_METADATA" in path.read_bytes() and b"M001" in path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["labels.txt"]

    @pytest.mark.parametrize("format", ["tf_saved_model", "onnx", "litert"])
    def test_a_model_without_them_gives_a_file_without_them(self, format, in_process, tmp_path):
        model = make_model()
        model.class_names = None
        path = write(model, tmp_path, format)
        assert open_exported(path).class_names is None
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.once
class TestAgreement:
    # The classes of half of the pictures change.
    ERROR = np.where(np.arange(64)[:, None] % 2, 0, 1000 * np.eye(4)[np.arange(64) // 2 % 4])

    def agree(self, monkeypatch, tmp_path, **options):
        FakeWorker(monkeypatch, errors=(self.ERROR, self.ERROR))
        return export(
            make_model(), tmp_path / "m.tflite", format="litert", quantization="float16",
            calibration=pictures(), **options,
        )  # fmt: skip

    def test_a_file_that_answers_otherwise_is_refused(self, monkeypatch, tmp_path):
        with pytest.raises(ValueError, match=r"the same top-1 class .* of 64 images .* 95\.0%"):
            self.agree(monkeypatch, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_another_limit_can_be_chosen(self, monkeypatch, tmp_path, capsys):
        assert self.agree(monkeypatch, tmp_path, min_agreement=0.5).exists()
        assert "of 64 images (" in capsys.readouterr().out


CALIBRATION = {
    "missing": (None, "needs `calibration`"),
    "another size": (pictures(4, 20, 20), r"size of the model's images, \(16, 16, 3\)"),
    "one picture": (pictures(1)[0], "`calibration` must be images of shape"),
    "a path": ("photos", "Received: str"),
    "no picture": (pictures(1)[:0], "at least one"),
    "scaled": (pictures(4) / 255, r"values in \[0, 255\]. Received: values from 0\.\d+ to 1"),
    "normalized": (pictures(4) / 64 - 2.0, "Received: values from -1"),
    "nan": (np.full((4, SIZE, SIZE, 3), np.nan), "Received: values from nan"),
}
OPTIONS = {
    "quantization": (dict(quantization="int4"), "'float16', 'dynamic', 'int8'"),
    "format": (dict(quantization="int8", format="onnx"), "with format='litert'. Received"),
    "calibration alone": (dict(calibration=pictures(4)), "`calibration` is for `quantization`"),
    "int8 and resize": (
        dict(quantization="int8", resize=True, calibration=pictures(4)),
        "LiteRT does not resize in integers",
    ),
    "share": (
        dict(quantization="int8", calibration=pictures(4), min_agreement=95),
        "`min_agreement` must be from 0 to 1",
    ),
    "opset": (dict(opset=3, format="onnx"), "`opset` must be None, or from 13 to 18"),
    "opset of LiteRT": (dict(opset=15), "with format='onnx'. Received: opset=15"),
}


@pytest.mark.once
class TestArguments:
    @pytest.mark.parametrize("case", CALIBRATION)
    def test_calibration_is_checked_before_anything_is_written(self, case, tmp_path):
        calibration, message = CALIBRATION[case]
        with pytest.raises(ValueError, match=message):
            export(
                make_model(), tmp_path / "m.tflite", format="litert", quantization="dynamic",
                calibration=calibration,
            )  # fmt: skip
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("case", OPTIONS)
    def test_options_that_do_not_fit_are_refused(self, case, tmp_path):
        options, message = OPTIONS[case]
        with pytest.raises(ValueError, match=message):
            export(make_model(), tmp_path / "m", **({"format": "litert"} | options))
        assert list(tmp_path.iterdir()) == []

    def test_it_prints_nothing_on_request(self, monkeypatch, tmp_path, capsys):
        FakeWorker(monkeypatch)
        export(make_model(), tmp_path / "m.onnx", format="onnx", verbose=False)
        assert capsys.readouterr().out == ""


@pytest.mark.once
class TestClassNames:
    def test_other_labels_are_not_overwritten(self, monkeypatch, tmp_path):
        FakeWorker(monkeypatch)
        (tmp_path / "labels.txt").write_text("car\nbus\n")
        with pytest.raises(ValueError, match="has other class names, so it is not overwritten"):
            write(make_model(), tmp_path, "litert")
        assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]

    def test_the_labels_of_the_replaced_file_are_replaced(self, monkeypatch, tmp_path):
        FakeWorker(monkeypatch)
        write(make_model(), tmp_path, "litert")
        model = make_model()
        model.class_names = NAMES[::-1]
        write(model, tmp_path, "litert")
        assert (tmp_path / "labels.txt").read_text() == "elk\nfox\ndog\ncat\n"

    @pytest.mark.parametrize("name", ["dog\nwolf", "caf\udce9"], ids=["two lines", "not UTF-8"])
    def test_a_name_that_no_line_of_a_file_can_hold_is_refused(self, name, tmp_path):
        model = make_model()
        model.class_names = ["cat", name, "fox", "elk"]
        with pytest.raises(ValueError, match=re.escape(f"Received: class name {name!r}")):
            write(model, tmp_path, "onnx")

    def test_a_file_with_other_names_is_refused(self, monkeypatch, tmp_path):
        worker = FakeWorker(monkeypatch)
        worker.names = ["car", "bus"]
        with pytest.raises(RuntimeError, match="has other names than the model"):
            write(make_model(), tmp_path, "onnx")
        assert list(tmp_path.iterdir()) == []


def pipeline(x, size=SIZE):
    return square(x, size)
