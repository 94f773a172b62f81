"""Depthwise convolutions with trained linear combinations of random filters as its kernel."""

from typing import Unpack

import keras

from keras_lc.layers.accelerated import DepthwiseConv1D, DepthwiseConv2D
from keras_lc.layers.basis_conv import BasisDepthwiseConv
from keras_lc.layers.lc_conv import LCConv, LCOptions
from keras_lc.types import Activation, Size


class LCDepthwiseConv(LCConv, BasisDepthwiseConv):
    """Mixin of those with the arguments of `keras.layers.DepthwiseConv2D`, in its order."""

    def __init__(
        self,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Size = 1,
        activation: Activation = None,
        use_bias: bool = True,
        **options: Unpack[LCOptions],
    ):
        super().__init__(
            kernel_size,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            **options,
        )

    @property
    def basis_filters(self) -> int:
        if self._rank is None:
            return super().basis_filters
        return self._basis_groups * self._rank


@keras.saving.register_keras_serializable(package="keras_lc")
class LCDepthwiseConv2D(LCDepthwiseConv, DepthwiseConv2D):
    """2D depthwise convolution with linear combinations of random filters.

    Each input channel has its own `depth_multiplier * expansion` random filters of one channel
    (the *basis*, only trained if `frozen=False`). Each of its `depth_multiplier` output channels
    is a trained linear combination of these filters (the *combination*). Nothing is combined
    across channels, so the layer stays depthwise:

    `kernel[:, :, c, m] = Σ_b basis[:, :, c, b] · combination[b, c · depth_multiplier + m]`

    It computes one depthwise convolution with this kernel. It equals a `keras_lc.LCConv2D` with
    `groups=channels` and `filters=channels * depth_multiplier`, and the same seed gives the same
    numbers. All about `keras_lc.LCConv2D` is true of it too. A filter has only `k²` numbers, so
    filters of a full rank need an `expansion` of `k² / depth_multiplier` or more.

    Args:
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias: As
            in `keras.layers.DepthwiseConv2D`.
        expansion: Integer, the number of basis filters per output channel.
        **options: `frozen`, `compact`, `seed`, `basis_initializer`, `shared_basis`, and those of
            combination, bias and layer: as in `keras_lc.LCConv2D`. `rank` is the number of basis
            filters of each channel, in place of `depth_multiplier * expansion`.

    Attributes:
        basis: Variable (a tensor if shared) of shape
            `(height, width, channels, depth_multiplier · expansion)`, or
            `(height, width, channels, height · width)` if factored.
        combination: Variable of shape
            `(basis filters of a channel, channels · depth_multiplier)`.
        kernel: Tensor of shape `(height, width, channels, depth_multiplier)`: what the input is
            convolved with, in the variables' dtype.
        basis_filters: Integer, the number of basis filters of all channels. Known once the layer
            is built.

    Raises:
        ValueError: As `keras_lc.LCConv2D` does. There are no `depthwise_*` arguments.

    Example:

    >>> layer = keras_lc.LCDepthwiseConv2D(3, expansion=4, padding="same", seed=0)
    >>> layer(np.zeros((1, 32, 32, 8))).shape
    (1, 32, 32, 8)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((3, 3, 8, 4), (4, 8), (3, 3, 8, 1))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class LCDepthwiseConv1D(LCDepthwiseConv, DepthwiseConv1D):
    """1D depthwise convolution with linear combinations of random filters.

    Each input channel has its own random filters and trained combinations of them, as in
    `keras_lc.LCDepthwiseConv2D`, which describes the arguments and attributes.

    Args:
        kernel_size: Integer, in steps.
        strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias: As
            in `keras.layers.DepthwiseConv1D`.
        expansion: Integer, the number of basis filters per output channel.
        **options: As in `keras_lc.LCDepthwiseConv2D`.

    Example:

    >>> layer = keras_lc.LCDepthwiseConv1D(5, expansion=4, padding="same", seed=0)
    >>> layer(np.zeros((1, 100, 8))).shape
    (1, 100, 8)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((5, 8, 4), (4, 8), (5, 8, 1))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """
