"""Initializers with the same bits under every backend."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_lc.bases.random_numbers import scaled_by_fan_in, symmetric_uniform
from keras_lc.seeds import resolve_seed
from keras_lc.types import Shape, Tensor


def fan_in_uniform(seed: int, shape: tuple[int, ...], fan_in: int | None = None) -> np.ndarray:
    """Draws float32 numbers from U(-1/√fan_in, 1/√fan_in); see `FanInUniform`."""
    fan_in = math.prod(shape[:-1]) if fan_in is None else fan_in
    return scaled_by_fan_in(symmetric_uniform(seed, shape), fan_in)


@keras.saving.register_keras_serializable(package="keras_lc")
class FanInUniform(keras.initializers.Initializer):
    """PyTorch's default initialization, with the same bits under every backend.

    It draws from `U[-a, a]` with `a = 1/√fan_in`. PyTorch uses this distribution for the weights
    and biases of its convolutions and linear layers (Kaiming uniform with gain √(1/3)), and the
    LC paper relies on it. Unlike Keras' own initializers, it gives equal values in each call with
    equal shapes.

    Args:
        seed: Integer, at least 0 and below 2^63. `None` draws a seed once.
        fan_in: Integer, the number of inputs of one output. Defaults to the product of all axes
            of the shape without the last one. This is correct for kernels in Keras' layout. For a
            bias, pass the `fan_in` of its kernel.

    Example:

    >>> initializer = keras_lc.layers.FanInUniform(seed=0)
    >>> initializer((3, 3, 16, 32)).shape
    (3, 3, 16, 32)

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Equation 3
    """

    def __init__(self, seed: int | None = None, fan_in: int | None = None):
        if fan_in is not None and fan_in < 1:
            raise ValueError(f"`fan_in` must be at least 1. Received: fan_in={fan_in}")
        self.seed = resolve_seed(seed)
        self.fan_in = fan_in

    def __call__(self, shape: Shape, dtype: str | None = None) -> Tensor:
        values = fan_in_uniform(self.seed, tuple(shape), self.fan_in)
        return keras.ops.convert_to_tensor(values, dtype=dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed, "fan_in": self.fan_in}


@keras.saving.register_keras_serializable(package="keras_lc")
class GroupIdentity(keras.initializers.Initializer):
    """The combination of an LC layer whose kernel is its basis: an identity for each group."""

    def __call__(self, shape: Shape, dtype: str | None = None) -> Tensor:
        size, filters = shape
        values = np.tile(np.eye(size), (1, filters // size))
        return keras.ops.convert_to_tensor(values, dtype=dtype or keras.config.floatx())


class ByFunction(keras.initializers.Initializer):
    """An initializer that calls a function, for a variable of any size.

    A function would do, but for large variables on several devices: under JAX, Keras compiles
    the `__call__` of their initializer, which must be a method written in Python.
    """

    def __init__(self, function: Callable[..., Tensor]):
        self.function = function

    def __call__(self, shape: Shape, dtype: str | None = None) -> Tensor:
        return self.function(shape, dtype=dtype)
