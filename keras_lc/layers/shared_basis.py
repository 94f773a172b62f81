"""One tensor of random numbers. The bases of all layers in a network are slices of it."""

import math
import operator
import weakref
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_lc.bases import Basis, IndependentNumbers, Uniform
from keras_lc.keras_internals import source_layers
from keras_lc.layers.initializers import ByFunction
from keras_lc.layers.seeded_basis import SeededBasis
from keras_lc.seeds import resolve_seed
from keras_lc.types import Store, Tensor


def check_shareable(basis: Basis) -> IndependentNumbers:
    """Returns `basis` if any part of its numbers can serve as a basis."""
    if not isinstance(basis, IndependentNumbers):
        raise ValueError(
            "Layers can share only numbers that are independent of each other, those of a "
            "`keras_lc.bases.IndependentNumbers` such as `Uniform()` and `Normal()`. "
            f"Received: basis={basis!r}"
        )
    return basis


@keras.saving.register_keras_serializable(package="keras_lc")
class SharedBasis:
    """Random numbers for the bases of several layers.

    The weight sharing of the LC paper's first version: one tensor, drawn from `U[-1, 1]` by
    default. Each layer takes as many of its first numbers as it needs, scaled by
    `1/√(channels · k²)`, which gives its filters PyTorch's default distribution. A network so
    needs as many random numbers as its largest layer, and not the sum of all.

    Layers share a basis if they receive the same object. In a copy of a Functional or Sequential
    model (loaded, cloned, or from a config), these layers share a basis again if they have a
    common input. Layers in nested models, or with separate inputs, do not: build such a model
    again and call `load_weights`. With `skip_mismatch=True`, `load_weights` loads the basis for
    all layers, even if the other weights of a layer do not fit.

    Args:
        size: Integer, the number of random numbers. It must be at least the number that the
            largest layer needs: `k² · channels/groups · filters · expansion`.
        seed: Integer that determines the numbers. `None` draws one, once.
        basis: `keras_lc.bases.IndependentNumbers`, whose numbers they are: `Uniform()` or
            `Normal()`. Of any other basis a part is no basis. Defaults to `None`: `Uniform()`.

    Raises:
        ValueError: If `size` is less than 1, or `basis` is of another kind.

    Example:

    >>> shared = keras_lc.layers.SharedBasis(size=9 * 16 * 128, seed=0)
    >>> model = keras.Sequential([
    ...     keras.Input((32, 32, 3)),
    ...     keras_lc.LCConv2D(16, 3, expansion=8, shared_basis=shared),
    ...     keras_lc.LCConv2D(16, 3, expansion=8, shared_basis=shared),
    ... ])
    >>> [tuple(weight.shape) for weight in model.non_trainable_weights]
    [(18432,)]

    Reference:

    - [Rethinking 1x1 Convolutions](https://arxiv.org/abs/2301.11360v1), Appendix B
    """

    def __init__(
        self,
        size: int,
        seed: int | None = None,
        basis: IndependentNumbers | dict[str, Any] | None = None,
    ):
        self.size = operator.index(size)
        if self.size < 1:
            raise ValueError(f"`size` must be at least 1. Received: size={size}")
        self.seed = resolve_seed(seed)
        basis = keras.saving.deserialize_keras_object(basis) if isinstance(basis, dict) else basis
        self.basis = check_shareable(Uniform() if basis is None else basis)
        self._owners = {}

    def layer(self, dtype: str) -> keras.layers.Layer:
        """Returns the layer that owns the variable of that dtype."""
        if dtype not in self._owners:
            self._owners[dtype] = SharedNumbers(self, dtype=dtype)
        return self._owners[dtype]

    def in_graph_of(self, tensor: keras.KerasTensor) -> "SharedBasis":
        """Returns the equal basis that the graph of this tensor already has, or itself.

        A copied layer comes with a basis of its own. That all copies descend from the same
        inputs tells that they belong together.
        """
        known = [_BASES_OF_INPUT.setdefault(layer, {}) for layer in source_layers(tensor)]
        key = (self.size, self.seed, self.basis)
        shared = next((bases[key] for bases in known if key in bases), self)
        for bases in known:
            bases.setdefault(key, shared)
        return shared

    def get_config(self) -> dict[str, Any]:
        config = {"size": self.size, "seed": self.seed}
        if self.basis != Uniform():
            config["basis"] = keras.saving.serialize_keras_object(self.basis)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SharedBasis":
        return cls(**config)


# InputLayer → {(size, seed, basis): SharedBasis}
_BASES_OF_INPUT = weakref.WeakKeyDictionary()


class SharedNumbers(SeededBasis, keras.layers.Layer):
    """Owns the variable of a `SharedBasis`. Files hold it once, with its first layer."""

    def __init__(self, shared: SharedBasis, dtype: str):
        super().__init__(name="shared_basis", dtype=dtype)
        self.shared = shared
        self.numbers = self.add_weight(
            name="numbers",
            shape=(shared.size,),
            initializer=ByFunction(lambda shape, dtype: self._seeded_basis(dtype)),
            trainable=False,
            autocast=False,
        )
        self.built = True

    def load_own_variables(self, store: Store) -> None:
        if not store.keys():
            raise ValueError(
                "The layers of this model share one basis in the file, and have several in the "
                "copy: some are in nested models, or behind inputs of their own. Build the model "
                "anew with one `SharedBasis`, and call `load_weights` with this file."
            )
        super().load_own_variables(store)

    def first(self, shape: Sequence[int]) -> Tensor:
        """Returns the first numbers, in that shape."""
        return ops.reshape(self.numbers[: math.prod(shape)], shape)

    @property
    def _basis_seed(self):
        return self.shared.seed

    @_basis_seed.setter
    def _basis_seed(self, seed):
        self.shared.seed = seed

    @property
    def _basis_variable(self):
        return self.numbers

    def _draw(self, seed):
        return self.shared.basis.numbers(seed, self.shared.size)
