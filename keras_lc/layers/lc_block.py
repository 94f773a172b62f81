"""The LC block with a normalization or an activation between basis and combination."""

from typing import Any

import keras

from keras_lc.layers.accelerated import BatchNormalization, Conv2D
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.basis_conv2d import check_expansion
from keras_lc.layers.frozen_conv2d import FrozenConv2D
from keras_lc.layers.initializers import FanInUniform
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.types import Shape, Size, Tensor

BETWEEN = ("relu", "bn", "bn_relu")


@keras.saving.register_keras_serializable(package="keras_lc")
class LCBlock(keras.layers.Layer):
    """Random filters and a trained 1×1 convolution, with an operation between them.

    With a ReLU between them, the two layers are not one convolution. So this block computes them
    one after the other, as in the paper's Appendix C, and its inner feature map has
    `filters * expansion` channels. Without an operation between them, use `LCConv2D`, which is
    much cheaper. With only batch normalization (`between="bn"`), the block is one convolution at
    inference, and `fold(model, batch_norm=True)` replaces it by one.

    Keras loads the inner layers one by one. So with `load_weights(…, skip_mismatch=True)`, a file
    may fit only one of them.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        between: One of `"relu"`, `"bn"` (batch normalization) and `"bn_relu"`.
        strides, padding, data_format, groups: As in `keras.layers.Conv2D`. With `groups`, each
            group of output channels combines only the basis filters of its group.
        expansion: Integer, the number of basis filters per output channel.
        frozen: Boolean, whether the basis stays as it was drawn.
        seed: Integer that determines basis and initial combination. `None` draws one, once.

    Attributes:
        basis_conv: The convolution with the basis, `FrozenConv2D` or `Conv2D`.
        batch_norm: The `BatchNormalization` between the convolutions, or `None`.
        combination_conv: The 1×1 `Conv2D`.

    Example:

    >>> block = keras_lc.layers.LCBlock(16, 3, between="bn_relu", expansion=4, padding="same")
    >>> block(np.zeros((1, 32, 32, 3))).shape
    (1, 32, 32, 16)

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Appendix C
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        between: str,
        *,
        strides: Size = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        groups: int = 1,
        expansion: int = 1,
        frozen: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if between not in BETWEEN:
            raise ValueError(f"`between` must be one of {BETWEEN}. Received: between={between!r}")
        self.between = between
        self.expansion = check_expansion(expansion)
        self.frozen = bool(frozen)
        self.seed = resolve_seed(seed)
        geometry = dict(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            groups=groups,
            use_bias=False,
            name="basis",
            dtype=self.dtype_policy,
        )
        if self.frozen:
            self.basis_conv = FrozenConv2D(filters * expansion, seed=self.seed, **geometry)
        else:
            self.basis_conv = Conv2D(
                filters * self.expansion, kernel_initializer=FanInUniform(self.seed), **geometry
            )
        self.batch_norm = None
        if between != "relu":
            self.batch_norm = BatchNormalization(
                axis=channel_axis(self.basis_conv.data_format),
                momentum=0.9,
                epsilon=1e-5,
                name="bn",
                dtype=self.dtype_policy,
            )
        self.activation = None if between == "bn" else keras.activations.relu
        self.combination_conv = Conv2D(
            filters,
            1,
            data_format=data_format,
            groups=groups,
            use_bias=False,
            kernel_initializer=FanInUniform(derive_seed(self.seed, "combination")),
            name="combination",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Shape) -> None:
        self.basis_conv.build(input_shape)
        features = self.basis_conv.compute_output_shape(input_shape)
        if self.batch_norm is not None:
            self.batch_norm.build(features)
        self.combination_conv.build(features)
        self.built = True

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        x = self.basis_conv(inputs)
        if self.batch_norm is not None:
            x = self.batch_norm(x, training=training)
        if self.activation is not None:
            x = self.activation(x)
        return self.combination_conv(x)

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        features = self.basis_conv.compute_output_shape(input_shape)
        return self.combination_conv.compute_output_shape(features)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            filters=self.combination_conv.filters,
            kernel_size=self.basis_conv.kernel_size,
            between=self.between,
            strides=self.basis_conv.strides,
            padding=self.basis_conv.padding,
            data_format=self.basis_conv.data_format,
            groups=self.basis_conv.groups,
            expansion=self.expansion,
            frozen=self.frozen,
            # That of a file, where weights written with another seed were loaded.
            seed=self.basis_conv.seed if self.frozen else self.seed,
        )
        return config
