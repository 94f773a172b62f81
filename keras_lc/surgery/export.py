"""Writes files for serving. They are the same from each backend and checked before they appear."""

import dataclasses
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Literal

import keras
import numpy as np

from keras_lc.class_names import class_names_of, functional
from keras_lc.data.resize import square
from keras_lc.files import rename, whole_file
from keras_lc.images import is_array
from keras_lc.keras_internals import graph_of, producer
from keras_lc.layers.own_kernel import plain_layer_of
from keras_lc.listed import how_to_install
from keras_lc.paths import user_path
from keras_lc.surgery.fold import fold
from keras_lc.surgery.replace import check_is_model, layers_within, replace
from keras_lc.types import Array

_WORKERS = {
    "write": pathlib.Path(__file__).with_name("export_worker.py"),
    "check": pathlib.Path(__file__).with_name("exported.py"),
}
_BATCH_SIZES = (1, 5)
# The side of test images if the model takes any size.
_DEFAULT_SIZE = 64
# Each runtime adds float32 numbers in its own order. The tolerance is fifty times the difference
# measured for ResNet-50, and far below the difference from a wrong layer.
_RELATIVE_TOLERANCE = 1e-4
_ABSOLUTE_TOLERANCE = 1e-6


# With `resize`, a pixel in the middle between two values may be rounded to the other one. This is
# five times the largest measured difference, and far below that of another rule.
_RESIZED_TOLERANCE = 1e-2
_QUANTIZATIONS = ("float16", "dynamic", "int8")
# Those that `tf2onnx` writes and that have all operations of our networks.
_OPSETS = range(13, 19)
_BATCH = 32
_LABELS = "labels.txt"


@dataclasses.dataclass(frozen=True)
class _Format:
    backend: str
    suffix: str
    writers: tuple[str, ...]
    runtime: str


_FORMATS = {
    "tf_saved_model": _Format("tensorflow", "", ("tensorflow",), "tensorflow"),
    "onnx": _Format("tensorflow", ".onnx", ("tensorflow", "tf2onnx", "onnx"), "onnxruntime"),
    "litert": _Format("tensorflow", ".tflite", ("tensorflow",), "ai_edge_litert"),
    "torch": _Format("torch", ".pt2", ("torch",), "torch"),
}


