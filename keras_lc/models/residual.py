"""Residual blocks, written once for all residual networks."""

import dataclasses

import keras

from keras_lc.layers.random_basis import FanInUniform, derive_seed
from keras_lc.spatial import SpatialOperator


@dataclasses.dataclass(frozen=True)
class Builder:
    """What all places of one network have in common.

    Args:
        spatial: The spatial operator.
        kernel_size: Odd integer, the size of the spatial operators, in pixels.
        seed: Integer, the seed of the model; each layer's follows from it and the layer's name.
        data_format: `"channels_last"` or `"channels_first"`.
    """

    spatial: SpatialOperator
    kernel_size: int
    seed: int
    data_format: str

    @property
    def channel_axis(self):
        return -1 if self.data_format == "channels_last" else 1

    def spatial_conv(self, x, filters, strides, name):
        return self.spatial(
            x, filters, self.kernel_size, strides, self.seed, self.data_format, name
        )

    def pointwise_conv(self, x, filters, strides, name):
        return keras.layers.Conv2D(
            filters,
            1,
            strides=strides,
            use_bias=False,
            data_format=self.data_format,
            kernel_initializer=FanInUniform(derive_seed(self.seed, name)),
            name=name,
        )(x)

    def batch_norm(self, x, name):
        # PyTorch's epsilon, and its momentum of 0.1 in Keras' sense.
        return keras.layers.BatchNormalization(
            axis=self.channel_axis, momentum=0.9, epsilon=1e-5, name=name
        )(x)

    def basic_block(self, x, filters, strides, name):
        """Two spatial operators and a shortcut (He et al., 2015, Figure 5 left)."""
        shortcut = x
        if strides > 1 or x.shape[self.channel_axis] != filters:
            shortcut = self.pointwise_conv(x, filters, strides, f"{name}_shortcut_conv")
            shortcut = self.batch_norm(shortcut, f"{name}_shortcut_bn")
        x = self.spatial_conv(x, filters, strides, f"{name}_conv1")
        x = self.batch_norm(x, f"{name}_bn1")
        x = keras.layers.ReLU(name=f"{name}_relu1")(x)
        x = self.spatial_conv(x, filters, 1, f"{name}_conv2")
        x = self.batch_norm(x, f"{name}_bn2")
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
        return keras.layers.ReLU(name=f"{name}_relu2")(x)
