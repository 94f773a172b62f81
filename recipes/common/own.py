"""Classes of your own on the command line: `my_module:MyOperator,rate=2`. No Keras.

The module is on Python's path, or a file in the current folder. Its class is a dataclass; the
options after the commas are its fields.
"""

import contextlib
import dataclasses
import importlib
import os
import re
import sys
import types
import typing
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

#: The type of a setting that takes such a class besides some names.
Own = Annotated[str, "MODULE:CLASS"]
#: The form of its values, for messages.
FORM = "MODULE:CLASS of your own"
#: A sentence for `--help`.
HELP = "Or a class of your own, with its options: my_module:MyClass,rate=2."

# The settings that take them.
_SETTINGS = ("spatial", "basis")
# The folder in which a command was called, for its processes on other machines.
_FOLDER = "KERAS_LC_CALLED_IN"
_NONE = types.MappingProxyType({})
_WORD = re.compile(r"(?P<name>\w+|\w+(\.\w+)*:[^\W\d]\w*)(?P<options>(,[^\W\d]\w*=.*)?)", re.DOTALL)


def is_own(text: object) -> bool:
    """Returns whether a value of a setting names a class of the user."""
    return isinstance(text, str) and ":" in text and _WORD.fullmatch(text) is not None


def name_of(text: str) -> str | None:
    """Returns the part of a value before its options; `None` if it has another form."""
    found = _WORD.fullmatch(text)
    return None if found is None else found["name"]


def in_folder_names(text: str) -> str:
    """Returns a value as a part of a folder's name."""
    return urllib.parse.quote(text.replace(":", ".", 1), safe=",=+ ")


def environment(texts: Iterable[object]) -> dict[str, str]:
    """Returns environment variables, so that a process of a run finds the classes of its values."""
    return {_FOLDER: os.getcwd()} if any(map(is_own, texts)) else {}


def import_modules(settings: Mapping[str, object]) -> None:
    """Imports the modules of all classes in the settings of a run. Then Keras can load its model.

    Raises:
        ValueError: If a module cannot be imported.
    """
    for name in _SETTINGS:
        if is_own(text := settings.get(name)):
            _import(f"--{name}", name_of(text).partition(":")[0])


def make(option: str, text: str, base: type, included: Mapping[str, type] = _NONE) -> Any:
    """Returns an instance of the class that a value names.

    Args:
        option: String for messages: `"--spatial"`.
        text: String, the value.
        base: The class from which the class must be derived.
        included: Dict of classes with a short name.

    Raises:
        ValueError: If there is no such class, or it does not have these options.
    """
    name = name_of(text)
    if name in included:
        cls = included[name]
    else:
        module, _, class_name = name.partition(":")
        found = _import(option, module)
        cls = getattr(found, class_name, None)
        if not _is_class(cls, base):
            known = [name for name, value in vars(found).items() if _is_class(value, base)]
            raise ValueError(
                f"{option}: {class_name} of module {module} must be a subclass of {base.__name__}. "
                f"The module has: {', '.join(known) or 'none'}."
            )
    values = {
        field: _converted(option, cls, field, value) for field, value in _options(text).items()
    }
    try:
        return cls(**values)
    # Whatever the user's code raises.
    except Exception as error:
        raise ValueError(f"{option} {text}: {_one_line(error)}") from error


def _is_class(value, base):
    return isinstance(value, type) and issubclass(value, base)


def _options(text):
    """Returns the options of a value. A comma inside of an option stays: `a=1,2,b=3`."""
    words = re.split(r",(?=[^\W\d]\w*=)", text)[1:]
    return dict(word.split("=", 1) for word in words)


def _import(option, module):
    for folder in (os.environ.get(_FOLDER), os.getcwd()):
        # At the end, so that a file there hides no installed package.
        if folder is not None and folder not in sys.path:
            sys.path.append(folder)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if module != error.name and not module.startswith(f"{error.name}."):
            raise ValueError(f"{option}: module {module} needs {error.name}.") from error
        raise ValueError(
            f"{option}: there is no module {module}. Call the command in the folder of its file, "
            "or add this folder to PYTHONPATH."
        ) from None
    except Exception as error:
        raise ValueError(f"{option}: module {module} fails: {_one_line(error)}") from error


def _one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())


def _converted(option, cls, field, text):
    fields = [found.name for found in dataclasses.fields(cls) if found.init]
    if field not in fields:
        raise ValueError(
            f"{option}: {cls.__name__} has no option {field}. Its options: "
            f"{', '.join(fields) or 'none'}."
        )
    try:
        kind = typing.get_type_hints(cls)[field]
    except Exception as error:
        raise ValueError(f"{option}: {cls.__name__} has no types: {_one_line(error)}") from error
    try:
        return _value(kind, text)
    except ValueError:
        raise ValueError(
            f"{option}: {field} of {cls.__name__} must be {_described(kind)}. Received: {text}"
        ) from None


def _value(kind, text) -> Any:
    """Returns an option of a type. `ValueError` if the text is not of it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_value(inner[0], part) for part in text.split(",") if part)
    if origin in (typing.Union, types.UnionType):
        for one in sorted(inner, key=lambda one: one is str):
            with contextlib.suppress(ValueError):
                return _value(one, text)
    for value in inner if origin is typing.Literal else _WORDS.get(kind, ()):
        if str(value).lower() == text.lower():
            return value
    if kind in (int, float, str):
        return kind(text)
    raise ValueError


_WORDS = {bool: (True, False), type(None): (None,)}


def _described(kind):
    """Returns a type as a user reads it: `int`, `'a' | 'b'`."""
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(str, typing.get_args(kind)))
    return getattr(kind, "__name__", str(kind)) if not typing.get_args(kind) else str(kind)
