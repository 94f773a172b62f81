"""`export`: files of each format, from each backend, with the model's outputs."""

import importlib
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_lc.layers import LCBlock, LCConv2D, RandomCropFlip
from keras_lc.surgery import export, open_exported

# `keras_lc.surgery.export` is the function.
export_module = importlib.import_module("keras_lc.surgery.export")

FORMATS = ["tf_saved_model", "onnx", "litert", "torch"]


def make_model(dtype="float32", augmentation=()):
    inputs = keras.Input((12, 12, 3), name="images")
    x = RandomCropFlip(1, seed=0, dtype=dtype)(inputs)
    for layer in augmentation:
        x = layer(x)
    statistics = {"mean": [120.0, 128.0, 136.0], "variance": [64.0**2, 60.0**2, 68.0**2]}
    x = keras.layers.Normalization(**statistics, dtype=dtype)(x)
    x = LCConv2D(8, 3, expansion=2, padding="same", use_bias=False, seed=1, dtype=dtype)(x)
    x = keras.layers.BatchNormalization(name="bn", dtype=dtype)(x)
    x = keras.layers.ReLU(dtype=dtype)(x)
    x = LCBlock(8, 3, "bn_relu", strides=2, padding="same", seed=2, dtype=dtype)(x)
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(x)
    x = keras.layers.Activation("gelu", dtype=dtype)(x)
    model = keras.Model(inputs, keras.layers.Dense(5, dtype=dtype)(x), name="classifier")
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(-0.5, 1.0, weight.shape) for weight in model.weights])
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))
    return model


def random_layers():
    """What changes every image in training, plain and nested."""
    layers = keras.layers
    nested = [layers.RandomInvert((1, 1), seed=2), layers.RandomFlip(seed=3)]
    return [
        layers.RandomInvert((1, 1), seed=0),
        layers.RandomZoom((0.3, 0.5), seed=1),
        keras.Sequential([keras.Input((12, 12, 3)), *nested], name="augmentation"),
        layers.Pipeline([layers.RandomBrightness((0.5, 0.6), seed=4)]),
        layers.GaussianNoise(1.0, seed=5),
        layers.SpatialDropout2D(0.5, seed=6),
    ]


class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


class SubclassOfLC(LCConv2D):
    def call(self, x):
        return 2 * super().call(x)


def images(batch):
    return np.random.default_rng(2).uniform(0, 255, (batch, 12, 12, 3)).astype("float32")


NAMES = ["ant", "bee", "cow, brown", "Dachs", "écureuil"]
# The consumer: a process that has the format's runtime, and neither Keras nor keras_lc. It uses
# the names of the input and the output, and reads the names of the classes.
READ = {
    "tf_saved_model": (
        "import pathlib, tensorflow as tf; loaded = tf.saved_model.load(path)\n"
        "run = lambda x: loaded.signatures['serving_default'](images=tf.constant(x))['logits']\n"
        "assert loaded.serve(tf.zeros((1, 12, 12, 3))).shape == (1, 5)\n"
        "labels = pathlib.Path(path, 'assets', 'labels.txt').read_bytes()\n"
        "names = labels.decode().split('\\n')[:-1]\n"
        "signature = loaded.signatures['class_names']()['class_names'].numpy()\n"
        "assert [name.decode() for name in signature] == names\n"
    ),
    "onnx": (
        "import json, onnxruntime; session = onnxruntime.InferenceSession(path)\n"
        "run = lambda x: session.run(['logits'], {'images': x})[0]\n"
        "names = json.loads(session.get_modelmeta().custom_metadata_map['class_names'])\n"
    ),
    "litert": (
        "import pathlib, zipfile; from ai_edge_litert.interpreter import Interpreter\n"
        "def run(x):\n"
        "    reader = Interpreter(path); reader.resize_tensor_input(0, x.shape)\n"
        "    reader.allocate_tensors()\n"
        "    return reader.get_signature_runner('serving_default')(images=x)['logits']\n"
        "labels = zipfile.ZipFile(path).read('labels.txt')\n"
        "assert pathlib.Path(path).with_name('labels.txt').read_bytes() == labels\n"
        "names = labels.decode().split('\\n')[:-1]\n"
    ),
    "torch": (
        "import json, torch; files = {'class_names.json': ''}\n"
        "program = torch.export.load(path, extra_files=files); module = program.module()\n"
        "assert program.graph_signature.user_inputs == ('images',)\n"
        "assert program.graph_signature.user_outputs == ('logits',)\n"
        "run = lambda x: module(torch.from_numpy(x)).detach().numpy()\n"
        "names = json.loads(files['class_names.json'])\n"
    ),
}


