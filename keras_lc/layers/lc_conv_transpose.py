"""Transposed convolutions with trained linear combinations of random filters as its kernel."""

from typing import Unpack

import keras

from keras_lc.layers.accelerated import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from keras_lc.layers.basis_conv import BasisConvTranspose
from keras_lc.layers.lc_conv import LCConv, LCOptions
from keras_lc.types import Activation, Size


class LCConvTranspose(LCConv, BasisConvTranspose):
    """Mixin of those with the arguments of `keras.layers.Conv2DTranspose`, in its order."""

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: str = "valid",
        output_padding: Size | None = None,
        data_format: str | None = None,
        dilation_rate: Size = 1,
        activation: Activation = None,
        use_bias: bool = True,
        **options: Unpack[LCOptions],
    ):
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            padding=padding,
            output_padding=output_padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            **options,
        )


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv2DTranspose(LCConvTranspose, Conv2DTranspose):
    """Transposed 2D convolution with linear combinations of random filters.

    The layer equals a transposed convolution with `filters * expansion` random filters (the
    *basis*, only trained if `frozen=False`) and a trained 1×1 convolution (the *combination*),
    computed as one transposed convolution. All about `keras_lc.LCConv2D` is true of it too.

    The random filters are those of an `LCConv2D` with the same seed and sizes: their variance
    follows the number of input channels. (PyTorch's own `ConvTranspose2d` starts with a variance
    that follows the number of output channels.)

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides, padding, output_padding, data_format, dilation_rate, activation, use_bias: As in
            `keras.layers.Conv2DTranspose`.
        expansion: Integer, the number of basis filters per output channel.
        **options: `frozen`, `compact`, `seed`, `basis_initializer`, `shared_basis`, `rank`, and
            those of combination, bias and layer: as in `keras_lc.LCConv2D`.

    Attributes:
        basis: Variable (a tensor if shared) of shape
            `(height, width, channels, filters · expansion)`, or
            `(height, width, channels, height · width · channels)` if factored.
        combination: Variable of shape `(basis filters, filters)`.
        kernel: Tensor of shape `(height, width, filters, channels)`, in the variables' dtype. The
            last two axes are in the order of `keras.layers.Conv2DTranspose`.

    Raises:
        ValueError: As `keras_lc.LCConv2D` does.

    Example:

    >>> layer = keras_lc.LCConv2DTranspose(8, 3, strides=2, expansion=4, padding="same", seed=0)
    >>> layer(np.zeros((1, 16, 16, 3))).shape
    (1, 32, 32, 8)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((3, 3, 3, 32), (32, 8), (3, 3, 8, 3))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv1DTranspose(LCConvTranspose, Conv1DTranspose):
    """Transposed 1D convolution with linear combinations of random filters.

    It is to `keras.layers.Conv1DTranspose` what `keras_lc.LCConv2DTranspose` is to
    `keras.layers.Conv2DTranspose`.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer, in steps.
        strides, padding, output_padding, data_format, dilation_rate, activation, use_bias: As in
            `keras.layers.Conv1DTranspose`.
        expansion: Integer, the number of basis filters per output channel.
        **options: As in `keras_lc.LCConv2DTranspose`.

    Example:

    >>> layer = keras_lc.LCConv1DTranspose(8, 3, strides=2, expansion=4, padding="same", seed=0)
    >>> layer(np.zeros((1, 50, 3))).shape
    (1, 100, 8)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((3, 3, 32), (32, 8), (3, 8, 3))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv3DTranspose(LCConvTranspose, Conv3DTranspose):
    """Transposed 3D convolution with linear combinations of random filters.

    It is to `keras.layers.Conv3DTranspose` what `keras_lc.LCConv2DTranspose` is to
    `keras.layers.Conv2DTranspose`.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 3 integers, in voxels.
        strides, padding, output_padding, data_format, dilation_rate, activation, use_bias: As in
            `keras.layers.Conv3DTranspose`.
        expansion: Integer, the number of basis filters per output channel.
        **options: As in `keras_lc.LCConv2DTranspose`.

    Example:

    >>> layer = keras_lc.LCConv3DTranspose(8, 3, strides=2, expansion=4, padding="same", seed=0)
    >>> layer(np.zeros((1, 5, 6, 7, 3))).shape
    (1, 10, 12, 14, 8)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((3, 3, 3, 3, 32), (32, 8), (3, 3, 3, 8, 3))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """
