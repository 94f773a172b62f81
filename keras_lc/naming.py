"""How objects that describe a network name themselves: by their class, and what they change."""

import dataclasses
import re
from typing import Any


def joined(*words: str | None) -> str:
    """Returns the words that are not empty, as one name."""
    return "_".join(filter(None, words))


def words_of(described: Any, *told_otherwise: str) -> list[str]:
    """Returns the words that name a dataclass' instance.

    Args:
        described: An instance of a dataclass.
        told_otherwise: Names of the fields to leave out.

    Returns:
        The class' word (its `_word`, or its name), and one for each field that differs from its
        default.
    """
    # Of this very class: another name tells a subclass apart.
    cls = type(described)
    words = [vars(cls).get("_word", _snake_case(cls.__name__))]
    for field in dataclasses.fields(described):
        value = getattr(described, field.name)
        if field.name not in told_otherwise and value != _default(field):
            words.append(_snake_case(f"{field.name}_{_text(value)}"))
    return words


def _snake_case(text):
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).replace("-", "minus")
    return re.sub(r"\W+", "_", words).strip("_").lower()


def _text(value):
    if isinstance(value, bool | int | float | str | tuple | None):
        return str(value)
    # Which may hold an address in memory.
    return getattr(value, "__name__", type(value).__name__)


def _default(field):
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
