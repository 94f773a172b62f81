"""Which layers of a model are spatial convolutions, and how one takes another's place."""

import keras

from keras_lc.layers import LCBlock, LCConv2D
from keras_lc.surgery.replace import to_numpy

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.ConvLSTM2D,
)


def is_spatial(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is a 2D convolution that sees more than one pixel."""
    return isinstance(layer, _CONVOLUTIONS) and max(layer.kernel_size) > 1


def combines_itself(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer ends in linear combinations of its own spatial filters."""
    return isinstance(layer, (LCConv2D, LCBlock, keras.layers.SeparableConv2D))


def without_kernel_arguments(config: dict, prefix: str = "kernel") -> dict:
    """Returns the config of a convolution without what is said of its kernel variable."""
    dropped = {f"{prefix}_{name}" for name in ("initializer", "regularizer", "constraint")}
    dropped |= {"lora_rank", "lora_alpha"}
    return {key: value for key, value in config.items() if key not in dropped}


def build_like(twin: keras.layers.Layer, layer: keras.layers.Layer) -> None:
    """Builds `twin` for the inputs of `layer`, and gives it the bias of that layer."""
    if not layer.built:  # within a layer that hides it: what stands for it is never called
        return
    twin.build_from_config(layer.get_build_config())
    if layer.use_bias:
        twin.bias.assign(to_numpy(layer.bias))
