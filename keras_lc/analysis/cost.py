"""What a network computes for one image."""

import math

import keras

from keras_lc.layers.axes import channel_axis

# The names of the weights that are multiplied with each place of the input.
_MATRICES = ("kernel", "basis", "combination")


def multiply_adds(model: keras.Model) -> int:
    """Returns the number of multiply-adds for one image, which papers call FLOPs.

    Convolutions, linear layers and self-attention count. Normalization, activations and pools do
    not: they multiply no matrices. An `LCConv2D` costs as much as the plain convolution, because
    its kernel does not depend on the image.

    Args:
        model: A functional or sequential `keras.Model` for images of a known size.

    Raises:
        ValueError: If the size of the images is not known.

    Example:

    >>> keras_lc.analysis.multiply_adds(keras_lc.CIFARResNet(depth=8, width=4))
    776872
    """
    total = 0
    for layer in model.layers:
        total += multiply_adds(layer) if isinstance(layer, keras.Model) else _of_layer(layer)
    return total


def _of_layer(layer):
    numbers = _numbers(layer)
    if not numbers:
        return 0
    shape = layer.output.shape[1:]
    if None in shape:
        raise ValueError(
            "`model` must have images of a known size. Received: layer "
            f"{layer.name!r} with outputs of shape {tuple(shape)}"
        )
    data_format = getattr(getattr(layer, "basis_conv", layer), "data_format", "channels_last")
    channels = layer.output.shape[channel_axis(data_format)]
    places = math.prod(shape) // channels
    total = numbers * places
    if isinstance(layer, keras.layers.MultiHeadAttention):
        # Each place with each, once for the weights and once for the mean.
        total += 2 * places**2 * layer.num_heads * layer.key_dim
    return total


def _numbers(layer):
    """Returns how many numbers of a layer are multiplied at each place of its output."""
    if hasattr(layer, "combination") and hasattr(layer, "kernel"):
        return math.prod(layer.kernel.shape)
    return sum(math.prod(weight.shape) for weight in layer.weights if weight.name in _MATRICES)
