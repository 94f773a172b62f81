"""Conv2D whose kernel is a trained linear combination of random filters."""

import math

import keras
import numpy as np
from keras import ops

from keras_lc.layers.basis_conv2d import BasisConv2D, check_expansion
from keras_lc.layers.compact_basis import (
    by_group,
    from_groups,
    seeded_factor,
    solve_combination,
)
from keras_lc.layers.random_basis import FanInUniform, derive_seed


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv2D(BasisConv2D):
    """2D convolution with linear combinations of random filters.

    Equal to a convolution with `filters * expansion` random filters (the *basis*, not trained
    unless `frozen=False`), followed by a trained 1×1 convolution (the *combination*). Both are
    linear, so the layer is one convolution, and it is computed as one: with the kernel
    `basis · combination`. No feature map with `filters * expansion` channels ever exists, and a
    step costs one plain convolution and one matrix product of the kernel's size, whatever the
    batch and the image.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides, padding, data_format, dilation_rate, groups, activation, use_bias: As in
            `keras.layers.Conv2D`. Bias and activation follow the combination. With `groups`,
            each group of output channels mixes the basis filters of its own group.
        expansion: Integer, the number of basis filters per output channel.
        frozen: Boolean, whether the basis stays as it was drawn. `False` trains it too.
        compact: Boolean, whether to hold the basis as its triangular factor, and the combination
            to match: `k² · channels` basis filters per group, whatever the expansion. The layer
            computes and, under every optimizer that is linear in the gradient (SGD with momentum,
            Nesterov's, weight decay, any schedule), learns exactly what it does without, at the
            price of a plain convolution. Has no effect where the basis has no more filters than
            that; a learned basis has no such form.
        basis_initializer: Keras initializer of the basis. Defaults to `None`: PyTorch's default,
            `U[-a, a]` with `a = 1/√(channels/groups · kernel area)`, drawn from `seed` with the
            same bits under every backend. A basis from any other initializer is written to
            checkpoints.
        combination_initializer: Keras initializer of the combination. Defaults to `None`:
            PyTorch's default, `a = 1/√(filters · expansion / groups)`, drawn from `seed`.
        combination_regularizer: Keras regularizer of the combination.
        combination_constraint: Keras constraint of the combination.
        bias_initializer, bias_regularizer, bias_constraint, activity_regularizer: As in
            `keras.layers.Conv2D`.
        seed: Integer that determines the basis and the initial combination. `None` draws one,
            once; it is part of the layer's config.

    Attributes:
        basis: Variable of shape `(height, width, channels/groups, filters · expansion)`, or
            `(height, width, channels/groups, groups · k² · channels/groups)` if compact.
        combination: Variable that mixes them, of shape `(basis filters of a group, filters)`.
        kernel: Tensor of shape `(height, width, channels/groups, filters)`: what the input is
            convolved with, in the variables' dtype.
        basis_filters: Integer, `filters · expansion`.

    Input shape:

    - If `data_format="channels_last"`: `(batch, height, width, channels)`
    - If `data_format="channels_first"`: `(batch, channels, height, width)`

    Output shape: as of `keras.layers.Conv2D`.

    Raises:
        ValueError: If `expansion` is less than 1, for `compact` with `frozen=False` or a
            `basis_initializer`, for `kernel_*` and `lora_*` arguments, which have no clear meaning
            for a product, and where Conv2D raises it.

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
        filters,
        kernel_size,
        strides=(1, 1),
        padding="valid",
        data_format=None,
        dilation_rate=(1, 1),
        groups=1,
        activation=None,
        use_bias=True,
        *,
        expansion=1,
        frozen=True,
        compact=False,
        combination_initializer=None,
        combination_regularizer=None,
        combination_constraint=None,
        **kwargs,
    ):
        expansion = check_expansion(expansion)
        if compact and kwargs.get("basis_initializer") is not None:
            raise ValueError(
                "`compact=True` needs the random filters of `seed`, not those of a "
                f"`basis_initializer`. Received: {kwargs['basis_initializer']!r}"
            )
        if compact and not frozen:
            raise ValueError(
                "A learned basis has no compact form: `compact=True` needs `frozen=True`. "
                f"Received: compact={compact}, frozen={frozen}"
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

    @property
    def basis_filters(self):
        return self.filters * self.expansion

    def random_filters(self) -> np.ndarray:
        """Returns the random filters, also where the layer holds their triangular factor.

        Returns:
            A NumPy array of shape `(height, width, channels/groups, filters · expansion)`.
        """
        if self._is_factored:
            return self._draw_filters(self.seed)
        return ops.convert_to_numpy(self.basis.value)

    @property
    def _is_factored(self):
        return self.basis.shape[-1] < self.basis_filters

    def _basis_shape(self, channels):
        numbers = math.prod(self.kernel_size) * channels
        factored = self.compact and numbers * self.groups < self.basis_filters
        last = numbers * self.groups if factored else self.basis_filters
        return (*self.kernel_size, channels, last)

    def _make_basis(self, shape, dtype):
        if shape[-1] == self.basis_filters:
            return super()._make_basis(shape, dtype)
        return ops.convert_to_tensor(self._seeded_factor(self.seed, shape), dtype)

    def _seeded_factor(self, seed, shape):
        factor = seeded_factor(seed, self._filters_shape(shape[2]), self.groups)
        return from_groups(factor, tuple(shape))

    def _basis_of(self, filters, seed):
        return self._seeded_factor(seed, self.basis.shape) if self._is_factored else filters

    def _holds(self, basis):
        if not self._is_factored:
            return super()._holds(basis)
        # LAPACK's last bit may differ between machines.
        held = ops.convert_to_numpy(self.basis.value).astype("float64")
        return np.allclose(held, basis, rtol=0, atol=1e-6 * np.abs(basis).max())

    def _build_combination(self):
        self.combination = self.add_weight(
            name="combination",
            shape=(self.basis.shape[-1] // self.groups, self.filters),
            initializer=self._make_combination,
            regularizer=self.combination_regularizer,
            constraint=self.combination_constraint,
            autocast=False,
        )

    def _make_combination(self, shape, dtype):
        initializer = self.combination_initializer or FanInUniform(
            derive_seed(self.seed, "combination")
        )
        if not self._is_factored:
            return initializer(shape, dtype=dtype)
        full = initializer((self.basis_filters // self.groups, self.filters), dtype=dtype)
        return ops.convert_to_tensor(self.compact_combination(full), dtype)

    def compact_combination(self, combination) -> np.ndarray:
        """Returns the combination with which this compact layer has the kernel of a full one.

        Args:
            combination: Array of shape `(filters · expansion / groups, filters)`, of a layer with
                the same seed and arguments but `compact=False`.

        Returns:
            A float64 array of the shape of this layer's combination.
        """
        combination = ops.convert_to_numpy(combination)
        if not self._is_factored:
            return combination
        parts = (
            seeded_factor(self.seed, self._filters_shape(self.basis.shape[2]), self.groups),
            by_group(self._draw_filters(self.seed), self.groups),
            by_group(combination, self.groups),
        )
        return from_groups(solve_combination(*parts), (-1, self.filters))

    @property
    def kernel(self):
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        shape = (*self.basis.shape[:-1], self.filters)
        if self.groups == 1:
            flat = ops.reshape(self.basis, (-1, self.basis.shape[-1]))
            # Not `matmul`: Keras' PyTorch backend rounds a product of float64 to float32.
            return ops.reshape(ops.einsum("pb,bf->pf", flat, self.combination), shape)
        # (position, group, basis filter) · (basis filter, group, filter): each group its own.
        basis = ops.reshape(self.basis, (-1, self.groups, self.basis.shape[-1] // self.groups))
        combination = ops.reshape(self.combination, (-1, self.groups, self.filters // self.groups))
        return ops.reshape(ops.einsum("pgb,bgf->pgf", basis, combination), shape)

    def _trained_variables(self):
        return {"combination": self.combination, **super()._trained_variables()}

    def get_config(self):
        config = super().get_config()
        config.update(
            expansion=self.expansion,
            frozen=self.frozen,
            compact=self.compact,
            combination_initializer=keras.initializers.serialize(self.combination_initializer),
            combination_regularizer=keras.regularizers.serialize(self.combination_regularizer),
            combination_constraint=keras.constraints.serialize(self.combination_constraint),
        )
        return config
