"""Conv2D with trained linear combinations of random filters as its kernel."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lc.layers.basis_conv2d import BasisConv2D, check_expansion, check_rank
from keras_lc.layers.compact_basis import (
    by_group,
    factor_of,
    from_groups,
    solve_combination,
)
from keras_lc.layers.initializers import ByFunction, FanInUniform
from keras_lc.layers.shared_basis import SharedBasis
from keras_lc.seeds import derive_seed
from keras_lc.types import Activation, Array, Constraint, Initializer, Regularizer, Size, Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv2D(BasisConv2D):
    """2D convolution with linear combinations of random filters.

    The layer equals a convolution with `filters * expansion` random filters (the *basis*, only
    trained if `frozen=False`) and a trained 1×1 convolution (the *combination*). Both are linear,
    so the layer computes one convolution with the kernel `basis · combination`. It never makes
    feature maps with `filters * expansion` channels. A step costs one plain convolution and one
    matrix product of the kernel's size, for any batch and image size.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides, padding, data_format, dilation_rate, groups, activation, use_bias: As in
            `keras.layers.Conv2D`. Bias and activation come after the combination. With `groups`,
            each group of output channels combines only the basis filters of its group.
        expansion: Integer, the number of basis filters per output channel.
        frozen: Boolean, whether the basis is never trained.
        compact: Boolean, whether to use the compact form: the triangular factor of the basis, and
            a matching combination. It has `k² · channels` basis filters per group, for any
            expansion. It computes exactly the same at the cost of a plain convolution. With an
            optimizer that is linear in the gradient (SGD with momentum, Nesterov momentum, weight
            decay, any schedule), it also learns exactly the same.
            `compact` has no effect if the basis has no more filters than that. A learned basis has
            no compact form.
        basis_initializer: `keras_lc.bases.Basis` that draws the basis from `seed`, with the same
            bits under every backend. Defaults to `None`: `keras_lc.bases.Uniform()`, PyTorch's
            default, `U[-a, a]` with `a = 1/√(channels/groups · kernel area)`. A basis from a Keras
            initializer is written to checkpoints, and can be neither compact nor shared.
        combination_initializer: Keras initializer of the combination. Defaults to `None`:
            PyTorch's default, `a = 1/√(filters · expansion / groups)`, drawn from `seed`.
        combination_regularizer: Keras regularizer of the combination.
        combination_constraint: Keras constraint of the combination.
        bias_initializer, bias_regularizer, bias_constraint, activity_regularizer: As in
            `keras.layers.Conv2D`.
        seed: Integer, the seed of the basis and the initial combination. `None` draws a seed
            once. The seed is part of the layer's config.
        shared_basis: `keras_lc.layers.SharedBasis` that provides the basis, instead of
            random filters of the layer's own. Defaults to `None`.
        rank: Integer, the number of basis filters, in place of `expansion`: any multiple of
            `groups`. With fewer than `filters` the kernel is of low rank, and the layer, basis
            included, can have fewer numbers than a plain one. Defaults to `None`.

    Attributes:
        basis: Variable (a tensor if shared) of shape
            `(height, width, channels/groups, filters · expansion)`, or
            `(height, width, channels/groups, groups · k² · channels/groups)` if factored.
        combination: Variable of shape `(basis filters of a group, filters)`.
        kernel: Tensor of shape `(height, width, channels/groups, filters)`: what the input is
            convolved with, in the variables' dtype.
        basis_filters: Integer, `filters · expansion` or the `rank` given.
        is_factored: Boolean, whether the basis is a triangular factor. This is so in a compact
            layer with more random filters than the factor has.

    Not supported: `keras.layers.SpectralNormalization` (it needs a kernel variable; use a
    `combination_constraint`), LoRA and quantization in place (call `keras_lc.fold` first).

    Input shape:

    - If `data_format="channels_last"`: `(batch, height, width, channels)`
    - If `data_format="channels_first"`: `(batch, channels, height, width)`

    Output shape: As in `keras.layers.Conv2D`.

    Raises:
        ValueError: If `expansion` or `rank` is less than 1, or both are given. If `compact` or
            `shared_basis` is used with `frozen=False` or with a Keras initializer of the basis. If
            the `shared_basis` is too small, or if the layer also has a `basis_initializer`. If
            there are `kernel_*` or `lora_*` arguments: a product has no such kernel. And where
            Conv2D raises it.

    Example:

    >>> layer = keras_lc.LCConv2D(16, 3, expansion=4, padding="same", seed=0)
    >>> layer(np.zeros((1, 32, 32, 3))).shape
    (1, 32, 32, 16)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((3, 3, 3, 64), (64, 16), (3, 3, 3, 16))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """

    _instead_of_kernel_arguments = (
        "Its kernel is a product: use `basis_initializer` for the random filters, and "
        "`combination_initializer`, `combination_regularizer`, `combination_constraint` for the "
        "trained weights."
    )

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Size = (1, 1),
        groups: int = 1,
        activation: Activation = None,
        use_bias: bool = True,
        *,
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
        if rank is not None and rank % groups:
            raise ValueError(
                f"`rank` must be divisible by `groups`. Received: rank={rank}, groups={groups}"
            )
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
            **kwargs,
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
        return self.filters * self.expansion if self._rank is None else self._rank

    @property
    def is_factored(self) -> bool:
        return self.compact and self._numbers_of_a_filter * self.groups < self.basis_filters

    @property
    def _numbers_of_a_filter(self):
        return math.prod(self._filters_shape[:-1])

    def random_filters(self) -> np.ndarray:
        """Returns the random filters, even if the layer holds their triangular factor.

        Returns:
            A NumPy array of shape `(height, width, channels/groups, filters · expansion)`.

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
            return self._filters_of(self._draw(self._basis_seed))
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
            self._basis = self._add_basis(self._factor_shape)
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
        if not self._is_from_seed() or type(self)._make_basis is not BasisConv2D._make_basis:
            raise ValueError(
                f"`compact=True` needs the random filters of a seed, and layer '{self.name}' "
                f"({type(self).__name__}) makes its basis in its own way. Build it with "
                "`compact=False`."
            )

    @property
    def basis(self) -> Tensor:
        if self.built and self._takes_slice:
            return self._shared_numbers.first(self._filters_shape) * self._shared_scale
        return super().basis

    @property
    def _factor_shape(self):
        return (*self._filters_shape[:-1], self._numbers_of_a_filter * self.groups)

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

    def _filters_of(self, numbers):
        return super()._basis_of(numbers)

    def _basis_of(self, numbers):
        filters = self._filters_of(numbers)
        if not self.is_factored:
            return filters
        return from_groups(factor_of(filters, self.groups), self._factor_shape)

    def _is_exact(self):
        # LAPACK's last bit may differ between machines.
        return not self.is_factored and super()._is_exact()

    def _build_combination(self):
        mixed = self._numbers_of_a_filter if self.is_factored else self._group_filters
        self.combination = self.add_weight(
            name="combination",
            shape=(mixed, self.filters),
            initializer=ByFunction(self._make_combination),
            regularizer=self.combination_regularizer,
            constraint=self.combination_constraint,
            autocast=False,
        )

    @property
    def _group_filters(self):
        return self.basis_filters // self.groups

    def _make_combination(self, shape, dtype):
        initializer = self.combination_initializer or FanInUniform(
            derive_seed(self.seed, "combination")
        )
        if not self.is_factored:
            return initializer(shape, dtype=dtype)
        full = initializer((self._group_filters, self.filters), dtype=dtype)
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
        parts = (
            factor_of(filters, self.groups),
            by_group(filters, self.groups),
            by_group(combination, self.groups),
        )
        return from_groups(solve_combination(*parts), (-1, self.filters))

    @property
    def kernel(self) -> Tensor:
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        if self._takes_slice:
            # The product is `expansion` times smaller than the basis, so scaling it is cheaper.
            numbers = self._shared_numbers.first(self._filters_shape)
            return self._combine(numbers) * self._shared_scale
        return self._combine(self._basis)

    def _combine(self, basis):
        shape = (*self._filters_shape[:-1], self.filters)
        if self.groups == 1:
            flat = ops.reshape(basis, (-1, basis.shape[-1]))
            # Not `matmul`: Keras' PyTorch backend rounds a product of float64 to float32.
            return ops.reshape(ops.einsum("pb,bf->pf", flat, self.combination), shape)
        # (position, group, basis filter) · (basis filter, group, filter): each group its own.
        basis = ops.reshape(basis, (-1, self.groups, basis.shape[-1] // self.groups))
        combination = ops.reshape(self.combination, (-1, self.groups, self.filters // self.groups))
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
