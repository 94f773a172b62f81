"""What a file must hold for a layer, checked before the first variable is assigned.

Keras' `skip_mismatch` leaves out a layer that raises: it must not be changed by then.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_lc.types import Store


def check_names(layer: keras.layers.Layer, store: Store, expected: Iterable[str]) -> None:
    """Raises `ValueError` if a file does not hold just the arrays of these names for a layer."""
    found = set(store.keys())
    if found != set(expected):
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}) expects the variables "
            f"{sorted(expected)}, but the file holds {sorted(found)}."
        )


def check_shapes(layer: keras.layers.Layer, store: Store, variables: Mapping[str, Any]) -> None:
    """Raises `ValueError` if an array of a file does not fit the variable of its name."""
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
