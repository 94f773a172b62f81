"""Checks of a layer's part of a file, before the first variable is assigned.

With `skip_mismatch`, Keras skips a layer that raises. Such a layer must be unchanged.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_lc.types import Store


def check_names(layer: keras.layers.Layer, store: Store, expected: Iterable[str]) -> None:
    """Raises `ValueError` if a file does not hold exactly the arrays of these names."""
    found = set(store.keys())
    if found != set(expected):
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}) expects the variables "
            f"{sorted(expected)}, but the file holds {sorted(found)}."
        )


def check_shapes(layer: keras.layers.Layer, store: Store, variables: Mapping[str, Any]) -> None:
    """Raises `ValueError` if the shape of an array differs from its variable's."""
    others = [
        f"'{name}' {tuple(store[name].shape)}, where the layer has {tuple(variable.shape)}"
        for name, variable in variables.items()
        if tuple(store[name].shape) != tuple(variable.shape)
    ]
    if others:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}) has variables of other shapes than "
            f"the file: {', '.join(others)}. Build it with the arguments that the file was "
            "written with."
        )
