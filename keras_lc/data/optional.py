"""Imports packages that only some sources need."""

import importlib
from types import ModuleType

from keras_lc.listed import how_to_install


def require(module: str, extra: str = "data") -> ModuleType:
    """Imports a module when a source needs it, so `keras_lc.data` itself needs only NumPy.

    Args:
        module: Dotted name, such as `"PIL.Image"`.
        extra: The extra of keras-lc that installs it.

    Returns:
        The module.

    Raises:
        ImportError: If the module cannot be imported. The message says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"This data needs {module}, but it cannot be imported ({error}). Run: "
            f"{how_to_install(extra)}"
        ) from error
