"""Keras' layers, computed with the backend's fastest calls."""

import types

import keras
from keras import ops

from keras_lc.layers.backend import (
    convolve,
    convolve_transposed,
    fused_batch_norm,
    in_native_order,
)
from keras_lc.types import Tensor


def keras_class(layer: keras.layers.Layer) -> type:
    """Returns the class of a layer; of an accelerated one, the class of Keras that it equals.

    The config and the variables of the two are the same. A subclass is its own class, since it
    may compute something else.
    """
    return _KERAS_CLASSES.get(type(layer), type(layer))


def accelerate(layer: keras.layers.Layer) -> None:
    """Lets one layer of Keras compute as the layer here that equals it.

    Its class stays Keras', and so does a file of it.
    """
    for fast, plain in _KERAS_CLASSES.items():
        if type(layer) is plain:
            layer.call = types.MethodType(fast.call, layer)


def _convolve(layer, inputs, kernel):
    outputs = convolve(
        inputs,
        # A combined kernel is computed in the variables' dtype, and rounded once.
        ops.cast(kernel, layer.compute_dtype),
        layer.bias,
        layer.strides,
        layer.padding,
        layer.dilation_rate,
        layer.data_format,
    )
    return _activated(layer, outputs)


def _activated(layer, outputs):
    return outputs if layer.activation is None else layer.activation(outputs)


class _Convolution:
    def call(self, inputs: Tensor) -> Tensor:
        return _convolve(self, inputs, self.kernel)


class _DepthwiseConvolution:
    def call(self, inputs: Tensor) -> Tensor:
        # One group of filters for each channel.
        return _convolve(self, inputs, ops.reshape(self.kernel, (*self.kernel_size, 1, -1)))


class _TransposedConvolution:
    def call(self, inputs: Tensor) -> Tensor:
        outputs = convolve_transposed(
            inputs,
            ops.cast(self.kernel, self.compute_dtype),
            self.bias,
            self.strides,
            self.padding,
            self.output_padding,
            self.dilation_rate,
            self.data_format,
        )
        return _activated(self, outputs)


