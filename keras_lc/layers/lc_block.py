"""The LC block with a normalization or an activation between basis and combination."""

from typing import Any

import keras
from keras import ops

from keras_lc.bases import Basis
from keras_lc.layers.accelerated import BatchNormalization, Conv2D
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.basis_conv import check_expansion, check_rank
from keras_lc.layers.frozen_conv import FrozenConv2D
from keras_lc.layers.initializers import ByFunction, FanInUniform
from keras_lc.layers.seeded_basis import get_basis_initializer
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.types import Initializer, Shape, Size, Tensor

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
        basis_initializer: `keras_lc.bases.Basis` or Keras initializer of the basis, as in
            `LCConv2D`. Defaults to `None`.
        rank: Integer, the number of basis filters, in place of `expansion`, as in `LCConv2D`.

    Attributes:
        basis_conv: The convolution with the basis, `FrozenConv2D` or `Conv2D`.
        batch_norm: The `BatchNormalization` between the convolutions, or `None`.
        combination_conv: The 1×1 `Conv2D`.
        filters, kernel_size, basis_filters, combination: As in `LCConv2D`. The combination is the
            kernel of the 1×1 convolution.

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
        basis_initializer: Initializer | Basis = None,
        rank: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if between not in BETWEEN:
            raise ValueError(f"`between` must be one of {BETWEEN}. Received: between={between!r}")
        self.between = between
        self.expansion = check_expansion(expansion)
        self.rank = check_rank(rank, self.expansion)
        basis_filters = filters * self.expansion if self.rank is None else self.rank
        self.frozen = bool(frozen)
        self.seed = resolve_seed(seed)
        self.basis_initializer = get_basis_initializer(basis_initializer)
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
            self.basis_conv = FrozenConv2D(
                basis_filters, seed=self.seed, basis_initializer=self.basis_initializer, **geometry
            )
        else:
            self.basis_conv = Conv2D(
                basis_filters, kernel_initializer=self._learned_basis(groups), **geometry
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

    def _learned_basis(self, groups):
        """Returns the Keras initializer of a basis that is trained."""
        basis = self.basis_initializer
        if basis is None:
            return FanInUniform(self.seed)
        if not isinstance(basis, Basis):
            return basis
        return ByFunction(
            lambda shape, dtype: ops.convert_to_tensor(basis(self.seed, shape, groups), dtype)
        )

    @property
    def filters(self) -> int:
        return self.combination_conv.filters

    @property
    def basis_filters(self) -> int:
        return self.basis_conv.filters

    @property
    def kernel_size(self) -> tuple[int, ...]:
        return self.basis_conv.kernel_size

    @property
    def combination(self) -> Tensor:
        return self.combination_conv.kernel

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
            filters=self.filters,
            kernel_size=self.kernel_size,
            between=self.between,
            strides=self.basis_conv.strides,
            padding=self.basis_conv.padding,
            data_format=self.basis_conv.data_format,
            groups=self.basis_conv.groups,
            expansion=self.expansion,
            frozen=self.frozen,
            # If weights with another seed were loaded, this is the seed of their file.
            seed=self.basis_conv.seed if self.frozen else self.seed,
            basis_initializer=keras.initializers.serialize(self.basis_initializer),
            rank=self.rank,
        )
        return config
