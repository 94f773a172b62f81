"""What all convolutions with linear combinations of random filters have in common."""

import math
from typing import Any, TypedDict, Unpack

import keras
import numpy as np
from keras import ops

from keras_lc.bases import Basis
from keras_lc.layers.basis_conv import BasisConv, check_expansion, check_rank
from keras_lc.layers.compact_basis import (
    by_group,
    factor_of,
    from_groups,
    least_squares_combination,
    solve_combination,
)
from keras_lc.layers.initializers import ByFunction, FanInUniform
from keras_lc.layers.shared_basis import SharedBasis
from keras_lc.seeds import derive_seed
from keras_lc.types import (
    Activation,
    Array,
    Constraint,
    Initializer,
    Regularizer,
    Size,
    Tensor,
)


class LCOptions(TypedDict, total=False):
    """The arguments of all LC layers, beside those for the geometry of a convolution."""

    expansion: int
    rank: int | None
    frozen: bool
    compact: bool
    seed: int | None
    shared_basis: SharedBasis | dict[str, Any] | None
    basis_initializer: Initializer | Basis
    combination_initializer: Initializer
    combination_regularizer: Regularizer
    combination_constraint: Constraint
    bias_initializer: Initializer
    bias_regularizer: Regularizer
    bias_constraint: Constraint
    activity_regularizer: Regularizer
    trainable: bool
    name: str | None
    dtype: Any
    autocast: bool


class LCConv(BasisConv):
    """Mixin of Keras' convolutions of any dimension: the kernel is `basis · combination`.

    `keras_lc.LCConv2D` describes the arguments and attributes.
    """

    _instead_of_kernel_arguments = (
        "Its kernel is a product: use `basis_initializer` for the random filters, and "
        "`combination_initializer`, `combination_regularizer`, `combination_constraint` for the "
        "trained weights."
    )

    def __init__(
        self,
        *size: Any,
        expansion: int = 1,
        frozen: bool = True,
        compact: bool = False,
        combination_initializer: Initializer = None,
        combination_regularizer: Regularizer = None,
        combination_constraint: Constraint = None,
        shared_basis: SharedBasis | dict[str, Any] | None = None,
        rank: int | None = None,
        **kwargs: Any,
    ):
        expansion = check_expansion(expansion)
        rank = check_rank(rank, expansion)
        if isinstance(shared_basis, dict):
            shared_basis = keras.saving.deserialize_keras_object(shared_basis)
        if not isinstance(shared_basis, SharedBasis | None):
            raise TypeError(
                "`shared_basis` must be a `keras_lc.layers.SharedBasis` or None. "
                f"Received: shared_basis={shared_basis!r}"
            )
        for name, given in (("compact=True", compact), ("shared_basis", shared_basis is not None)):
            if given and not frozen:
                raise ValueError(
                    f"A basis that is learned can be neither compact nor shared: `{name}` needs "
                    f"`frozen=True`. Received: frozen={frozen}"
                )
        super().__init__(*size, **kwargs)
        groups = getattr(self, "groups", 1)
        if rank is not None and rank % groups:
            raise ValueError(
                f"`rank` must be divisible by `groups`. Received: rank={rank}, groups={groups}"
            )
        self.expansion = expansion
        self.frozen = bool(frozen)
        self.compact = bool(compact)
        self.combination_initializer = keras.initializers.get(combination_initializer)
        self.combination_regularizer = keras.regularizers.get(combination_regularizer)
        self.combination_constraint = keras.constraints.get(combination_constraint)
        self.shared_basis = shared_basis
        self._rank = rank
        self._check_basis_initializer(kwargs.get("basis_initializer"))

    def _check_basis_initializer(self, given):
        if self.shared_basis is not None and self.basis_initializer is not None:
            raise ValueError(
                "`shared_basis` needs the random filters of a seed, its own, and takes no "
                f"`basis_initializer`. Received: {given!r}"
            )
        if self.compact and not self._is_from_seed():
            raise ValueError(
                "`compact=True` needs the random filters of a seed, not those of a "
                f"`basis_initializer`. Received: {given!r}"
            )

    @property
    def basis_filters(self) -> int:
        return self._output_filters * self.expansion if self._rank is None else self._rank

    @property
    def is_factored(self) -> bool:
        return self.compact and self._factor_filters < self.basis_filters

    @property
    def _numbers_of_a_filter(self):
        return math.prod(self._filters_shape[:-1])

    @property
    def _factor_filters(self):
        return self._numbers_of_a_filter * self._basis_groups

    def random_filters(self) -> np.ndarray:
        """Returns the random filters, even if the layer holds their triangular factor.

        Returns:
            A NumPy array of the shape of a basis that is not factored, such as
            `(height, width, channels/groups, filters · expansion)`.

        Raises:
            ValueError: If the triangular factor does not belong to the filters of its seed. This
                happens after `set_weights` with the weights of a layer with another seed.
        """
        if self.is_factored:
            if not self.has_seeded_basis():
                raise ValueError(
                    f"Layer '{self.name}' holds a triangular factor, and not that of seed "
                    f"{self._basis_seed}: its random filters are not known. `set_weights` brings "
                    "no seed; `load_weights` does."
                )
            filters = self._filters_of(self._draw(self._basis_seed))
            return filters.reshape(self._shape_of_basis(self.basis_filters))
        return ops.convert_to_numpy(self.basis)

    def has_seeded_basis(self) -> bool:
        if self._takes_slice:
            return self._shared_numbers.has_seeded_basis()
        return super().has_seeded_basis()

    def __call__(self, inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.shared_basis is not None and isinstance(inputs, keras.KerasTensor):
            shared_basis = self.shared_basis.in_graph_of(inputs)
            if not self.built:
                self.shared_basis = shared_basis
        return super().__call__(inputs, *args, **kwargs)

    def get_build_config(self) -> dict[str, Any] | None:
        # With a build config, Keras would build a loaded layer before its first call. The layer
        # finds the shared basis in the graph only when it is called.
        return super().get_build_config() if self.shared_basis is None else None

    @property
    def _takes_slice(self):
        return self.shared_basis is not None and not self.is_factored

    def _build_basis(self):
        self._basis = None
        if self.is_factored:
            self._check_draws_from_seed()
            self._basis = self._add_basis(self._factor_filters)
        elif self._takes_slice:
            if math.prod(self._filters_shape) > self.shared_basis.size:
                raise ValueError(
                    f"`shared_basis` holds {self.shared_basis.size:,} numbers, and layer "
                    f"'{self.name}' needs {math.prod(self._filters_shape):,}, for a basis of shape "
                    f"{self._filters_shape}. Make it with `size` of at least that."
                )
            self._shared_numbers = self.shared_basis.layer(self.variable_dtype)
        else:
            super()._build_basis()

    def _check_draws_from_seed(self):
        if not self._is_from_seed() or type(self)._make_basis is not BasisConv._make_basis:
            raise ValueError(
                f"`compact=True` needs the random filters of a seed, and layer '{self.name}' "
                f"({type(self).__name__}) makes its basis in its own way. Build it with "
                "`compact=False`."
            )

    @property
    def basis(self) -> Tensor:
        if self.built and self._takes_slice:
            shape = self._shape_of_basis(self.basis_filters)
            return self._shared_numbers.first(shape) * self._shared_scale
        return super().basis

    @property
    def _shared_scale(self):
        return 1.0 / math.sqrt(self._numbers_of_a_filter)

    @property
    def _basis_seed(self):
        return self.seed if self.shared_basis is None else self.shared_basis.seed

    @_basis_seed.setter
    def _basis_seed(self, seed):
        if self.shared_basis is None:
            self.seed = seed
        else:
            self.shared_basis.seed = seed

    @property
    def _random_basis(self):
        return super()._random_basis if self.shared_basis is None else self.shared_basis.basis

    def _basis_of(self, numbers):
        if not self.is_factored:
            return super()._basis_of(numbers)
        factor = factor_of(self._filters_of(numbers), self._basis_groups)
        return from_groups(factor, self._shape_of_basis(self._factor_filters))

    def _is_exact(self):
        # LAPACK's last bit may differ between machines.
        return not self.is_factored and super()._is_exact()

    def _build_combination(self):
        mixed = self._numbers_of_a_filter if self.is_factored else self._group_filters
        self.combination = self.add_weight(
            name="combination",
            shape=(mixed, self._output_filters),
            initializer=ByFunction(self._make_combination),
            regularizer=self.combination_regularizer,
            constraint=self.combination_constraint,
            autocast=False,
        )

    @property
    def _group_filters(self):
        return self.basis_filters // self._basis_groups

    def _make_combination(self, shape, dtype):
        initializer = self.combination_initializer or FanInUniform(
            derive_seed(self.seed, "combination")
        )
        if not self.is_factored:
            return initializer(shape, dtype=dtype)
        full = initializer((self._group_filters, self._output_filters), dtype=dtype)
        return ops.convert_to_tensor(self.compact_combination(full), dtype)

    def compact_combination(self, combination: Array) -> np.ndarray:
        """Returns the combination with which this compact layer has the kernel of a full one.

        Args:
            combination: Array of shape `(filters · expansion / groups, filters)`, of a layer with
                the same seed and arguments but `compact=False`.

        Returns:
            A float64 array of the shape of this layer's combination.
        """
        combination = ops.convert_to_numpy(combination)
        if not self.is_factored:
            return combination
        filters = self._filters_of(self._draw(self._basis_seed))
        groups = self._basis_groups
        parts = (
            factor_of(filters, groups),
            by_group(filters, groups),
            by_group(combination, groups),
        )
        return from_groups(solve_combination(*parts), (-1, self._output_filters))

    def combination_for(self, kernel: Array) -> np.ndarray:
        """Returns the combination whose kernel is nearest to the given one.

        Args:
            kernel: Array of the shape of this layer's kernel.

        Returns:
            A float64 array of the shape of this layer's combination.
        """
        kernel = ops.convert_to_numpy(self._from_layout(kernel))
        flat = (self._numbers_of_a_filter, -1)
        basis, kernel = (
            by_group(values.reshape(flat), self._basis_groups)
            for values in (ops.convert_to_numpy(self.basis), kernel)
        )
        return from_groups(least_squares_combination(basis, kernel), (-1, self._output_filters))

    @property
    def kernel(self) -> Tensor:
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        if self._takes_slice:
            # The product is `expansion` times smaller than the basis, so scaling it is cheaper.
            combined = self._combine(self._shared_numbers.first(self._filters_shape))
            return self._in_layout(combined * self._shared_scale)
        return self._in_layout(self._combine(self._basis))

    def _combine(self, basis):
        groups, filters = self._basis_groups, self._output_filters
        shape = (*self._filters_shape[:-1], filters)
        if groups == 1:
            flat = ops.reshape(basis, (-1, basis.shape[-1]))
            # Not `matmul`: Keras' PyTorch backend rounds a product of float64 to float32.
            return ops.reshape(ops.einsum("pb,bf->pf", flat, self.combination), shape)
        # (position, group, basis filter) · (basis filter, group, filter): each group its own.
        mixed = self.combination.shape[0]
        basis = ops.reshape(basis, (-1, groups, mixed))
        combination = ops.reshape(self.combination, (mixed, groups, filters // groups))
        return ops.reshape(ops.einsum("pgb,bgf->pgf", basis, combination), shape)

    def _other_variables(self):
        return {"combination": self.combination, **super()._other_variables()}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            expansion=self.expansion,
            frozen=self.frozen,
            compact=self.compact,
            combination_initializer=keras.initializers.serialize(self.combination_initializer),
            combination_regularizer=keras.regularizers.serialize(self.combination_regularizer),
            combination_constraint=keras.constraints.serialize(self.combination_constraint),
            shared_basis=keras.saving.serialize_keras_object(self.shared_basis),
            rank=self._rank,
        )
        return config


class LCOrdinaryConv(LCConv):
    """Mixin of those with the arguments of `keras.layers.Conv2D`, in its order."""

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = 1,
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        **options: Unpack[LCOptions],
    ):
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            activation=activation,
            use_bias=use_bias,
            **options,
        )
