"""All backend-specific code of the layers: where Keras has no function, or a slow one.

Everything else in `keras_lc.layers` is written with `keras.ops`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_lc.layers.axes import channel_axis, side_axes
from keras_lc.types import Tensor


def convolve(
    inputs: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    padding: str,
    dilation_rate: Sequence[int],
    data_format: str,
) -> Tensor:
    """Returns a convolution of 1 to 3 dimensions by the backend's fastest call.

    Args:
        inputs: Tensor of 3 to 5 axes.
        kernel: Tensor of shape `(*kernel_size, channels / groups, filters)`.
        bias: Tensor of shape `(filters,)`, or `None`.
        strides, padding, dilation_rate, data_format: As in Keras' layers.
    """
    inputs, kernel = ops.convert_to_tensor(inputs), ops.convert_to_tensor(kernel)
    if padding == "causal":
        around = [(0, 0), (0, 0), (0, 0)]
        around[side_axes(data_format, 1)[0]] = (dilation_rate[0] * (kernel.shape[0] - 1), 0)
        inputs, padding = ops.pad(inputs, around), "valid"
    geometry = dict(strides=strides, padding=padding, dilation_rate=dilation_rate)
    if keras.backend.backend() == "torch":
        # Like Keras, this rounds in half precision before it adds the bias.
        at_once = bias if kernel.dtype.itemsize >= 4 else None
        outputs = in_native_order(
            _torch_convolve, inputs, kernel, at_once, data_format=data_format, **geometry
        )
        if at_once is bias:
            return outputs
    else:
        channels = inputs.shape[channel_axis(data_format)]
        operation = ops.conv
        if kernel.shape[-2] == 1 < channels and len(strides) < 3 and len(set(strides)) == 1:
            # Under TensorFlow, this is equal to a convolution with groups and many times faster.
            operation = ops.depthwise_conv
            kernel = ops.reshape(kernel, (*kernel.shape[:-2], channels, -1))
        outputs = in_native_order(operation, inputs, kernel, data_format=data_format, **geometry)
    return _add_bias(outputs, bias, data_format)


def convolve_transposed(
    inputs: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    padding: str,
    output_padding: Sequence[int] | None,
    dilation_rate: Sequence[int],
    data_format: str,
) -> Tensor:
    """Returns a transposed convolution of 1 to 3 dimensions.

    Args:
        inputs: Tensor of 3 to 5 axes.
        kernel: Tensor of shape `(*kernel_size, filters, channels)`.
        bias: Tensor of shape `(filters,)`, or `None`.
        strides, padding, output_padding, dilation_rate, data_format: As in Keras' layers.
    """
    outputs = in_native_order(
        ops.conv_transpose,
        ops.convert_to_tensor(inputs),
        ops.convert_to_tensor(kernel),
        strides=list(strides),
        padding=padding,
        output_padding=output_padding,
        dilation_rate=dilation_rate,
        data_format=data_format,
    )
    return _add_bias(outputs, bias, data_format)


def _add_bias(outputs, bias, data_format):
    if bias is None:
        return outputs
    bias = ops.cast(bias, outputs.dtype)
    if keras.backend.backend() == "tensorflow" and data_format == "channels_last":
        import tensorflow as tf

        # TensorFlow computes this addition, and a following ReLU, within the convolution.
        return tf.nn.bias_add(outputs, bias)
    shape = [1] * len(outputs.shape)
    shape[channel_axis(data_format)] = -1
    return outputs + ops.reshape(bias, shape)


def _torch_convolve(inputs, kernel, bias, strides, padding, dilation_rate, data_format):
    """Returns a convolution with a bias, `channels_first`."""
    import torch

    sides = len(strides)
    if sides == 1:
        # As one row of an image. PyTorch's own 1D convolution copies what is not in its order.
        row = inputs.unsqueeze(2), kernel.unsqueeze(0), bias
        strides, dilation_rate = (1, *strides), (1, *dilation_rate)
        return _torch_convolve(*row, strides, padding, dilation_rate, data_format).squeeze(2)
    if max(kernel.shape[:-2]) == 1 < max(strides):
        # A strided 1×1 convolution uses only every second pixel. On processors without AVX-512,
        # PyTorch 2.13 writes past the end of its memory in the gradient of such a convolution.
        steps = [slice(None, None, stride) for stride in strides]
        inputs, strides = inputs[:, :, *steps], (1,) * sides
    around = [(0, 0)] * sides
    if padding == "same":
        around = [
            _same_padding(size, extent, stride, dilation)
            for size, extent, stride, dilation in zip(
                inputs.shape[2:], kernel.shape[:-2], strides, dilation_rate, strict=True
            )
        ]
    if any(before != after for before, after in around):
        # From the last axis to the first.
        inputs = torch.nn.functional.pad(inputs, [n for pair in around[::-1] for n in pair])
        around = [(0, 0)] * sides
    convolution = getattr(torch.nn.functional, f"conv{sides}d")
    return convolution(
        inputs,
        kernel.permute(-1, -2, *range(sides)),
        None if bias is None else ops.cast(bias, kernel.dtype),
        strides,
        [before for before, _ in around],
        dilation_rate,
        groups=inputs.shape[1] // kernel.shape[-2],
    )


def _same_padding(size, extent, stride, dilation):
    """Returns the zeros before and after an axis with which Keras pads for "same"."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + dilation * (extent - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def in_native_order(
    operation: Callable[..., Tensor], inputs: Tensor, *args: Any, data_format: str, **kwargs: Any
) -> Tensor:
    """Calls a convolution or pool of `keras.ops` with the axes in the backend's own order.

    PyTorch names the axes of a feature map in the order `channels_first`, whatever the order of
    its numbers in memory. For `channels_last` Keras copies each input into the other order and
    back; a permuted view says the same to PyTorch, and costs nothing. TensorFlow has no
    convolution in the order `channels_first` on most CPUs, so there the feature map is transposed.

    Args:
        operation: Function of `keras.ops`, such as `keras.ops.max_pool`.
        inputs: Tensor of 3 to 5 axes.
        *args, **kwargs: The other arguments of `operation`.
        data_format: `"channels_last"` or `"channels_first"`.

    Returns:
        What `operation` returns.
    """
    native = _native_format() or data_format
    if native == data_format:
        return operation(inputs, *args, data_format=data_format, **kwargs)
    axes = len(inputs.shape)
    to_first, to_last = (0, axes - 1, *range(1, axes - 1)), (0, *range(2, axes), 1)
    there, back = (to_first, to_last) if native == "channels_first" else (to_last, to_first)
    outputs = operation(ops.transpose(inputs, there), *args, data_format=native, **kwargs)
    return ops.transpose(outputs, back)


