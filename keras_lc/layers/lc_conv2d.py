"""Conv2D with trained linear combinations of random filters as its kernel."""

import keras

from keras_lc.layers.accelerated import Conv2D
from keras_lc.layers.lc_conv import LCOrdinaryConv


@keras.saving.register_keras_serializable(package="keras_lc")
class LCConv2D(LCOrdinaryConv, Conv2D):
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
