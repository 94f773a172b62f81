"""Conv2D whose kernel is a trained linear combination of random filters."""

import keras
from keras import ops

from keras_lc.layers.basis_conv2d import BasisConv2D, check_expansion
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
        basis: Variable of shape `(height, width, channels/groups, filters · expansion)`.
        combination: Variable of shape `(filters · expansion / groups, filters)`.
        kernel: Tensor of shape `(height, width, channels/groups, filters)`: what the input is
            convolved with, in the variables' dtype.
        basis_filters: Integer, `filters · expansion`.

    Input shape:

    - If `data_format="channels_last"`: `(batch, height, width, channels)`
    - If `data_format="channels_first"`: `(batch, channels, height, width)`

    Output shape: as of `keras.layers.Conv2D`.

    Raises:
        ValueError: If `expansion` is less than 1, for `kernel_*` and `lora_*` arguments, which
            have no clear meaning for a product, and where Conv2D raises it.

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
        combination_initializer=None,
        combination_regularizer=None,
        combination_constraint=None,
        **kwargs,
    ):
        expansion = check_expansion(expansion)
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
        self.combination_initializer = keras.initializers.get(combination_initializer)
        self.combination_regularizer = keras.regularizers.get(combination_regularizer)
        self.combination_constraint = keras.constraints.get(combination_constraint)

    @property
    def basis_filters(self):
        return self.filters * self.expansion

    def _build_combination(self):
        self.combination = self.add_weight(
            name="combination",
            shape=(self.basis_filters // self.groups, self.filters),
            initializer=self.combination_initializer
            or FanInUniform(derive_seed(self.seed, "combination")),
            regularizer=self.combination_regularizer,
            constraint=self.combination_constraint,
            autocast=False,
        )

    @property
    def kernel(self):
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        shape = (*self.basis.shape[:-1], self.filters)
        if self.groups == 1:
            flat = ops.reshape(self.basis, (-1, self.basis_filters))
            # Not `matmul`: Keras' PyTorch backend rounds a product of float64 to float32.
            return ops.reshape(ops.einsum("pb,bf->pf", flat, self.combination), shape)
        # (position, group, basis filter) · (basis filter, group, filter): each group its own.
        basis = ops.reshape(self.basis, (-1, self.groups, self.basis_filters // self.groups))
        combination = ops.reshape(self.combination, (-1, self.groups, self.filters // self.groups))
        return ops.reshape(ops.einsum("pgb,bgf->pgf", basis, combination), shape)

    def _trained_variables(self):
        return {"combination": self.combination, **super()._trained_variables()}

    def get_config(self):
        config = super().get_config()
        config.update(
            expansion=self.expansion,
            frozen=self.frozen,
            combination_initializer=keras.initializers.serialize(self.combination_initializer),
            combination_regularizer=keras.regularizers.serialize(self.combination_regularizer),
            combination_constraint=keras.constraints.serialize(self.combination_constraint),
        )
        return config