def _native_format():
    """Returns the order of axes to compute in, or `None` if both will do."""
    backend = keras.backend.backend()
    if backend == "torch":
        return "channels_first"
    if backend == "tensorflow":
        import tensorflow as tf

        return None if tf.config.list_physical_devices("GPU") else "channels_last"
    return None


def fused_batch_norm(
    inputs: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    axis: int,
    epsilon: float,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Normalizes each channel of a 4D tensor by the backend's fused kernel, where it has one.

    Args:
        inputs: 4D tensor.
        gamma, beta: Tensors of the channels' scale and offset, or `None`.
        mean, variance: Tensors of the moving statistics.
        axis: Integer, the axis of the channels.
        epsilon: Float.
        training: Boolean, whether to normalize by the statistics of the batch.

    Returns:
        The outputs, and the statistics of the batch (`mean` and `variance` as they are if not
        `training`). The variance is the biased one, as Keras' is. `None` where there is no fused
        kernel for these tensors.
    """
    fused = {"tensorflow": _tensorflow_batch_norm, "torch": _torch_batch_norm}.get(
        keras.backend.backend()
    )
    if fused is None:
        return None
    return fused(inputs, gamma, beta, mean, variance, axis % 4, epsilon, training)


def _tensorflow_batch_norm(inputs, gamma, beta, mean, variance, axis, epsilon, training):
    import tensorflow as tf

    if axis != 3 or mean.dtype != tf.float32 or inputs.dtype == tf.float64:
        return None
    batch = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.ones_like(mean) if gamma is None else gamma,
        offset=tf.zeros_like(mean) if beta is None else beta,
        mean=[] if training else mean,
        variance=[] if training else variance,
        epsilon=epsilon,
        is_training=training,
    )
    if not training:
        return batch.y, mean, variance
    values = tf.cast(tf.size(inputs) // tf.shape(inputs)[3], tf.float32)
    biased = batch.batch_variance * ((values - 1) / tf.maximum(values, 1))
    # A replica may get no image of the last batch. Then it keeps its old statistics.
    return (
        batch.y,
        tf.where(values > 0, batch.batch_mean, mean),
        tf.where(values > 0, biased, variance),
    )


def _torch_batch_norm(inputs, gamma, beta, mean, variance, axis, epsilon, training):
    import torch

    half = (torch.float16, torch.bfloat16)
    if axis not in (1, 3) or not (
        inputs.dtype == mean.dtype or (inputs.dtype in half and mean.dtype == torch.float32)
    ):
        return None
    values = math.prod(inputs.shape) // max(inputs.shape[axis], 1)
    if training and values == 1:  # PyTorch divides by `values - 1`
        return None
    training = training and values > 0
    view = inputs if axis == 1 else inputs.permute(0, 3, 1, 2)
    if training:
        mean, variance = torch.zeros_like(mean), torch.zeros_like(variance)
    # With a momentum of 1 the statistics of the batch take the place of the zeros.
    outputs = torch.batch_norm(
        view, gamma, beta, mean, variance, training, 1.0, epsilon, torch.backends.cudnn.enabled
    )
    if training:
        variance = variance * ((values - 1) / values)
    return outputs if axis == 1 else outputs.permute(0, 2, 3, 1), mean, variance


def replica_index() -> Any:
    """Returns the index of the part of the batch that this call of a layer computes.

    An integer or integer tensor. 0 where the call sees the whole batch: on one device, and under
    JAX always, whose compiled step is one program over all devices. A layer that draws another
    random number for each image goes by it, or every replica would draw the same ones.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank()
    elif backend == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and tf.distribute.has_strategy():
            return context.replica_id_in_sync_group
    return 0