def export(
    model: keras.Model,
    path: str | os.PathLike,
    format: str = "tf_saved_model",
    verify: bool = True,
    batch_norm: bool = True,
    *,
    probabilities: bool = False,
    resize: bool = False,
    quantization: Literal["float16", "dynamic", "int8"] | None = None,
    calibration: Array | None = None,
    min_agreement: float = 0.95,
    opset: int | None = None,
    verbose: bool = True,
) -> pathlib.Path:
    """Writes a model for serving, in a format that needs neither Keras nor `keras_lc`.

    The function folds the model. Then a child process writes the file from plain Keras layers,
    always under TensorFlow (under PyTorch for `"torch"`). So every backend can write every
    format, and the file does not depend on the backend. The file takes any batch size.

    The input of the file is named `images`. Its output is named `probabilities` if the model ends
    with a softmax, `outputs` if it ends with another activation, and `logits` otherwise. If the
    model has `class_names`, the file has them too: a SavedModel as `assets/labels.txt` and in the
    signature `class_names`, ONNX and `.pt2` in their metadata, and LiteRT in its metadata and in a
    file `labels.txt` in the same folder. `open_exported` reads them.

    The file computes inference: all random layers do nothing in it. It computes in float32, even
    if the model's dtype policy uses half precision.

    Args:
        model: A Functional or Sequential model with one input, the images, and one output. It
            does not change. All its layers must be Keras' or this library's, or equal a layer of
            Keras (`keras_lc.layers.OwnKernel`). The child process does not know other layers, and
            not the Python function of a `Lambda`.
        path: Path of the file, or of the folder for `"tf_saved_model"`. An existing file is
            replaced when the new one is complete. An existing folder is replaced only if it is a
            SavedModel. Missing parent folders are created.
        format: One of `"tf_saved_model"` (served by `serve`), `"onnx"`, `"litert"` (a `.tflite`
            file) and `"torch"` (a `.pt2` file, for `torch.export.load`).
        verify: Boolean, whether to check the file. Another child process then loads it with the
            format's own runtime. Its outputs are compared with the model's (not folded, in
            float32, on the CPU), on uniform noise in [0, 255] in batches of 1 and 5, twice each.
            The outputs may differ by at most 1e-4 times the largest output (plus 1e-6); with
            `resize` by 1e-2 times. For a quantized file, see `min_agreement`.
        batch_norm: Boolean, whether to fuse batch normalization; see `fold`.
        probabilities: Boolean, whether the file computes probabilities. A model that ends with
            logits gets a softmax.
        resize: Boolean, whether the file takes pictures of any size, as uint8. It resizes them as
            `keras_lc.data.load(image_size=…)` does: the square in the centre, antialiased. All
            pictures of a batch must have the same size. All formats can do it, but not with
            `quantization="int8"`: LiteRT does not resize in integers.
        quantization: Only for `"litert"`. `"float16"` stores weights in 2 bytes, `"dynamic"` in 1
            byte. `"int8"` also computes in integers; then the file takes uint8 images and gives
            uint8 outputs with a scale.
        calibration: Array of real images, of the shape of the model's input, with values in
            [0, 255]. Needed for `quantization`: `"int8"` takes the ranges of all numbers from
            them, and the file is checked with them. A few hundred training images are enough.
        min_agreement: Float. A quantized file must give at least this share of the calibration
            images the class that the model gives them.
        opset: Integer from 13 to 18, the version of ONNX' operations. `None` is the default of
            `tf2onnx`.
        verbose: Boolean, whether to print the size of the file, and the agreement.

    Returns:
        The path.

    Raises:
        ImportError: If the format needs a package that is missing.
        ValueError: If an argument is not allowed. If the model has several inputs or outputs, or
            layers that the child process does not know or that cannot be folded. If `path` must
            not be overwritten. If the file's outputs differ from the model's.
        RuntimeError: If the child process fails. The message contains the end of its stderr.

        After an error no new files are left, and the old file at `path` still exists.

    Example:

    >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras_lc.LCConv2D(16, 3)])
    >>> keras_lc.export(model, "model.onnx", format="onnx", verbose=False)
    PosixPath('model.onnx')
    """
    path = user_path(path)
    spec = _check_format(format)
    _check_options(format, verify, resize, quantization, calibration, min_agreement, opset)
    packages = [*spec.writers, *([spec.runtime] if verify else [])]
    _check_packages(format, [*packages, "PIL"] if verify and resize else packages)
    _check_target(path, format)
    check_is_model(model)
    _check_layers(model)

    # On the CPU, because float32 products on an accelerator may have fewer bits (TF32).
    with keras.device("cpu"):
        in_float32 = replace(model, _float32_layer)
        _check_model(in_float32, format, resize)
        names = class_names_of(in_float32)
        _check_labels(names, path, format)
        if calibration is not None:
            calibration = _checked_calibration(calibration, in_float32.inputs[0].shape)
        output = output_name(in_float32)
        if probabilities and output != "probabilities":
            in_float32, output = _with_softmax(in_float32, output), "probabilities"
        folded = fold(in_float32, batch_norm=batch_norm, strict=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Next to the target, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            folder = pathlib.Path(folder)
            source, written = folder / "model.keras", folder / f"export{spec.suffix}"
            folded.save(source)
            options = {
                "output": output,
                "class_names": names,
                "resize": resize,
                "opset": opset,
                "quantization": quantization,
            }
            if calibration is not None:
                options["calibration"] = str(folder / "calibration.npy")
                np.save(options["calibration"], _with_all_values(calibration))
            _run_worker("write", format, source, written, json.dumps(options))
            report = ""
            if verify:
                answers = _Answers(written, format, folder)
                if quantization is None:
                    _verify(in_float32, answers, format, resize)
                else:
                    report = _verify_agreement(
                        in_float32, answers, calibration, quantization, min_agreement
                    )
                answers.check_names(output, names)
            size = _bytes(written)
            _publish(written, path, folder)
            if format == "litert" and names is not None:
                with whole_file(path.with_name(_LABELS)) as temporary:
                    temporary.write_text(_lines(names), encoding="utf-8")
    if verbose:
        kind = f"{format}, {quantization}" if quantization else format
        print(f"{path}: {kind}, {size:,} bytes{report}")
    return path


def _check_format(format):
    if format not in _FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(map(repr, _FORMATS))}. Received: format={format!r}"
        )
    return _FORMATS[format]


def _check_options(format, verify, resize, quantization, calibration, min_agreement, opset):
    if opset is not None and (format != "onnx" or opset not in _OPSETS):
        raise ValueError(
            f"`opset` must be None, or from {_OPSETS[0]} to {_OPSETS[-1]} with format='onnx'. "
            f"Received: opset={opset!r}, format={format!r}"
        )
    if quantization is None:
        if calibration is not None:
            raise ValueError("`calibration` is for `quantization`, which is None.")
        return
    if quantization not in _QUANTIZATIONS or format != "litert":
        raise ValueError(
            "`quantization` must be None, or one of "
            f"{', '.join(map(repr, _QUANTIZATIONS))} with format='litert'. "
            f"Received: quantization={quantization!r}, format={format!r}"
        )
    if calibration is None and (verify or quantization == "int8"):
        raise ValueError(
            f"quantization={quantization!r} needs `calibration`: some hundred real images, for "
            "example training images."
        )
    if quantization == "int8" and resize:
        raise ValueError(
            "quantization='int8' cannot have resize=True: LiteRT does not resize in integers. "
            "Resize the pictures before, or use quantization='dynamic'."
        )
    if not 0 <= min_agreement <= 1:
        raise ValueError(
            f"`min_agreement` must be from 0 to 1. Received: min_agreement={min_agreement!r}"
        )


def _checked_calibration(images, shape):
    if not is_array(images) or len(images.shape) != 4 or not len(images):
        got = f"shape {tuple(images.shape)}" if is_array(images) else type(images).__name__
        raise ValueError(
            f"`calibration` must be images of shape {(None, *shape[1:])}, at least one. "
            f"Received: {got}"
        )
    images = keras.ops.convert_to_numpy(images)
    if any(n not in (None, given) for n, given in zip(shape[1:], images.shape[1:], strict=True)):
        raise ValueError(
            f"`calibration` must have the size of the model's images, {shape[1:]}. Received: "
            f"images of shape {images.shape[1:]}"
        )
    least, most = images.min(), images.max()
    # Negated, so that NaN is refused.
    if not (0 <= least and 1 < most <= 255):
        raise ValueError(
            "`calibration` must be real images with values in [0, 255]. "
            f"Received: values from {least:g} to {most:g}"
        )
    return images


def _with_all_values(images):
    """Returns calibration images whose values begin at 0 and end at 255.

    So a value of the file's input is a pixel's value. A pixel of the first image may change.
    """
    if images.min() == 0 and images.max() == 255:
        return images
    images = images.copy()
    images[0, 0, 0, 0], images[0, -1, -1, -1] = 0, 255
    return images


def _check_packages(format, packages):
    missing = [name for name in dict.fromkeys(packages) if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Exporting with format={format!r} needs {', '.join(missing)}, not installed here. "
            + f"Run: {how_to_install('export')}"
            + (" and: pip install torch" if "torch" in missing else "")
        )


def _check_target(path, format):
    if not path.exists():
        return
    if format == "tf_saved_model":
        if not (path / "saved_model.pb").is_file():
            raise ValueError(
                f"'{path}' exists and is not a SavedModel, so it is not overwritten. "
                "Choose another `path`, or delete it."
            )
    elif not path.is_file():
        raise ValueError(
            f"'{path}' is a folder, and format={format!r} is a file. Choose another `path`."
        )


def _check_labels(names, path, format):
    if names is None:
        return
    broken = [name for name in names if name.splitlines() != [name] or not _is_text(name)]
    if broken:
        raise ValueError(
            f"Files have one class name in each line, in UTF-8. Received: class name {broken[0]!r}"
        )
    labels = path.with_name(_LABELS)
    if format != "litert" or path.exists() or not labels.exists():
        return
    if labels.read_bytes() != _lines(names).encode():
        raise ValueError(
            f"'{labels}' exists and has other class names, so it is not overwritten. Choose "
            "another folder for `path`, or delete it."
        )


def _is_text(name):
    # The name of a folder can be any bytes. Python keeps those that are not UTF-8 as surrogates.
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _lines(names):
    return "".join(f"{name}\n" for name in names)


def _check_layers(model):
    unknown = [
        f"{path} ({type(layer).__name__})"
        for path, layer in layers_within(model)
        if not _is_known_to_child(layer)
    ]
    if unknown:
        raise ValueError(
            f"These layers of model '{model.name}' cannot be exported: {', '.join(unknown)}. A "
            "child process writes the file, and it knows only the layers of Keras and of this "
            "library. Write the other layers with `keras.ops` in the model's graph. If a layer is "
            "a convolution, see `keras_lc.layers.OwnKernel`."
        )


def _is_known_to_child(layer):
    if isinstance(layer, keras.layers.Lambda):
        return _package(layer.function) == "keras"
    if isinstance(layer, keras.Model) or _package(type(layer)) in ("keras", "keras_lc"):
        return True
    return plain_layer_of(layer) is not None


def _package(python_object):
    return str(python_object.__module__).partition(".")[0]


def _check_model(model, format, resize):
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "`export` takes models with one input and one output. Received: model "
            f"'{model.name}' with {len(model.inputs)} inputs and {len(model.outputs)} outputs."
        )
    graph = graph_of(model)
    for name, found in (("input", graph.input), ("output", graph.output)):
        if not isinstance(found, keras.KerasTensor):
            raise ValueError(
                "`export` takes models whose input and output are tensors, not dicts or lists. "
                f"Received: model '{model.name}' with {name} {found}."
            )
    shape = model.inputs[0].shape
    if resize and not (len(shape) == 4 and shape[1] == shape[2] and shape[3] in (1, 3)):
        raise ValueError(
            "resize=True needs a model for square pictures with 1 or 3 channels in the last axis. "
            f"Received: input shape {shape}."
        )
    if resize and shape[1] is None:
        raise ValueError(
            "resize=True needs a model with a fixed image size: it is the size to resize to. "
            f"Received: input shape {shape}."
        )
    if format == "torch" and None in model.inputs[0].shape[1:]:
        raise ValueError(
            "format='torch' needs a fixed image size; only the batch size may be None. "
            f"Received: input shape {model.inputs[0].shape}."
        )


def output_name(model: keras.Model) -> str:
    """Returns what a model computes, by its last activation: logits, probabilities or outputs."""
    last = producer(graph_of(model).output)
    while graph_of(last) is not None:
        last = producer(graph_of(last).output)
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax:
        return "probabilities"
    return "logits" if activation in (None, keras.activations.linear) else "outputs"


def _with_softmax(model, output):
    (logits,) = model.outputs
    if output == "outputs" or len(logits.shape) != 2:
        raise ValueError(
            "probabilities=True needs a model with logits of shape (None, classes). Received: "
            f"model '{model.name}' with {output} of shape {logits.shape}"
        )
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return functional(model.inputs[0], probabilities, model.name, class_names_of(model))


def _float32_layer(layer):
    config = layer.get_config()
    in_float32 = _with_float32_policies(config)
    return None if in_float32 == config else [type(layer).from_config(in_float32)]


