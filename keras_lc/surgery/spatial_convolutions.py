"""Finds the spatial convolutions of a model, and helps to replace them."""

import warnings
from collections.abc import Iterable

import keras

from keras_lc.layers.own_kernel import plain_layer_of
from keras_lc.surgery.replace import paths_within, to_numpy

_CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.ConvLSTM2D,
)
_OF_OTHER_DIMENSIONS = (
    keras.layers.Conv1D,
    keras.layers.DepthwiseConv1D,
    keras.layers.SeparableConv1D,
    keras.layers.Conv1DTranspose,
    keras.layers.ConvLSTM1D,
    keras.layers.Conv3D,
    keras.layers.Conv3DTranspose,
    keras.layers.ConvLSTM3D,
)


def as_convolution(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """Returns the convolution of Keras that a layer is or equals; `None` if there is none."""
    if isinstance(layer, _CONVOLUTIONS):
        return layer
    plain = plain_layer_of(layer)
    return plain if isinstance(plain, _CONVOLUTIONS) else None


def is_spatial(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is a 2D convolution with a kernel of more than one pixel.

    1D and 3D convolutions are not spatial here, because the papers are about images.
    """
    convolution = as_convolution(layer)
    return convolution is not None and max(convolution.kernel_size) > 1


def starts_spatial(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is spatial, or several layers of which the first is spatial."""
    if is_spatial(layer):
        return True
    return getattr(layer, "combination", None) is not None and max(layer.kernel_size) > 1


def warn_of_no_effect(function: str, model: keras.Model, what: str) -> None:
    """Warns the caller of a public function that it replaced nothing.

    Args:
        function: Name of the public function.
        model: The model that the function received.
        what: The kind of layer that the model lacks.
    """
    warnings.warn(
        f"`{function}` replaced nothing: model '{model.name}' has no {what}."
        + note_of_other_dimensions(paths_within(model).items()),
        stacklevel=3,
    )


def note_of_other_dimensions(layers: Iterable[tuple[keras.layers.Layer, str]]) -> str:
    """Returns a sentence about the convolutions that are not 2D, or `""` if there are none."""
    others = [
        f"{path} ({type(layer).__name__})"
        for layer, path in layers
        if isinstance(layer, _OF_OTHER_DIMENSIONS)
    ]
    if not others:
        return ""
    return f" Convolutions of one and three dimensions are not spatial here: {', '.join(others)}."


def combines_itself(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer itself makes linear combinations of its spatial filters."""
    is_separable = isinstance(layer, keras.layers.SeparableConv2D)
    return is_separable or getattr(layer, "combination", None) is not None


def without_kernel_arguments(config: dict, prefix: str = "kernel") -> dict:
    """Returns the config of a convolution without the arguments for its kernel variable."""
    dropped = {f"{prefix}_{name}" for name in ("initializer", "regularizer", "constraint")}
    dropped |= {"lora_rank", "lora_alpha"}
    return {key: value for key, value in config.items() if key not in dropped}


def build_like(twin: keras.layers.Layer, layer: keras.layers.Layer) -> None:
    """Builds `twin` for the inputs of `layer`, and copies the bias of `layer`."""
    if not layer.built:  # another layer hides it, and its replacement is never called
        return
    twin.build_from_config(layer.get_build_config())
    if layer.use_bias:
        twin.bias.assign(to_numpy(layer.bias))
