"""Both ends of every network: the input of images, and the classifier."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_lc.layers.axes import channel_axis, standardize_data_format
from keras_lc.layers.initializers import FanInUniform
from keras_lc.layers.per_image.random_crop_flip import RandomCropFlip
from keras_lc.layers.per_image.random_resized_crop_flip import RandomResizedCropFlip
from keras_lc.seeds import derive_seed
from keras_lc.types import Activation, Shape

#: Names of the layers with weights after the global pooling.
HEAD_LAYERS = ("hidden", "classifier")

# Channel statistics of CIFAR-10's training images, in pixel values.
CIFAR10_MEAN = (125.30691805, 122.95039414, 113.86538318)
CIFAR10_STD = (62.99321928, 62.08870764, 66.70489964)
# ImageNet's, as torchvision and timm have them.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

_AUGMENTATIONS = {"crop_flip": RandomCropFlip, "resized_crop_flip": RandomResizedCropFlip}


def image_input(
    input_shape: Shape,
    include_preprocessing: bool,
    mean: float | Sequence[float] | np.ndarray | None,
    std: float | Sequence[float] | np.ndarray | None,
    augmentation: str | keras.layers.Layer | None,
    seed: int,
    data_format: str,
    low_resolution: bool = True,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Returns the input tensor of a network and the input of its first layer.

    If `mean` and `std` are `None`, `low_resolution` chooses the statistics: CIFAR-10's if it is
    true, ImageNet's if not.
    """
    data_format = standardize_data_format(data_format)
    _check_input_shape(input_shape, data_format)
    inputs = keras.Input(shape=input_shape, name="images")
    x = inputs
    # Not in half precision: a pixel value has more digits than bfloat16.
    if isinstance(augmentation, str) and augmentation in _AUGMENTATIONS:
        x = _AUGMENTATIONS[augmentation](
            data_format=data_format,
            seed=derive_seed(seed, "augmentation") % 2**31,
            dtype=_full_precision(),
            name=f"random_{augmentation}",
        )(x)
    elif isinstance(augmentation, keras.layers.Layer):
        x = augmentation(x)
    elif augmentation is not None:
        raise ValueError(
            f"`augmentation` must be {', '.join(map(repr, _AUGMENTATIONS))}, None or a Keras "
            "layer. "
            f"Received: augmentation={augmentation!r}"
        )
    if include_preprocessing:
        channels = (None, *input_shape)[channel_axis(data_format)]
        mean, std = _channel_statistics(mean, std, channels, low_resolution)
        x = keras.layers.Normalization(
            axis=channel_axis(data_format),
            mean=mean,
            variance=[s**2 for s in std],
            dtype=_full_precision(),
            name="normalization",
        )(x)
    return inputs, x


def classifier_head(
    x: keras.KerasTensor,
    classes: int,
    activation: Activation,
    seed: int,
    data_format: str,
    hidden: tuple[int, str] | None = None,
) -> keras.KerasTensor:
    """Returns the outputs: global average pooling, an optional hidden layer and a linear layer.

    `hidden` is a pair of the number of units and their activation, or `None`.
    """
    if classes < 1:
        raise ValueError(f"`classes` must be at least 1. Received: classes={classes}")
    x = keras.layers.GlobalAveragePooling2D(data_format=data_format, name="pool")(x)
    if hidden is not None:
        units, hidden_activation = hidden
        x = keras.layers.Dense(
            units,
            activation=hidden_activation,
            kernel_initializer=FanInUniform(derive_seed(seed, "hidden")),
            bias_initializer=FanInUniform(derive_seed(seed, "hidden_bias"), fan_in=x.shape[-1]),
            name="hidden",
        )(x)
    features = x.shape[-1]
    return keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=FanInUniform(derive_seed(seed, "classifier")),
        bias_initializer=FanInUniform(derive_seed(seed, "classifier_bias"), fan_in=features),
        # In half precision, logits would lose the small differences that the loss depends on.
        dtype=_full_precision(),
        name="classifier",
    )(x)


def _check_input_shape(input_shape, data_format):
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 3:
        raise ValueError(
            "`input_shape` must have 3 axes: the image without the batch. "
            f"Received: input_shape={input_shape!r}"
        )
    is_last = data_format == "channels_last"
    opposite, middle, channels = input_shape if is_last else reversed(input_shape)
    if channels is None or _are_reversed(opposite, middle, channels):
        # Otherwise the network would use the rows as channels without any message.
        axes = "height, width, channels" if is_last else "channels, height, width"
        raise ValueError(
            f"`input_shape` must be ({axes}) with data_format={data_format!r}, and the number of "
            f"channels must be known. Received: input_shape={tuple(input_shape)}"
        )


def _are_reversed(opposite, middle, channels):
    """Returns whether the channel axis looks like a side of the image.

    This is so if the opposite axis has 1 to 4 entries, and the two others are of similar length.
    Few rows with many channels are legal: a signal, a small board.
    """
    of_colours = (1, 2, 3, 4)
    if opposite not in of_colours or middle is None or channels in of_colours:
        return False
    return max(middle, channels) <= 2 * min(middle, channels)


def _channel_statistics(mean, std, channels, low_resolution):
    if mean is None and std is None:
        if channels == 3:
            if low_resolution:
                return CIFAR10_MEAN, CIFAR10_STD
            return IMAGENET_MEAN, IMAGENET_STD
        return (127.5,) * channels, (127.5,) * channels
    statistics = []
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            raise ValueError(
                f"`mean` and `std` go together: pass both or none. Received: mean={mean}, std={std}"
            )
        values = np.atleast_1d(np.asarray(values, "float64"))
        if values.shape not in ((1,), (channels,)):
            raise ValueError(
                f"`{name}` must be a number or one number for each of the {channels} channels. "
                f"Received: {name}={values.tolist()}"
            )
        statistics.append(tuple(np.broadcast_to(values, channels).tolist()))
    mean, std = statistics
    if min(std) <= 0:
        raise ValueError(f"`std` must be positive. Received: std={std}")
    if max(std) <= 1:
        raise ValueError(
            "`mean` and `std` must be in pixel values, from 0 to 255. If they are for images "
            f"scaled to [0, 1], multiply them by 255. Received: mean={mean}, std={std}"
        )
    return mean, std


def _full_precision():
    """Returns the current dtype policy, or float32 if the policy computes in half precision."""
    policy = keras.config.dtype_policy()
    return "float32" if policy.compute_dtype in ("float16", "bfloat16") else policy
