"""A basis: a function of a seed and a shape, with its configuration."""

import dataclasses
import math
from typing import Any

import numpy as np

from keras_lc.bases.random_numbers import scaled_by_fan_in
from keras_lc.naming import joined, words_of
from keras_lc.seeds import derive_seed


@dataclasses.dataclass(frozen=True)
class Basis:
    """Base class: filters as a function of a seed and a shape.

    A subclass is a frozen dataclass with one method, `draw`. Its fields are its configuration:
    numbers, strings, or tuples of them. Register it with Keras' serialization. Then files hold
    the seed in place of the filters, layers can be compact, and all builders take it:
    `keras_lc.LCConv2D(16, 3, basis_initializer=Stripes())`, `keras_lc.ResNetLC(basis=Stripes())`,
    `keras_lc.spatial.LC(basis=…)`, `keras_lc.to_lc(model, 8, basis=…)`.

    The included bases have the variance of PyTorch's default, as in the LC paper:
    `1 / (3 · height · width · channels)`. The paper's learning rates fit this variance. They also
    serve convolutions of one and three dimensions, with as many sides in the shape.

    Example:

    >>> @keras.saving.register_keras_serializable(package="mine")
    ... @dataclasses.dataclass(frozen=True)
    ... class Stripes(keras_lc.bases.Basis):
    ...     scale: float = 0.1
    ...
    ...     def draw(self, seed, shape):
    ...         signs = np.sign(keras_lc.bases.Uniform().draw(seed, shape))
    ...         signs[1::2] *= 0
    ...         return np.float32(self.scale) * signs
    >>> layer = keras_lc.LCConv2D(16, 3, basis_initializer=Stripes(scale=0.5), seed=0)
    >>> layer(np.zeros((1, 8, 8, 3))).shape
    (1, 6, 6, 16)
    >>> Stripes(scale=0.5).name
    'stripes_scale_0_5'
    """

    #: Whether `finish` gives the same bits on every machine. If not, a layer accepts filters that
    #: differ from those of its seed by rounding.
    is_exact = True

    @property
    def name(self) -> str:
        """The basis' part of a network's name: `"dct"`, `"sparse_taps_5"`.

        It is the class' name and all fields that differ from their defaults.
        """
        return joined(*words_of(self))

    def draw(self, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the filters of a seed.

        The same arguments must always give the same bits. Files hold only the seed and a
        fingerprint of the returned array.

        Args:
            seed: Integer, at least 0 and below 2^63.
            shape: Tuple `(height, width, channels, filters)`, of one group of channels. In 1D
                `(steps, channels, filters)`, in 3D `(depth, height, width, channels, filters)`.

        Returns:
            A float32 NumPy array of that shape.
        """
        raise NotImplementedError

    def finish(self, drawn: np.ndarray) -> np.ndarray:
        """Returns the filters, given what `draw` returned: the same array by default.

        Use it for a last step that rounds differently on other machines, such as a factorization.
        The fingerprint in a file is of the array before this step. Set `is_exact = False` then.
        """
        return drawn

    def __call__(self, seed: int, shape: tuple[int, ...], groups: int = 1) -> np.ndarray:
        """Returns the filters of a layer, `(height, width, channels/groups, filters)`."""
        return self.finish_groups(self.draw_groups(seed, shape, groups), groups)

    def draw_groups(self, seed: int, shape: tuple[int, ...], groups: int) -> np.ndarray:
        """Returns what `draw` gives for each group. A group mixes only its own filters."""
        if groups == 1:
            return self._checked_draw(seed, shape)
        part = (*shape[:-1], shape[-1] // groups)
        seeds = [derive_seed(seed, f"group{group}") for group in range(groups)]
        return np.concatenate([self._checked_draw(own, part) for own in seeds], axis=-1)

    def finish_groups(self, drawn: np.ndarray, groups: int) -> np.ndarray:
        """Returns what `finish` gives for each group of a layer."""
        if groups == 1:
            return self.finish(drawn)
        return np.concatenate([self.finish(p) for p in np.split(drawn, groups, -1)], axis=-1)

    def _checked_draw(self, seed, shape):
        drawn = self.draw(seed, shape)
        if getattr(drawn, "dtype", None) != np.float32 or drawn.shape != shape:
            raise ValueError(
                f"`{type(self).__name__}.draw` must return a float32 array of shape {shape}. "
                f"Received: {_described(drawn)}"
            )
        if not np.isfinite(drawn).all():
            raise ValueError(
                f"`{type(self).__name__}.draw` must return finite numbers. Received some that are "
                f"not, for seed={seed}, shape={shape}"
            )
        return drawn

    def get_config(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Basis":
        return cls(**config)


def _described(drawn):
    if isinstance(drawn, np.ndarray):
        return f"{drawn.dtype} of shape {drawn.shape}"
    return f"a {type(drawn).__name__}"


class IndependentNumbers(Basis):
    """Base class: filters whose numbers are independent of each other and of their place.

    Any part of such numbers can serve as a basis, so a `keras_lc.layers.SharedBasis` can hold them
    for several layers. A subclass defines `numbers` in place of `draw`.
    """

    def numbers(self, seed: int, count: int) -> np.ndarray:
        """Returns numbers of variance 1/3. A smaller `count` gives the first of them.

        Args:
            seed: Integer, at least 0 and below 2^63.
            count: Integer.

        Returns:
            A float32 NumPy array of shape `(count,)`.
        """
        raise NotImplementedError

    def draw(self, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        numbers = self.numbers(seed, math.prod(shape)).reshape(shape)
        return scaled_by_fan_in(numbers, math.prod(shape[:-1]))

    def draw_groups(self, seed: int, shape: tuple[int, ...], groups: int) -> np.ndarray:
        return self._checked_draw(seed, shape)
