"""Checks before a run starts. No Keras, because its import takes seconds."""

import contextlib
import importlib.util
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

BACKENDS = ("tensorflow", "jax", "torch")
#: Data sets that need no image folder, with their names in tables and figures.
DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn_cropped": "SVHN",
    "fashion_mnist": "Fashion-MNIST",
    "digits": "digits",
}


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Ends the program with the text of an error that the user can fix, without a traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(str(error)) from None


def check_backend(backend: str | None) -> None:
    """Raises `ValueError` for a backend that cannot train, or is not installed.

    Args:
        backend: String, or `None` for Keras' own choice.
    """
    source = "--backend"
    if backend is None:
        source = "KERAS_BACKEND"
        backend = os.environ.get(source) or _configured_backend()
    if backend not in BACKENDS:
        raise ValueError(f"{source} must be one of {', '.join(BACKENDS)}. Received: {backend}")
    check_packages([backend], f"{source} {backend}")


def _configured_backend():
    home = os.environ.get("KERAS_HOME") or "~/.keras"
    try:
        config = json.loads((pathlib.Path(home).expanduser() / "keras.json").read_text())
        return config["backend"]
    # Keras does the same with a file that it cannot use.
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


def check_packages(modules: Iterable[str], what: str) -> None:
    """Raises `ValueError` for modules that are not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(f"{what} needs {', '.join(missing)}, which is not installed.")


def check_plots() -> None:
    """Raises `ValueError` if matplotlib is missing. It draws the curves of a run."""
    check_packages(["matplotlib"], "curves.png")


# The packages that `keras_lc.export` needs to write and verify each format.
_EXPORT_PACKAGES = {
    "tf_saved_model": ("tensorflow",),
    "onnx": ("tensorflow", "tf2onnx", "onnx", "onnxruntime"),
    "litert": ("tensorflow", "ai_edge_litert"),
    "torch": ("torch",),
}


def check_export(arguments) -> None:
    """Raises `ValueError` if `--export` is not possible: a package is missing, or two options
    exclude each other.

    Args:
        arguments: A dataclass with the settings of `--export`.
    """
    if not arguments.export:
        return
    # Not all commands have all settings.
    quantization = getattr(arguments, "export_quantization", "none")
    format, resize = arguments.export_format, getattr(arguments, "export_resize", False)
    check_packages(_EXPORT_PACKAGES[format], f"--export-format {format}")
    if quantization != "none" and format != "litert":
        raise ValueError(
            f"--export-quantization {quantization} needs --export-format litert. "
            f"Received: --export-format {format}"
        )
    opset = getattr(arguments, "export_opset", None)
    if opset is not None and format != "onnx":
        raise ValueError(
            f"--export-opset {opset} needs --export-format onnx. Received: --export-format {format}"
        )
    if resize:
        check_packages(["PIL"], "--export-resize")
        if quantization == "int8":
            raise ValueError("--export-resize is not possible with --export-quantization int8.")


def check_data(dataset: str, data_dir: pathlib.Path | None, download: bool = False) -> None:
    """Raises `ValueError` if a data set cannot be there. Reads no data."""
    if data_dir is not None:
        data_dir = data_dir.expanduser()
        if not data_dir.exists():
            raise ValueError(f"--data-dir: {data_dir} does not exist ({dataset}).")
        return
    if dataset == "imagenet":
        dataset = "imagenet2012"
    elif dataset not in DATASETS:
        raise ValueError(
            f"--dataset must be one of {', '.join(DATASETS)}, or have an image folder in "
            f"--data-dir. Received: {dataset}"
        )
    root = pathlib.Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    places = (root / dataset, root / "downloads" / "manual")
    if dataset != "digits" and not download and not any(place.is_dir() for place in places):
        raise ValueError(f"{dataset} was not found in {root}. Pass its folder as --data-dir.")


def check_writable(folder: pathlib.Path, argument: str = "--output") -> None:
    """Raises `ValueError` if a path is no folder, or the folder cannot be made or written to."""
    place = folder.expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        # Permissions do not tell whether a file system is read-only.
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise ValueError(f"{argument}: {folder} cannot be written to ({error}).") from None


def option(name: str) -> str:
    """Returns the command-line option of a setting."""
    return f"--{name.replace('_', '-')}"