@keras.saving.register_keras_serializable(package="keras_lc")
class Conv1D(_Convolution, keras.layers.Conv1D):
    """`keras.layers.Conv1D`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.Conv1D`.

    Example:

    >>> layer = keras_lc.layers.Conv1D(8, 3)
    >>> layer(np.zeros((1, 32, 3))).shape
    (1, 30, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class Conv2D(_Convolution, keras.layers.Conv2D):
    """`keras.layers.Conv2D`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.Conv2D`.

    Example:

    >>> layer = keras_lc.layers.Conv2D(8, 3)
    >>> layer(np.zeros((1, 32, 32, 3))).shape
    (1, 30, 30, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class Conv3D(_Convolution, keras.layers.Conv3D):
    """`keras.layers.Conv3D`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.Conv3D`.

    Example:

    >>> layer = keras_lc.layers.Conv3D(8, 3)
    >>> layer(np.zeros((1, 16, 16, 16, 3))).shape
    (1, 14, 14, 14, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class DepthwiseConv1D(_DepthwiseConvolution, keras.layers.DepthwiseConv1D):
    """`keras.layers.DepthwiseConv1D`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.DepthwiseConv1D`.

    Example:

    >>> layer = keras_lc.layers.DepthwiseConv1D(3)
    >>> layer(np.zeros((1, 32, 8))).shape
    (1, 30, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class DepthwiseConv2D(_DepthwiseConvolution, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.DepthwiseConv2D`.

    Example:

    >>> layer = keras_lc.layers.DepthwiseConv2D(3)
    >>> layer(np.zeros((1, 32, 32, 8))).shape
    (1, 30, 30, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class Conv1DTranspose(_TransposedConvolution, keras.layers.Conv1DTranspose):
    """`keras.layers.Conv1DTranspose`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.Conv1DTranspose`.

    Example:

    >>> layer = keras_lc.layers.Conv1DTranspose(8, 2, strides=2)
    >>> layer(np.zeros((1, 32, 3))).shape
    (1, 64, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class Conv2DTranspose(_TransposedConvolution, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.Conv2DTranspose`.

    Example:

    >>> layer = keras_lc.layers.Conv2DTranspose(8, 2, strides=2)
    >>> layer(np.zeros((1, 32, 32, 3))).shape
    (1, 64, 64, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class Conv3DTranspose(_TransposedConvolution, keras.layers.Conv3DTranspose):
    """`keras.layers.Conv3DTranspose`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.Conv3DTranspose`.

    Example:

    >>> layer = keras_lc.layers.Conv3DTranspose(8, 2, strides=2)
    >>> layer(np.zeros((1, 16, 16, 16, 3))).shape
    (1, 32, 32, 32, 8)
    """


@keras.saving.register_keras_serializable(package="keras_lc")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.MaxPooling2D`.

    Example:

    >>> layer = keras_lc.layers.MaxPooling2D(2)
    >>> layer(np.zeros((1, 32, 32, 8))).shape
    (1, 16, 16, 8)
    """

    def call(self, inputs: Tensor) -> Tensor:
        return _pool(self, ops.max_pool, inputs)


@keras.saving.register_keras_serializable(package="keras_lc")
class AveragePooling2D(keras.layers.AveragePooling2D):
    """`keras.layers.AveragePooling2D`, without Keras' copies of the feature map under PyTorch.

    Args:
        *args, **kwargs: As in `keras.layers.AveragePooling2D`.

    Example:

    >>> layer = keras_lc.layers.AveragePooling2D(2)
    >>> layer(np.zeros((1, 32, 32, 8))).shape
    (1, 16, 16, 8)
    """

    def call(self, inputs: Tensor) -> Tensor:
        return _pool(self, ops.average_pool, inputs)


def _pool(layer, operation, inputs):
    return in_native_order(
        operation,
        inputs,
        pool_size=layer.pool_size,
        strides=layer.strides,
        padding=layer.padding,
        data_format=layer.data_format,
    )


@keras.saving.register_keras_serializable(package="keras_lc")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` in one fused operation under TensorFlow and PyTorch.

    Keras computes it from single operations, which take a fifth of a ResNet's training step. The
    results are the same as Keras': moving averages of the batch's mean and of its biased
    variance, in float32 if the inputs are in half precision. Keras' own code is used under JAX,
    because JAX fuses by itself. It is also used in cases that the fused operations do not
    support: masks, `synchronized`, `renorm`, inputs that are not 4D, and `channels_first` or
    float64 under TensorFlow.

    Args:
        *args, **kwargs: As in `keras.layers.BatchNormalization`.

    Example:

    >>> layer = keras_lc.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    >>> layer(np.zeros((1, 32, 32, 8)), training=True).shape
    (1, 32, 32, 8)
    """

    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        fused = None
        update = bool(training and self.trainable)
        if mask is None and not self.synchronized and not self.renorm and len(inputs.shape) == 4:
            fused = fused_batch_norm(
                inputs,
                *(None if weight is None else weight.value for weight in (self.gamma, self.beta)),
                self.moving_mean.value,
                self.moving_variance.value,
                self.axis,
                self.epsilon,
                update,
            )
        if fused is None:
            return keras.layers.BatchNormalization.call(self, inputs, training=training, mask=mask)
        outputs, mean, variance = fused
        if update:
            for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return ops.cast(outputs, self.compute_dtype)


_KERAS_CLASSES = {
    Conv1D: keras.layers.Conv1D,
    Conv2D: keras.layers.Conv2D,
    Conv3D: keras.layers.Conv3D,
    DepthwiseConv1D: keras.layers.DepthwiseConv1D,
    DepthwiseConv2D: keras.layers.DepthwiseConv2D,
    Conv1DTranspose: keras.layers.Conv1DTranspose,
    Conv2DTranspose: keras.layers.Conv2DTranspose,
    Conv3DTranspose: keras.layers.Conv3DTranspose,
    MaxPooling2D: keras.layers.MaxPooling2D,
    AveragePooling2D: keras.layers.AveragePooling2D,
    BatchNormalization: keras.layers.BatchNormalization,
}
