"""Conv1D with trained linear combinations of random filters as its kernel."""

import keras

from keras_lc.layers.accelerated import Conv1D
from keras_lc.layers.lc_conv import LCOrdinaryConv


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv1D(LCOrdinaryConv, Conv1D):
    """1D convolution with linear combinations of random filters, for series and sound.

    The layer equals a convolution with `filters * expansion` random filters (the *basis*, only
    trained if `frozen=False`) and a trained convolution with a kernel of size 1 (the
    *combination*), computed as one convolution. All about `keras_lc.LCConv2D` is true of it too.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer, in steps.
        strides, padding, data_format, dilation_rate, groups, activation, use_bias: As in
            `keras.layers.Conv1D`.
        expansion: Integer, the number of basis filters per output channel.
        **options: `frozen`, `compact`, `seed`, `basis_initializer`, `shared_basis`, `rank`, and
            those of combination, bias and layer: as in `keras_lc.LCConv2D`.

    Attributes:
        basis: Variable (a tensor if shared) of shape
            `(steps, channels/groups, filters · expansion)`, or with `steps · channels` filters if
            factored.
        combination: Variable of shape `(basis filters of a group, filters)`.
        kernel: Tensor of shape `(steps, channels/groups, filters)`: what the input is convolved
            with, in the variables' dtype.

    Raises:
        ValueError: As `keras_lc.LCConv2D` does.

    Example:

    >>> layer = keras_lc.LCConv1D(16, 5, expansion=4, padding="causal", seed=0)
    >>> layer(np.zeros((1, 100, 3))).shape
    (1, 100, 16)
    >>> layer.basis.shape, layer.combination.shape, layer.kernel.shape
    ((5, 3, 64), (64, 16), (5, 3, 16))

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """
