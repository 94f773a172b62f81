"""Conv3D with trained linear combinations of random filters as its kernel."""

import keras

from keras_lc.layers.accelerated import Conv3D
from keras_lc.layers.lc_conv import LCOrdinaryConv


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv3D(LCOrdinaryConv, Conv3D):
    """3D convolution with linear combinations of random filters, for volumes and video.

    The layer equals a convolution with `filters * expansion` random filters (the *basis*, only
    trained if `frozen=False`) and a trained convolution with a kernel of size 1 (the
    *combination*), computed as one convolution. All about `keras_lc.LCConv2D` is true of it too.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 3 integers, in voxels.
        strides, padding, data_format, dilation_rate, groups, activation, use_bias: As in
            `keras.layers.Conv3D`.
        expansion: Integer, the number of basis filters per output channel.
        **options: `frozen`, `compact`, `seed`, `basis_initializer`, `shared_basis`, `rank`, and
            those of combination, bias and layer: as in `keras_lc.LCConv2D`.

    Attributes:
        basis: Variable (a tensor if shared) of shape
            `(depth, height, width, channels/groups, filters · expansion)`, or with
            `depth · height · width · channels` filters if factored.
        combination: Variable of shape `(basis filters of a group, filters)`.
        kernel: Tensor of shape `(depth, height, width, channels/groups, filters)`: what the input
            is convolved with, in the variables' dtype.

    Raises:
        ValueError: As `keras_lc.LCConv2D` does.

    Example:

    >>> layer = keras_lc.LCConv3D(8, 3, expansion=4, padding="same", seed=0)
    >>> layer(np.zeros((1, 10, 12, 12, 2))).shape
    (1, 10, 12, 12, 8)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((3, 3, 3, 2, 32), (32, 8), (3, 3, 3, 2, 8))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """
