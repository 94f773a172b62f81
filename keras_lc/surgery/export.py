"""Writes files for serving. They are the same from each backend and checked before they appear."""

import dataclasses
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import keras
import numpy as np

from keras_lc.files import rename
from keras_lc.keras_internals import graph_of
from keras_lc.layers.own_kernel import plain_layer_of
from keras_lc.listed import how_to_install
from keras_lc.paths import user_path
from keras_lc.surgery.fold import fold
from keras_lc.surgery.replace import check_is_model, layers_within, replace

_WORKER = pathlib.Path(__file__).with_name("export_worker.py")
_BATCH_SIZES = (1, 5)
# The side of test images if the model takes any size.
_DEFAULT_SIZE = 64
# Each runtime adds float32 numbers in its own order. The tolerance is fifty times the difference
# measured for ResNet-50, and far below the difference from a wrong layer.
_RELATIVE_TOLERANCE = 1e-4
_ABSOLUTE_TOLERANCE = 1e-6


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
) -> pathlib.Path:
    """Writes a model for serving, in a format that needs neither Keras nor `keras_lc`.

    The function folds the model. Then a child process writes the file from plain Keras layers,
    always under TensorFlow (under PyTorch for `"torch"`). So every backend can write every
    format, and the file does not depend on the backend. The file takes any batch size.

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
            The outputs may differ by at most 1e-4 times the largest output (plus 1e-6).
        batch_norm: Boolean, whether to fuse batch normalization; see `fold`.

    Returns:
        The path.

    Raises:
        ImportError: If the format needs a package that is missing.
        ValueError: If the format is unknown. If the model has several inputs or outputs, or
            layers that the child process does not know or that cannot be folded. If `path` must
            not be overwritten. If the file's outputs differ from the model's.
        RuntimeError: If the child process fails. The message contains the end of its stderr.

        After an error no new files are left, and the old file at `path` still exists.

    Example:

    >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras_lc.LCConv2D(16, 3)])
    >>> keras_lc.export(model, "model.onnx", format="onnx")
    PosixPath('model.onnx')
    """
    path = user_path(path)
    spec = _check_format(format)
    _check_packages(format, (*spec.writers, spec.runtime) if verify else spec.writers)
    _check_target(path, format)
    check_is_model(model)
    _check_layers(model)

    # On the CPU, because float32 products on an accelerator may have fewer bits (TF32).
    with keras.device("cpu"):
        in_float32 = replace(model, _float32_layer)
        _check_model(in_float32, format)
        folded = fold(in_float32, batch_norm=batch_norm, strict=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Next to the target, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            folder = pathlib.Path(folder)
            source, written = folder / "model.keras", folder / f"export{spec.suffix}"
            folded.save(source)
            _run_worker("write", format, source, written)
            if verify:
                _verify(in_float32, written, format, folder)
            _publish(written, path, folder)
    return path


def _check_format(format):
    if format not in _FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(map(repr, _FORMATS))}. Received: format={format!r}"
        )
    return _FORMATS[format]


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


def _check_model(model, format):
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
    if format == "torch" and None in model.inputs[0].shape[1:]:
        raise ValueError(
            "format='torch' needs a fixed image size; only the batch size may be None. "
            f"Received: input shape {model.inputs[0].shape}."
        )


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


def _run_worker(*arguments):
    backend = _FORMATS[arguments[1]].backend
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    # -P: modules in the script's folder must not hide installed packages.
    command = [sys.executable, "-P", str(_WORKER), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"The child process failed to {arguments[0]} format={arguments[1]!r} "
            f"(exit status {done.returncode}):\n{done.stderr[-3000:]}"
        )


def _verify(model, written, format, folder):
    (images_spec,) = model.inputs
    shape = [size or _DEFAULT_SIZE for size in images_spec.shape[1:]]
    images = np.random.default_rng(0).uniform(0, 255, (max(_BATCH_SIZES), *shape))
    images = images.astype(images_spec.dtype)
    # Not `predict`: eager operations run on the device of the scope, under each backend.
    expected = keras.ops.convert_to_numpy(model(images, training=False))
    np.savez(folder / "batches.npz", **{str(size): images[:size] for size in _BATCH_SIZES})
    _run_worker("verify", format, written, folder / "batches.npz", folder / "outputs.npz")
    with np.load(folder / "outputs.npz") as outputs:
        for size in _BATCH_SIZES:
            for answer in outputs[str(size)]:  # of each call
                _compare(answer, expected[:size], format)


def _compare(actual, expected, format):
    if actual.shape != expected.shape:
        raise ValueError(
            f"The exported file (format={format!r}) has outputs of shape {actual.shape}, but the "
            f"model has outputs of shape {expected.shape}. Nothing was written."
        )
    difference = float(np.max(np.abs(actual - expected)))
    allowed = _RELATIVE_TOLERANCE * float(np.max(np.abs(expected))) + _ABSOLUTE_TOLERANCE
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