def _with_float32_policies(config):
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return config | {"config": {"name": "float32"}}
        return {key: _with_float32_policies(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(map(_with_float32_policies, config))
    return config


def _run_worker(verb, format, *arguments):
    environment = os.environ | {
        "KERAS_BACKEND": _FORMATS[format].backend,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    # -P: modules in the script's folder must not hide installed packages.
    command = [sys.executable, "-P", str(_WORKERS[verb]), *map(str, arguments)]
    if verb == "write":
        command.insert(3, format)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"The child process failed to {verb} format={format!r} "
            f"(exit status {done.returncode}):\n{done.stderr[-3000:]}"
        )


class _Answers:
    """The answers of a written file, in the runtime of its format.

    Args:
        written: Path of the file.
        format: String.
        folder: Path of a folder for arrays.
    """

    def __init__(self, written, format, folder):
        self._written, self._format, self._folder = written, format, folder
        self._about = None

    def of(self, batches):
        """Returns for each batch a pair: the answers of two calls."""
        source, target = self._folder / "batches.npz", self._folder / "answers.npz"
        np.savez(source, **{str(i): batch for i, batch in enumerate(batches)})
        _run_worker("check", self._format, self._written, source, target)
        with np.load(target) as answers:
            self._about = json.loads(str(answers["about"]))
            return [answers[str(i)] for i in range(len(batches))]

    def check_names(self, output, class_names):
        """Checks the names that the file was opened with."""
        expected = {"output": output, "class_names": class_names and list(class_names)}
        if self._about != expected:
            raise RuntimeError(
                f"The exported file (format={self._format!r}) has other names than the model. "
                f"Expected: {expected}. Received: {self._about}. Nothing was written."
            )


def _verify(model, answers, format, resize):
    if resize:
        batches = _pictures(model.inputs[0].shape)
        tolerance = _RESIZED_TOLERANCE
        inputs = [square(batch, model.inputs[0].shape[1]) for batch in batches]
    else:
        inputs = batches = _noise(model.inputs[0])
        tolerance = _RELATIVE_TOLERANCE
    for images, of_calls in zip(inputs, answers.of(batches), strict=True):
        expected = _outputs(model, images)
        for answer in of_calls:
            _compare(answer, expected, format, tolerance)


def _noise(spec):
    shape = [size or _DEFAULT_SIZE for size in spec.shape[1:]]
    images = np.random.default_rng(0).uniform(0, 255, (max(_BATCH_SIZES), *shape))
    images = images.astype(spec.dtype)
    return [images[:size] for size in _BATCH_SIZES]


def _pictures(shape):
    """Returns batches of pictures of several sizes: larger, smaller, wide and tall."""
    _, size, _, channels = shape
    sides = [(size, size), (3 * size + 1, 2 * size + 3), (size, 2 * size), (size // 2 + 1, size)]
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (2, *side, channels), "uint8") for side in sides]


def _outputs(model, images):
    # Not `predict`: eager operations run on the device of the scope, under each backend.
    outputs = [
        keras.ops.convert_to_numpy(model(images[i : i + _BATCH], training=False))
        for i in range(0, len(images), _BATCH)
    ]
    return np.concatenate(outputs)


def _verify_agreement(model, answers, images, quantization, min_agreement):
    """Returns the agreement of a quantized file with the model, for the report."""
    ((answer, again),) = answers.of([images])
    if not np.array_equal(answer, again):
        raise ValueError("The exported file gives other outputs when it is called again.")
    expected = _outputs(model, images.astype(model.inputs[0].dtype))
    same = int(np.sum(answer.argmax(-1) == expected.argmax(-1)))
    agreement = f"the same top-1 class as the model for {same:,} of {len(images):,} images"
    if same < min_agreement * len(images):
        raise ValueError(
            f"The exported file (quantization={quantization!r}) has {agreement} of `calibration`. "
            f"At least {min_agreement:.1%} are needed (`min_agreement`). Nothing was written."
        )
    return f", {agreement} ({same / len(images):.1%})"


def _bytes(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _compare(actual, expected, format, tolerance):
    if actual.shape != expected.shape:
        raise ValueError(
            f"The exported file (format={format!r}) has outputs of shape {actual.shape}, but the "
            f"model has outputs of shape {expected.shape}. Nothing was written."
        )
    difference = float(np.max(np.abs(actual - expected)))
    allowed = tolerance * float(np.max(np.abs(expected))) + _ABSOLUTE_TOLERANCE
    # Negated, so that NaN counts as a difference.
    if not difference <= allowed:
        raise ValueError(
            f"The outputs of the exported file (format={format!r}) differ from the model's by up "
            f"to {difference:.3g}. Only {allowed:.3g} is allowed. Nothing was written."
        )


def _publish(written, path, folder):
    if not path.is_dir():
        rename(written, path)
        return
    # A folder with files cannot be replaced in one step, so the old one is renamed first. It does
    # not move into `folder`, because that is always deleted. The old one must survive an
    # interrupt between the two renames.
    old = folder.with_name(f"{folder.name}.old")
    try:
        path.rename(old)
        written.rename(path)
    finally:
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)
