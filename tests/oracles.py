"""What the layers are compared with: a NumPy convolution, stock Keras layers, gradients."""

import contextlib
import math

import keras
import numpy as np
from keras import ops
from numpy.lib.stride_tricks import sliding_window_view

#: Largest difference allowed, relative to the largest number expected.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "float16": 4e-3, "bfloat16": 2e-2}


def assert_close(actual, expected, dtype="float32"):
    actual, expected = (np.asarray(numpy(x), "float64") for x in (actual, expected))
    assert actual.shape == expected.shape
    largest = np.abs(expected).max()
    assert largest > 0, "Nothing but zeros is expected: the comparison would prove nothing."
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * largest)


def numpy(x):
    return ops.convert_to_numpy(x.value if isinstance(x, keras.Variable) else x)


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def conv(x, kernel, strides=1, padding="valid", dilation=1, groups=1):
    """Convolution in float64, channels last, of any dimension; `"same"` pads as TensorFlow does."""
    x, kernel = np.asarray(x, "float64"), np.asarray(kernel, "float64")
    sides = kernel.ndim - 2
    strides, dilation = np.broadcast_to(strides, sides), np.broadcast_to(dilation, sides)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel.shape, dilation, strict=False)]
    pads = [(0, 0)] * sides
    if padding == "same":
        totals = [
            max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            for size, stride, reach in zip(x.shape[1:-1], strides, extent, strict=True)
        ]
        pads = [(total // 2, total - total // 2) for total in totals]
    elif padding == "causal":
        pads = [(extent[0] - 1, 0)]
    x = np.pad(x, [(0, 0), *pads, (0, 0)])
    windows = sliding_window_view(x, extent, axis=range(1, 1 + sides))
    windows = windows[:, *(slice(None, None, n) for n in strides)]
    windows = windows[..., *(slice(None, None, n) for n in dilation)]
    *places, channels = windows.shape[: 2 + sides]
    area = math.prod(kernel.shape[:-2])
    windows = windows.reshape(-1, groups, channels // groups, area)
    kernel = kernel.reshape(area, channels // groups, groups, -1)
    return np.einsum("ngca,acgf->ngf", windows, kernel).reshape(*places, -1)


conv2d = conv


def conv_transpose(x, kernel, strides=1, padding="valid", output_padding=None, dilation=1):
    """Transposed convolution in float64: each input adds its multiple of the kernel.

    The kernel is `(*kernel_size, channels, filters)`. The places and sizes are Keras'.
    """
    x, kernel = np.asarray(x, "float64"), np.asarray(kernel, "float64")
    sides = kernel.ndim - 2
    strides, dilation = np.broadcast_to(strides, sides), np.broadcast_to(dilation, sides)
    size, area = np.array(x.shape[1:-1]), np.array(kernel.shape[:-2])
    extent = (area - 1) * dilation + 1
    out = size * strides + (np.maximum(extent - strides, 0) if padding == "valid" else 0)
    before = np.zeros(sides, int) if padding == "valid" else np.maximum(extent - strides, 0) // 2
    if output_padding is not None:
        # As many more as PyTorch's argument of this name says.
        crop = 0 if padding == "valid" else 2 * (extent // 2)
        out = (size - 1) * strides + extent - crop + np.broadcast_to(output_padding, sides)
        before = crop // 2
    whole = np.zeros((len(x), *((size - 1) * strides + extent + out), kernel.shape[-1]))
    for place in np.ndindex(*area):
        start = np.array(place) * dilation
        window = [
            slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(start, size, strides, strict=True)
        ]
        whole[:, *window] += x @ kernel[place]
    before = np.broadcast_to(before, sides)
    return whole[:, *(slice(a, a + n) for a, n in zip(before, out, strict=True))]


def lc_conv2d(x, basis, combination, bias=0.0, groups=1, **geometry):
    """The two steps that LCConv2D is defined by, in float64."""
    features = conv2d(x, basis, groups=groups, **geometry)
    return conv2d(features, np.asarray(combination)[None, None], groups=groups) + bias


def two_layers(layer, input_shape):
    """Stock Conv2D with the basis, and stock 1×1 Conv2D with the combination, of an LCConv2D."""
    shared = dict(data_format=layer.data_format, groups=layer.groups, dtype=layer.dtype_policy)
    first = keras.layers.Conv2D(
        layer.basis_filters,
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        use_bias=False,
        **shared,
    )
    second = keras.layers.Conv2D(
        layer.filters, 1, activation=layer.activation, use_bias=layer.use_bias, **shared
    )
    first.build(input_shape)
    second.build(first.compute_output_shape(input_shape))
    first.kernel.assign(layer.basis)
    second.kernel.assign(ops.reshape(layer.combination, second.kernel.shape))
    if layer.use_bias:
        second.bias.assign(layer.bias)
    return first, second


def gradients(function, inputs, variables):
    """Returns the gradients of the scalar `function(inputs)`, as NumPy arrays.

    Args:
        function: Maps a tensor to a scalar tensor, and may read `variables`.
        inputs: NumPy array.
        variables: List of trainable Keras variables.

    Returns:
        The gradient by `inputs`, and the list of those by `variables`.
    """
    return gradient_function(function, variables)(inputs)


def gradient_function(function, variables):
    """Returns the function that gives the gradients of `function(inputs, *constants)`.

    JAX compiles it once: each operation by itself would take longer.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def compute(x, *constants):
            with tf.GradientTape() as tape:
                tape.watch(x)
                out = function(x, *constants)
            by_inputs, *by_variables = tape.gradient(out, [x, *(v.value for v in variables)])
            return by_inputs, by_variables
    elif backend == "torch":
        import torch

        def compute(x, *constants):
            x = x.detach().clone().requires_grad_()
            wanted = [x, *(v.value for v in variables)]
            by_inputs, *by_variables = torch.autograd.grad(function(x, *constants), wanted)
            return by_inputs, by_variables
    else:
        import jax

        def stateless(x, values, constants):
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return function(x, *constants)

        compiled = jax.jit(jax.grad(stateless, argnums=(0, 1)))

        def compute(x, *constants):
            return compiled(x, [v.value for v in variables], constants)

    def as_arrays(*inputs):
        by_inputs, by_variables = compute(*map(ops.convert_to_tensor, inputs))
        return numpy(by_inputs), [numpy(g) for g in by_variables]

    return as_arrays


def float64_allowed():
    """Context in which float64 is float64; under JAX it is float32 elsewhere."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()
