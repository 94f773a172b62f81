"""Opens files that `export` wrote, each in its own runtime. It needs neither Keras nor `keras_lc`.

So `export` also runs it as a script, by its path, to check a new file:

    exported.py FILE BATCHES.npz ANSWERS.npz
"""

import dataclasses
import json
import os
import pathlib
import sys
import zipfile
from collections.abc import Callable

import numpy as np

# Where `export_worker` writes the class names. Each export is read back, so both agree.
_LABELS, _ONNX_KEY, _TORCH_FILE = "labels.txt", "class_names", "class_names.json"


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A model in a file that `export` wrote. Call it with images.

    Attributes:
        path: Path of the file.
        format: String, as in `export`.
        input_shape: Tuple, the shape of the images. `None` stands for any size.
        input_dtype: String, the number format of the images in the file.
        output: String, what the file computes: `"logits"`, `"probabilities"` or `"outputs"`.
        class_names: Tuple of strings, or `None` if the model had no names.
    """

    path: pathlib.Path
    format: str
    input_shape: tuple[int | None, ...]
    input_dtype: str
    output: str
    class_names: tuple[str, ...] | None
    _run: Callable[[np.ndarray], np.ndarray] = dataclasses.field(repr=False)

    @property
    def probabilities(self) -> bool:
        """Whether the outputs are probabilities."""
        return self.output == "probabilities"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Returns the outputs, float32 of shape `(n, classes)`.

        Args:
            images: Array of images with values in [0, 255], of the shape `input_shape`.

        Raises:
            ValueError: If the images have another shape.
        """
        images = np.asarray(images)
        if not _fits(images.shape, self.input_shape):
            raise ValueError(
                f"`images` must have the shape {self.input_shape} for '{self.path}'. "
                f"Received: shape {images.shape}"
            )
        if self.input_dtype == "uint8" and images.dtype != np.uint8:
            images = np.clip(np.rint(images), 0, 255)
        return self._run(images.astype(self.input_dtype))


def open_exported(path: str | os.PathLike) -> ExportedModel:
    """Opens a file that `export` wrote, in the runtime of its format.

    Args:
        path: Path of a SavedModel, an ONNX file, a LiteRT file or a `.pt2` file. The content
            tells the format, not the name.

    Returns:
        An `ExportedModel`. Call it with images. It also has the class names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has another format.
        ImportError: If the runtime is not installed.

    Example:

    >>> model = keras_lc.open_exported("model.tflite")  # doctest: +SKIP
    >>> logits = model(images)  # doctest: +SKIP
    >>> model.class_names[logits[0].argmax()]  # doctest: +SKIP
    'cat'
    """
    path = pathlib.Path(path).expanduser()
    file_format = format_of(path)
    try:
        return _OPENERS[file_format](path)
    except ImportError as error:
        raise ImportError(f"Opening '{path}' needs {error.name}, not installed here.") from error


def format_of(path: pathlib.Path) -> str:
    """Returns the format of an exported file."""
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'.")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "tf_saved_model"
        raise ValueError(f"'{path}' is a folder, but not a SavedModel.")
    with open(path, "rb") as file:
        begin = file.read(8)
    if begin[4:] == b"TFL3":
        return "litert"
    if begin[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            if any(pathlib.PurePath(name).name == "archive_format" for name in archive.namelist()):
                return "torch"
    # The first field of ONNX' protocol buffer is the version of the format.
    elif begin[:1] == b"\x08":
        return "onnx"
    raise ValueError(
        f"'{path}' is not a file of `keras_lc.export`: SavedModel, ONNX, LiteRT or .pt2."
    )


def _open_saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    answer = loaded.signatures["serving_default"]
    ((name, images),) = answer.structured_input_signature[1].items()
    (output,) = answer.structured_outputs
    names = loaded.signatures.get("class_names")

    # The default argument keeps `loaded` alive. Otherwise its variables are deleted.
    def run(images, loaded=loaded):
        return answer(**{name: tf.constant(images)})[output].numpy()

    return ExportedModel(
        path=path,
        format="tf_saved_model",
        input_shape=tuple(images.shape),
        input_dtype=images.dtype.name,
        output=output,
        class_names=names and tuple(name.decode() for name in names()["class_names"].numpy()),
        _run=run,
    )


def _open_onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images,), (output,) = session.get_inputs(), session.get_outputs()
    names = session.get_modelmeta().custom_metadata_map.get(_ONNX_KEY)
    return ExportedModel(
        path=path,
        format="onnx",
        input_shape=tuple(size if isinstance(size, int) else None for size in images.shape),
        input_dtype={"float": "float32"}.get(kind := images.type[len("tensor(") : -1], kind),
        output=output.name,
        class_names=names and tuple(json.loads(names)),
        _run=lambda x: session.run(None, {images.name: x})[0],
    )


def _open_litert(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (images,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()

    interpreter.allocate_tensors()

    def run(x):
        if interpreter.get_input_details()[0]["shape"].tolist() != list(x.shape):
            interpreter.resize_tensor_input(images["index"], x.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(images["index"], x)
        interpreter.invoke()
        answer = interpreter.get_tensor(output["index"])
        scale, zero = output["quantization"]
        return np.float32(scale) * (answer.astype("float32") - zero) if scale else answer

    names = None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = tuple(archive.read(_LABELS).decode().removesuffix("\n").split("\n"))
    return ExportedModel(
        path=path,
        format="litert",
        input_shape=tuple(None if n < 0 else int(n) for n in images["shape_signature"]),
        input_dtype=np.dtype(images["dtype"]).name,
        output=output["name"],
        class_names=names,
        _run=run,
    )


def _open_torch(path):
    import torch

    # Not empty, because torch would then fill another dict.
    files = {_TORCH_FILE: None}
    # Not by its name, which may have another ending.
    with open(path, "rb") as file:
        program = torch.export.load(file, extra_files=files)
    module, signature = program.module(), program.graph_signature
    (images,) = (
        node.meta["val"] for node in program.graph.nodes if node.name in signature.user_inputs
    )

    def run(x):
        with torch.no_grad():
            return module(torch.from_numpy(x)).numpy()

    names = files[_TORCH_FILE]
    return ExportedModel(
        path=path,
        format="torch",
        input_shape=tuple(n if isinstance(n, int) else None for n in images.shape),
        input_dtype=str(images.dtype).removeprefix("torch."),
        output=signature.user_outputs[0],
        class_names=names and tuple(json.loads(names)),
        _run=run,
    )


_OPENERS = {
    "tf_saved_model": _open_saved_model,
    "onnx": _open_onnx,
    "litert": _open_litert,
    "torch": _open_torch,
}


def _fits(shape, expected):
    return len(shape) == len(expected) and all(
        size in (None, given) for given, size in zip(shape, expected, strict=True)
    )


def _answer(path, batches_path, answers_path):
    model = open_exported(path)
    about = {"output": model.output, "class_names": model.class_names}
    with np.load(batches_path) as batches:
        # Twice: if the file still draws random numbers, the two results differ.
        answers = {name: [model(batches[name]), model(batches[name])] for name in batches}
    np.savez(answers_path, about=json.dumps(about), **answers)


if __name__ == "__main__":
    _answer(*sys.argv[1:])
