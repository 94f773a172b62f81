"""Convolutions with random filters that are never trained."""

from typing import Any

import keras

from keras_lc.bases import Basis
from keras_lc.layers.accelerated import (
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    DepthwiseConv1D,
    DepthwiseConv2D,
)
from keras_lc.layers.basis_conv import BasisConv, BasisConvTranspose, BasisDepthwiseConv
from keras_lc.types import Initializer, Size


class FrozenKernel(BasisConv):
    """Mixin: the kernel is the basis itself."""

    _instead_of_kernel_arguments = "Use `basis_initializer`: the filters are not trained."

    frozen = True

    @property
    def basis_filters(self) -> int:
        return self._output_filters


class FrozenConv(FrozenKernel):
    """Mixin of those with `filters`."""

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        *,
        basis_initializer: Initializer | Basis = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            filters, kernel_size, basis_initializer=basis_initializer, seed=seed, **kwargs
        )


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenConv2D(FrozenConv, Conv2D):
    """2D convolution with random filters that are never trained.

    This is a `keras.layers.Conv2D` with a non-trainable kernel, drawn from `seed`. The kernel
    stays frozen after `layer.trainable = True`, because Keras then changes only variables that
    were created as trainable. A file contains the seed instead of the kernel. The bias, if there
    is one, is trained.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides, padding, data_format, dilation_rate, groups, activation, use_bias,
        bias_initializer, bias_regularizer, bias_constraint, activity_regularizer: As in
            `keras.layers.Conv2D`.
        basis_initializer: `keras_lc.bases.Basis` that draws the filters from `seed`, with the same
            bits under every backend. Defaults to `None`: PyTorch's default distribution. Filters
            of a Keras initializer are written to checkpoints.
        seed: Integer that determines the filters. `None` draws one, once.

    Raises:
        ValueError: For `kernel_*` and `lora_*` arguments, because they have no meaning here.

    Example:

    >>> layer = keras_lc.FrozenConv2D(8, 3, seed=0)
    >>> layer(np.zeros((1, 32, 32, 3))).shape
    (1, 30, 30, 8)
    >>> [variable.name for variable in layer.trainable_variables]
    ['bias']

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenConv1D(FrozenConv, Conv1D):
    """1D convolution with random filters that are never trained.

    It is to `keras.layers.Conv1D` what `keras_lc.FrozenConv2D` is to
    `keras.layers.Conv2D`.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer, in steps.
        **kwargs: As in `keras.layers.Conv1D`, without those for its kernel.
        basis_initializer, seed: As in `keras_lc.FrozenConv2D`.

    Example:

    >>> layer = keras_lc.layers.FrozenConv1D(8, 3, seed=0)
    >>> layer(np.zeros((1, 32, 3))).shape
    (1, 30, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenConv3D(FrozenConv, Conv3D):
    """3D convolution with random filters that are never trained.

    It is to `keras.layers.Conv3D` what `keras_lc.FrozenConv2D` is to
    `keras.layers.Conv2D`.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 3 integers, in voxels.
        **kwargs: As in `keras.layers.Conv3D`, without those for its kernel.
        basis_initializer, seed: As in `keras_lc.FrozenConv2D`.

    Example:

    >>> layer = keras_lc.layers.FrozenConv3D(8, 3, seed=0)
    >>> layer(np.zeros((1, 16, 16, 16, 3))).shape
    (1, 14, 14, 14, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenConv1DTranspose(FrozenConv, BasisConvTranspose, Conv1DTranspose):
    """Transposed 1D convolution with random filters that are never trained.

    It is to `keras.layers.Conv1DTranspose` what `keras_lc.FrozenConv2D` is to
    `keras.layers.Conv2D`.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer, in steps.
        **kwargs: As in `keras.layers.Conv1DTranspose`, without those for its kernel.
        basis_initializer, seed: As in `keras_lc.FrozenConv2D`.

    Attributes:
        basis: Variable of shape `(*kernel_size, channels, filters)`. The `kernel` is the same with
            the last two axes exchanged, as in Keras' layer.

    Example:

    >>> layer = keras_lc.layers.FrozenConv1DTranspose(8, 2, strides=2, seed=0)
    >>> layer(np.zeros((1, 32, 3))).shape
    (1, 64, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenConv2DTranspose(FrozenConv, BasisConvTranspose, Conv2DTranspose):
    """Transposed 2D convolution with random filters that are never trained.

    It is to `keras.layers.Conv2DTranspose` what `keras_lc.FrozenConv2D` is to
    `keras.layers.Conv2D`.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        **kwargs: As in `keras.layers.Conv2DTranspose`, without those for its kernel.
        basis_initializer, seed: As in `keras_lc.FrozenConv2D`.

    Attributes:
        basis: Variable of shape `(*kernel_size, channels, filters)`. The `kernel` is the same with
            the last two axes exchanged, as in Keras' layer.

    Example:

    >>> layer = keras_lc.layers.FrozenConv2DTranspose(8, 2, strides=2, seed=0)
    >>> layer(np.zeros((1, 32, 32, 3))).shape
    (1, 64, 64, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenConv3DTranspose(FrozenConv, BasisConvTranspose, Conv3DTranspose):
    """Transposed 3D convolution with random filters that are never trained.

    It is to `keras.layers.Conv3DTranspose` what `keras_lc.FrozenConv2D` is to
    `keras.layers.Conv2D`.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 3 integers, in voxels.
        **kwargs: As in `keras.layers.Conv3DTranspose`, without those for its kernel.
        basis_initializer, seed: As in `keras_lc.FrozenConv2D`.

    Attributes:
        basis: Variable of shape `(*kernel_size, channels, filters)`. The `kernel` is the same with
            the last two axes exchanged, as in Keras' layer.

    Example:

    >>> layer = keras_lc.layers.FrozenConv3DTranspose(8, 2, strides=2, seed=0)
    >>> layer(np.zeros((1, 16, 16, 16, 3))).shape
    (1, 32, 32, 32, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenDepthwiseConv2D(FrozenKernel, BasisDepthwiseConv, DepthwiseConv2D):
    """2D depthwise convolution with random filters that are never trained.

    This is a `keras.layers.DepthwiseConv2D` with a non-trainable kernel, drawn from `seed`. The
    kernel stays frozen after `layer.trainable = True`, because Keras then changes only variables
    that were created as trainable. A file contains the seed instead of the kernel. The bias, if
    there is one, is trained.

    Args:
        kernel_size: Integer or tuple of 2 integers, in pixels.
        depth_multiplier: Integer, the number of output channels per input channel.
        strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
        bias_regularizer, bias_constraint, activity_regularizer: As in
            `keras.layers.DepthwiseConv2D`.
        basis_initializer: `keras_lc.bases.Basis` that draws the filters from `seed`, with the same
            bits under every backend. Defaults to `None`: PyTorch's default distribution,
            `U[-a, a]` with `a = 1/√(kernel area)`. Filters of a Keras initializer are written to
            checkpoints.
        seed: Integer that determines the filters. `None` draws one, once.

    Attributes:
        basis: Variable of shape `(height, width, channels, depth_multiplier)`, also called
            `kernel`.

    Raises:
        ValueError: For `depthwise_*` arguments, because they have no meaning here.

    Example:

    >>> layer = keras_lc.layers.FrozenDepthwiseConv2D(3, padding="same", seed=0)
    >>> layer(np.zeros((1, 32, 32, 8))).shape
    (1, 32, 32, 8)
    >>> [variable.name for variable in layer.trainable_variables]
    ['bias']

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenDepthwiseConv1D(FrozenKernel, BasisDepthwiseConv, DepthwiseConv1D):
    """1D depthwise convolution with random filters that are never trained.

    It is to `keras.layers.DepthwiseConv1D` what `keras_lc.layers.FrozenDepthwiseConv2D` is to
    `keras.layers.DepthwiseConv2D`.

    Args:
        kernel_size: Integer, in steps.
        **kwargs: As in `keras.layers.DepthwiseConv1D`, without those for its kernel.
        basis_initializer, seed: As in `keras_lc.FrozenConv2D`.

    Example:

    >>> layer = keras_lc.layers.FrozenDepthwiseConv1D(3, seed=0)
    >>> layer(np.zeros((1, 32, 8))).shape
    (1, 30, 8)
    """
