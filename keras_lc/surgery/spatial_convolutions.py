"""Finds the spatial convolutions of a model, and helps to replace them."""

import warnings
from typing import NamedTuple

import keras
import numpy as np

from keras_lc import layers as own
from keras_lc.layers.accelerated import keras_class
from keras_lc.layers.own_kernel import plain_layer_of
from keras_lc.surgery.replace import to_numpy


class Forms(NamedTuple):
    """The layers that can take the place of a convolution of Keras."""

    lc: type
    frozen: type


FORMS = {
    keras.layers.Conv1D: Forms(own.LCConv1D, own.FrozenConv1D),
    keras.layers.Conv2D: Forms(own.LCConv2D, own.FrozenConv2D),
    keras.layers.Conv3D: Forms(own.LCConv3D, own.FrozenConv3D),
    keras.layers.DepthwiseConv1D: Forms(own.LCDepthwiseConv1D, own.FrozenDepthwiseConv1D),
    keras.layers.DepthwiseConv2D: Forms(own.LCDepthwiseConv2D, own.FrozenDepthwiseConv2D),
    keras.layers.Conv1DTranspose: Forms(own.LCConv1DTranspose, own.FrozenConv1DTranspose),
    keras.layers.Conv2DTranspose: Forms(own.LCConv2DTranspose, own.FrozenConv2DTranspose),
    keras.layers.Conv3DTranspose: Forms(own.LCConv3DTranspose, own.FrozenConv3DTranspose),
}
# The two convolutions that a separable one consists of.
SEPARABLE = {
    keras.layers.SeparableConv1D: (keras.layers.DepthwiseConv1D, keras.layers.Conv1D),
    keras.layers.SeparableConv2D: (keras.layers.DepthwiseConv2D, keras.layers.Conv2D),
}
_RECURRENT = (keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D, keras.layers.ConvLSTM3D)
TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_CONVOLUTIONS = (*FORMS, *SEPARABLE, *_RECURRENT)


# By exact type: a subclass may compute something else.


def is_plain(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is a convolution of Keras that has an LC and a frozen form."""
    return keras_class(layer) in FORMS


def is_lc_form(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is the LC form of a convolution of Keras."""
    return type(layer) in {forms.lc for forms in FORMS.values()}


def is_frozen_form(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is the frozen form of a convolution of Keras."""
    return type(layer) in {forms.frozen for forms in FORMS.values()}


def as_convolution(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """Returns the convolution of Keras that a layer is or equals; `None` if there is none."""
    if isinstance(layer, _CONVOLUTIONS):
        return layer
    plain = plain_layer_of(layer)
    return plain if isinstance(plain, _CONVOLUTIONS) else None


def kernel_of(layer: keras.layers.Layer) -> np.ndarray:
    """Returns the kernel of a convolution as an array `(*kernel_size, channels/groups, filters)`.

    In a depthwise convolution each channel is a group.
    """
    convolution = as_convolution(layer)
    if isinstance(convolution, tuple(SEPARABLE)):
        kernel = layer.depthwise_kernel
    elif isinstance(convolution, _RECURRENT):
        kernel = layer.cell.kernel
    else:
        kernel = layer.kernel
    array = to_numpy(kernel)
    if hasattr(convolution, "depth_multiplier"):
        return array.reshape(*array.shape[:-2], 1, -1)
    # Stored with the filters before the channels.
    return array.swapaxes(-1, -2) if isinstance(convolution, TRANSPOSED) else array


def is_spatial(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is a convolution with a kernel of more than one pixel.

    Convolutions of one and three dimensions are spatial too, with their steps and voxels.
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
        f"`{function}` replaced nothing: model '{model.name}' has no {what}.", stacklevel=3
    )


def combines_itself(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer itself makes linear combinations of its spatial filters."""
    return isinstance(layer, tuple(SEPARABLE)) or getattr(layer, "combination", None) is not None


def kernel_argument(config: dict, name: str) -> object:
    """Returns an argument for the kernel, such as `"initializer"`, from a convolution's config."""
    return config[f"depthwise_{name}" if "depth_multiplier" in config else f"kernel_{name}"]


def without_kernel_arguments(config: dict) -> dict:
    """Returns the config of a convolution without the arguments for its kernel variable."""
    of_kernel = ("kernel_", "depthwise_", "lora_")
    return {
        key: value
        for key, value in config.items()
        if key == "kernel_size" or not key.startswith(of_kernel)
    }


def build_like(twin: keras.layers.Layer, layer: keras.layers.Layer) -> None:
    """Builds `twin` for the inputs of `layer`, and copies the bias of `layer`."""
    if not layer.built:  # another layer hides it, and its replacement is never called
        return
    twin.build_from_config(layer.get_build_config())
    if layer.use_bias:
        twin.bias.assign(to_numpy(layer.bias))
