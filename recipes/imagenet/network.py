"""Builds the network of a run from its arguments."""

import keras

import keras_lc
from keras_lc.models import IMAGENET_MEAN, IMAGENET_STD

from ..common.operator import operator


def build(arguments, classes: int) -> keras.Model:
    """Returns the network for `recipes.imagenet.arguments.Arguments`."""
    common = {
        "stochastic_depth": arguments.stochastic_depth,
        "spatial": operator(arguments),
        "input_shape": (arguments.image_size, arguments.image_size, 3),
        "classes": classes,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "data_format": "channels_last",
        "seed": arguments.seed,
    }
    if arguments.network == "vit":
        # `None` is the default of PiT only.
        return keras_lc.ViT(arguments.size, patch_size=arguments.patch_size or 16, **common)
    if arguments.network == "pit":
        return keras_lc.PiT(arguments.size, patch_size=arguments.patch_size, **common)
    common["low_resolution"] = arguments.low_resolution
    if arguments.network == "resnet":
        return keras_lc.ResNet(
            arguments.depth,
            variant=None if arguments.variant == "none" else arguments.variant,
            width=round(64 * arguments.width_multiplier),
            **common,
        )
    builder = {
        "mobilenet_v2": keras_lc.MobileNetV2,
        "mobilenet_v3_large": keras_lc.MobileNetV3Large,
    }[arguments.network]
    return builder(width_multiplier=arguments.width_multiplier, **common)
