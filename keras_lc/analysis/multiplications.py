"""The number of multiplications that a network needs for an image."""

import math

import keras

from keras_lc.keras_internals import calls_of, graph_of, inner_layers
from keras_lc.layers.own_kernel import plain_layer_of


def count_multiplications(model: keras.Model) -> int:
    """Counts the multiplications of a network for one image: the papers' FLOPs.

    As in the papers, it counts the products of inputs and weights in convolutions and linear
    layers, and the products within attention. Normalization, activations and pools are left out.
    A layer that computes its kernel, such as `LCConv2D`, counts as the convolution with it.

    Args:
        model: A functional or sequential Keras model whose input has a known size.

    Returns:
        An integer, the number of multiplications, each with its addition.

    Raises:
        ValueError: If the size of the input is not known, if the model's `call` is code, or if a
            layer with weights is of an unknown kind.

    Example:

    >>> round(count_multiplications(keras_lc.ResNet(50)) / 1e9, 2)
    4.09
    """
    graph = graph_of(model)
    if graph is None:
        raise ValueError(
            "`model` must be a functional or built sequential Keras model, because its layers are "
            f"counted along its graph. Received: {type(model).__name__}"
        )
    if any(None in tensor.shape[1:] for tensor in graph.inputs):
        raise ValueError(
            "`model` must have an input of known size. Received: "
            f"{[tuple(tensor.shape) for tensor in graph.inputs]}"
        )
    return sum(_of_call(call) for call in calls_of(graph))


def _of_call(call):
    layer, output = call.operation, call.outputs[0]
    if isinstance(layer, keras.Model):
        return count_multiplications(layer)
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return _attention(layer, call)
    if hasattr(layer, "basis_conv"):
        kernels = (layer.basis_conv.kernel, layer.combination_conv.kernel)
        return _positions(layer.basis_conv, output) * sum(math.prod(k.shape) for k in kernels)
    if isinstance(layer, keras.layers.Dense):
        return math.prod(output.shape[1:]) * call.inputs[0].shape[-1]
    plain = plain_layer_of(layer) or layer
    if hasattr(plain, "kernel_size") and hasattr(layer, "kernel"):
        # A transposed convolution applies its kernel to each position of the input.
        is_transposed = "Transpose" in type(plain).__name__
        map = call.inputs[0] if is_transposed else output
        return _positions(plain, map) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Layer) and _has_matrices(layer):
        raise ValueError(
            f"The multiplications of layer '{layer.name}' ({type(layer).__name__}) are not known."
        )
    return 0


def _positions(convolution, map):
    is_last = convolution.data_format == "channels_last"
    return math.prod(map.shape[1:-1] if is_last else map.shape[2:])


def _attention(layer, call):
    inputs = list(call.inputs)
    query, value = inputs[0], inputs[1]
    key = inputs[2] if len(inputs) > 2 else value
    asking, answering = (math.prod(tensor.shape[1:-1]) for tensor in (query, value))
    keys, values = layer.num_heads * layer.key_dim, layer.num_heads * layer.value_dim
    return (
        asking * keys * query.shape[-1]
        + answering * (keys * key.shape[-1] + values * value.shape[-1])
        + asking * answering * (keys + values)
        + asking * values * call.outputs[0].shape[-1]
    )


def _has_matrices(layer):
    # The scale of a normalization and a position embedding are added or multiplied elementwise.
    return bool(inner_layers(layer)) or any(
        len(weight.shape) > 1 and "kernel" in weight.path for weight in layer.weights
    )