@pytest.fixture(scope="module")
def model():
    return make_model()


# A child process writes each format from a file of Keras, whatever the backend.
PARAMS = ["onnx", *(pytest.param(f, marks=pytest.mark.once) for f in FORMATS if f != "onnx")]


@pytest.fixture(scope="module", params=PARAMS)
def exported(request, tmp_path_factory):
    """A verified file of each format, of a model with random layers of Keras."""
    model = make_model(augmentation=random_layers())
    model.class_names = NAMES
    before = [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]
    path = tmp_path_factory.mktemp(request.param) / "model"
    returned = export(model, str(path), format=request.param)
    after = [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]
    return dict(
        format=request.param,
        model=model,
        path=path,
        returned=returned,
        before=before,
        after=after,
    )


class TestEachFormat:
    def test_the_file_has_the_models_outputs_for_any_batch(self, exported, tmp_path):
        np.savez(tmp_path / "batches.npz", *[images(batch) for batch in (1, 7)])
        code = (
            "import sys; sys.modules['keras_lc'] = sys.modules['keras'] = None\n"
            f"import numpy; path = {str(exported['path'])!r}\n{READ[exported['format']]}"
            "batches = numpy.load('batches.npz')\n"
            "numpy.savez('outputs.npz', **{name: run(batches[name]) for name in batches})\n"
            f"assert names == {NAMES!r}, names\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs = np.load(tmp_path / "outputs.npz")
        for name, batch in [("arr_0", 1), ("arr_1", 7)]:
            desired = exported["model"].predict(images(batch), verbose=0)
            np.testing.assert_allclose(outputs[name], desired, rtol=1e-5, atol=1e-5)

    def test_it_returns_the_path(self, exported):
        assert exported["returned"] == pathlib.Path(exported["path"])

    def test_nothing_else_is_left_behind(self, exported):
        written = {path.name for path in exported["path"].parent.iterdir()}
        labels = {"labels.txt"} if exported["format"] == "litert" else set()
        assert written == {exported["path"].name, *labels}

    def test_open_exported_reads_it(self, exported):
        opened = open_exported(exported["path"])
        assert (opened.format, opened.output) == (exported["format"], "logits")
        assert opened.class_names == tuple(NAMES) and not opened.probabilities
        assert (opened.input_shape, opened.input_dtype) == ((None, 12, 12, 3), "float32")
        desired = exported["model"].predict(images(3), verbose=0)
        np.testing.assert_allclose(opened(images(3)), desired, rtol=1e-5, atol=1e-5)

    def test_the_model_stays_as_it_was(self, exported):
        for actual, desired in zip(exported["after"], exported["before"], strict=True):
            np.testing.assert_array_equal(actual, desired)


class FakeWorker:
    """Stands for the child process: writes at once, and answers as the folded model does.

    `errors` are added to its answers: to the first, and when it is asked again.
    """

    def __init__(self, monkeypatch, errors=(0.0, 0.0)):
        self.errors, self.source, self.names = errors, None, None
        monkeypatch.setattr(export_module, "_run_worker", self)

    def __call__(self, verb, format, *arguments):
        if verb == "write":
            source, written, options = arguments
            self.options = json.loads(options)
            self.source = keras.saving.load_model(source)
            if format == "tf_saved_model":
                written.mkdir()
                (written / "saved_model.pb").write_text("new")
            else:
                written.write_text("new")
        else:
            _, batches, outputs = arguments
            with np.load(batches) as batches:
                answers = {name: self.source(batches[name], training=False) for name in batches}
            for name, answer in answers.items():
                answer = keras.ops.convert_to_numpy(answer)
                answers[name] = [answer + error for error in self.errors]
            about = {name: self.options[name] for name in ("output", "class_names")}
            about["class_names"] = self.names or about["class_names"]
            np.savez(outputs, about=json.dumps(about), **answers)


@pytest.mark.once
class TestVerify:
    @pytest.mark.parametrize(
        "errors",
        [(0.1, 0.1), (0.0, 0.1), (np.nan, np.nan)],
        ids=["different", "different when called again", "nan"],
    )
    def test_other_outputs_are_refused_and_nothing_is_left(
        self, errors, model, monkeypatch, tmp_path
    ):
        FakeWorker(monkeypatch, errors)
        with pytest.raises(ValueError, match="differ from the model's by up to"):
            export(model, tmp_path / "model.onnx", format="onnx")
        assert list(tmp_path.iterdir()) == []

    def test_a_wrongly_folded_model_is_refused(self, model, monkeypatch, tmp_path):
        def fold_wrongly(model, **options):
            folded = fold(model, **options)
            conv = next(x for x in folded.layers if type(x) is keras.layers.Conv2D)
            conv.kernel.assign(keras.ops.convert_to_numpy(conv.kernel.value) * 1.01)
            return folded

        FakeWorker(monkeypatch)
        fold = export_module.fold
        monkeypatch.setattr(export_module, "fold", fold_wrongly)
        with pytest.raises(ValueError, match="differ from the model's by up to"):
            export(model, tmp_path / "model.onnx", format="onnx")
        assert list(tmp_path.iterdir()) == []

    def test_what_was_there_stays_after_a_failure(self, model, monkeypatch, tmp_path):
        FakeWorker(monkeypatch, errors=(0.1, 0.1))
        (tmp_path / "model.onnx").write_text("old")
        with pytest.raises(ValueError, match="differ"):
            export(model, tmp_path / "model.onnx", format="onnx")
        assert (tmp_path / "model.onnx").read_text() == "old"

    def test_without_it_the_file_is_not_run(self, model, monkeypatch, tmp_path):
        FakeWorker(monkeypatch, errors=(0.1, 0.1))
        path = export(model, tmp_path / "model.onnx", format="onnx", verify=False)
        assert path.read_text() == "new"

    def test_the_end_of_the_childs_stderr_is_in_the_error(self, model, monkeypatch, tmp_path):
        worker = tmp_path / "worker.py"
        worker.write_text("raise SystemExit('no such operation: Fold')")
        monkeypatch.setitem(export_module._WORKERS, "write", worker)
        with pytest.raises(RuntimeError, match="no such operation: Fold"):
            export(model, tmp_path / "model.onnx", format="onnx")
        assert list(tmp_path.iterdir()) == [worker]


@pytest.mark.once
class TestTarget:
    def test_a_file_is_replaced(self, model, monkeypatch, tmp_path):
        FakeWorker(monkeypatch)
        (tmp_path / "model.onnx").write_text("old")
        export(model, tmp_path / "model.onnx", format="onnx")
        assert (tmp_path / "model.onnx").read_text() == "new"

    def test_a_saved_model_is_replaced_as_a_whole(self, model, monkeypatch, tmp_path):
        FakeWorker(monkeypatch)
        for name in ("saved_model.pb", "stale"):
            (tmp_path / "served").mkdir(exist_ok=True)
            (tmp_path / "served" / name).write_text("old")
        export(model, tmp_path / "served")
        assert [path.name for path in (tmp_path / "served").iterdir()] == ["saved_model.pb"]
        assert (tmp_path / "served" / "saved_model.pb").read_text() == "new"
        assert [path.name for path in tmp_path.iterdir()] == ["served"]

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("rename", ["first", "second"])
    def test_an_interrupt_leaves_the_old_or_the_new_saved_model(
        self, rename, when, model, monkeypatch, tmp_path
    ):
        FakeWorker(monkeypatch)
        path, calls = tmp_path / "served", []
        path.mkdir()
        (path / "saved_model.pb").write_text("old")

        def interrupted(source, target, do=pathlib.Path.rename):
            calls.append(source)
            now = len(calls) == {"first": 1, "second": 2}[rename]
            if now and when == "before":
                raise KeyboardInterrupt
            do(source, target)
            if now:
                raise KeyboardInterrupt

        monkeypatch.setattr(pathlib.Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(model, path)
        expected = "new" if (rename, when) == ("second", "after") else "old"
        assert (path / "saved_model.pb").read_text() == expected
        assert list(tmp_path.iterdir()) == [path]

    def test_another_folder_is_not_overwritten(self, model, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(ValueError, match="is not a SavedModel, so it is not overwritten"):
            export(model, tmp_path)

    def test_a_folder_is_not_overwritten_by_a_file(self, model, tmp_path):
        with pytest.raises(ValueError, match="is a folder, and format='onnx' is a file"):
            export(model, tmp_path, format="onnx")


class TestModel:
    def test_what_is_written_is_folded_and_has_its_batch_norm_fused(
        self, model, monkeypatch, tmp_path
    ):
        worker = FakeWorker(monkeypatch)
        export(model, tmp_path / "model.onnx", format="onnx")
        names = [type(layer).__name__ for layer in worker.source.layers]
        assert names == [
            *["InputLayer", "Normalization", "Conv2D", "ReLU"],
            *["Conv2D", "ReLU", "Conv2D", "GlobalAveragePooling2D", "Activation", "Dense"],
        ]

    @pytest.mark.once
    def test_batch_norm_is_kept_on_request(self, model, monkeypatch, tmp_path):
        worker = FakeWorker(monkeypatch)
        export(model, tmp_path / "model.onnx", format="onnx", batch_norm=False)
        assert worker.source.get_layer("bn")

    @pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
    def test_a_half_precision_model_is_written_in_float32(self, dtype, monkeypatch, tmp_path):
        half = make_model(dtype)
        worker = FakeWorker(monkeypatch)
        export(half, tmp_path / "model.onnx", format="onnx")
        assert {x.dtype_policy.name for x in worker.source._flatten_layers()} == {"float32"}
        assert half.layers[-1].dtype_policy.name == dtype

    @pytest.mark.once
    def test_several_inputs_are_refused(self, tmp_path):
        inputs = [keras.Input((4, 4, 3)), keras.Input((4, 4, 3))]
        model = keras.Model(inputs, keras.layers.Add()(inputs))
        with pytest.raises(ValueError, match="with 2 inputs and 1 outputs"):
            export(model, tmp_path / "model")

    @pytest.mark.once
    def test_outputs_with_names_are_refused(self, tmp_path):
        images = keras.Input((8, 8, 3))
        model = keras.Model(images, {"logits": keras.layers.Flatten()(images)})
        with pytest.raises(ValueError, match="are tensors, not dicts"):
            export(model, tmp_path / "model.onnx", format="onnx")

    @pytest.mark.once
    def test_a_folder_that_is_missing_is_made(self, model, monkeypatch, tmp_path):
        FakeWorker(monkeypatch)
        path = export(model, tmp_path / "new" / "folder" / "model.onnx", format="onnx")
        assert path.read_text() == "new"

    @pytest.mark.once
    @pytest.mark.parametrize("model", ["model.keras", keras.layers.Flatten(), 3])
    def test_what_is_no_model_is_refused(self, model, tmp_path):
        with pytest.raises(ValueError, match="`model` must be a Keras model"):
            export(model, tmp_path / "model")

    @pytest.mark.once
    @pytest.mark.parametrize(
        "layer",
        [
            lambda: keras.layers.Lambda(lambda x: 2 * x, name="own"),
            lambda: Twice(name="own"),
            lambda: keras.Sequential([Twice(name="own")], name="nested"),
            lambda: SubclassOfLC(4, 3, name="own"),
        ],
        ids=["Lambda", "own layer", "own layer in a nested model", "subclass"],
    )
    def test_layers_that_the_child_does_not_know_are_named(self, layer, tmp_path):
        model = keras.Sequential([keras.Input((4, 4, 3)), layer()])
        with pytest.raises(ValueError, match=r"cannot be exported: .*own \("):
            export(model, tmp_path / "model")

    @pytest.mark.once
    def test_a_home_folder_is_expanded(self, model, monkeypatch, tmp_path):
        FakeWorker(monkeypatch)
        monkeypatch.setenv("HOME", str(tmp_path))
        path = export(model, "~/model.onnx", format="onnx")
        assert path == tmp_path / "model.onnx" and path.exists()

    @pytest.mark.once
    def test_a_model_without_a_graph_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="not built"):
            export(keras.Sequential([LCConv2D(4, 3)]), tmp_path / "model")

    @pytest.mark.once
    def test_an_open_image_size_is_refused_for_torch(self, tmp_path):
        model = keras.Sequential([keras.Input((None, None, 3)), LCConv2D(4, 3)])
        with pytest.raises(ValueError, match="needs a fixed image size"):
            export(model, tmp_path / "model.pt2", format="torch")


@pytest.mark.once
class TestArguments:
    def test_an_unknown_format_is_refused_with_the_list(self, model, tmp_path):
        with pytest.raises(ValueError, match="'tf_saved_model', 'onnx', 'litert', 'torch'"):
            export(model, tmp_path / "model", format="tflite")

    @pytest.mark.parametrize(
        ("format", "package"),
        [
            ("tf_saved_model", "tensorflow"),
            ("onnx", "tf2onnx"),
            ("onnx", "onnxruntime"),
            ("litert", "ai_edge_litert"),
            ("torch", "torch"),
        ],
        ids=["tensorflow", "tf2onnx", "onnxruntime", "ai_edge_litert", "torch"],
    )
    def test_a_missing_package_is_named(self, format, package, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=rf'needs {package}, .*"keras-lc\[export\]"'):
            # Before any work: even before looking at the model.
            export(None, tmp_path / "model", format=format)

    def test_a_runtime_is_not_needed_without_verify(self, model, monkeypatch, tmp_path):
        FakeWorker(monkeypatch)
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        assert export(model, tmp_path / "model.onnx", format="onnx", verify=False).exists()
