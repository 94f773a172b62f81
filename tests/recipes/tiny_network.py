"""A network for tests of whole ImageNet runs."""

import keras

import keras_lc
from keras_lc.models.classifier import Classifier


def tiny(arguments, classes):
    """In the place of `build`, since tracing a ResNet takes most of the time of a short run."""
    inputs = keras.Input((arguments.image_size, arguments.image_size, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras_lc.LCConv2D(4, 3, expansion=arguments.expansion, use_bias=False, seed=1)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras_lc.layers.StochasticDepth(0.2, seed=2)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return Classifier(inputs, keras.layers.Dense(classes)(x), seed=3, name="tiny")
