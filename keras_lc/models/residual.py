"""Residual blocks, written once for all residual networks."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_lc.layers.accelerated import AveragePooling2D, BatchNormalization, Conv2D
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.initializers import FanInUniform
from keras_lc.layers.per_image.stochastic_depth import StochasticDepth
from keras_lc.seeds import derive_seed
from keras_lc.spatial import SpatialOperator

_ACTIVATIONS = {
    "relu": keras.layers.ReLU,
    "relu6": lambda name: keras.layers.ReLU(6.0, name=name),
    "hard_swish": lambda name: keras.layers.Activation("hard_swish", name=name),
}


@dataclasses.dataclass(frozen=True)
class Builder:
    """The settings that all layers of one network share.

    Args:
        spatial: The spatial operator.
        kernel_size: Odd integer, the size of the spatial operators, in pixels.
        seed: Integer, the seed of the model. Each layer's seed comes from it and the layer's name.
        data_format: `"channels_last"` or `"channels_first"`.
        activation: `"relu"`, `"relu6"` or `"hard_swish"`.
        average_pool_shortcuts: Boolean, whether an average-pool halves the image in shortcuts (He
            et al., 2019, ResNet-D). If `False`, the stride of their 1×1 convolution does it.
        momentum, epsilon: Numbers for batch normalization. They default to PyTorch's values:
            epsilon 1e-5, and momentum 0.1, which is 0.9 in Keras.
    """

    spatial: SpatialOperator
    kernel_size: int
    seed: int
    data_format: str
    activation: str = "relu"
    average_pool_shortcuts: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5

    @property
    def channel_axis(self) -> int:
        return channel_axis(self.data_format)

    def for_stem(self, kernel_size: int) -> "Builder":
        """Returns the builder of the network's first convolutions."""
        return dataclasses.replace(self, spatial=self.spatial.for_stem(), kernel_size=kernel_size)

    def spatial_conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        strides: int,
        name: str,
        groups: int = 1,
        **options: Any,
    ) -> keras.KerasTensor:
        place = (self.kernel_size, strides, self.seed, self.data_format, name, groups)
        return self.spatial(x, filters, *place, **options)

    def pointwise_conv(
        self, x: keras.KerasTensor, filters: int, strides: int, name: str
    ) -> keras.KerasTensor:
        return Conv2D(
            filters,
            1,
            strides=strides,
            use_bias=False,
            data_format=self.data_format,
            kernel_initializer=FanInUniform(derive_seed(self.seed, name)),
            name=name,
        )(x)

    def batch_norm(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return BatchNormalization(
            axis=self.channel_axis, momentum=self.momentum, epsilon=self.epsilon, name=name
        )(x)

    def activate(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return _ACTIVATIONS[self.activation](name=name)(x)

    def spatial_unit(
        self,
        x: keras.KerasTensor,
        filters: int,
        strides: int,
        name: str,
        number: int | str = "",
        groups: int = 1,
    ) -> keras.KerasTensor:
        """A spatial operator with batch normalization and activation, if the operator needs them.

        A max-pool does not need them.
        """
        x = self.spatial_conv(x, filters, strides, f"{name}_conv{number}", groups)
        if self.spatial.is_normalized(strides):
            x = self.batch_norm(x, f"{name}_bn{number}")
            x = self.activate(x, f"{name}_{self.activation}{number}")
        return x

    def pointwise_unit(
        self, x: keras.KerasTensor, filters: int, name: str, number: int | str = ""
    ) -> keras.KerasTensor:
        x = self.pointwise_conv(x, filters, 1, f"{name}_conv{number}")
        x = self.batch_norm(x, f"{name}_bn{number}")
        return self.activate(x, f"{name}_{self.activation}{number}")

    def basic_block(
        self, x: keras.KerasTensor, filters: int, strides: int, name: str, drop_rate: float = 0.0
    ) -> keras.KerasTensor:
        """Two spatial operators and a shortcut (He et al., 2015, Figure 5 left)."""
        if self.spatial.only_in_bottlenecks:
            raise ValueError(
                "`spatial` must mix channels in basic blocks. A pool or a depthwise convolution "
                "does not, so it needs 1x1 convolutions before and after it, and basic blocks have "
                "none. Use a ResNet with bottlenecks (depth 26, 50 or 101). "
                f"Received: spatial={self.spatial!r}"
            )
        shortcut = self.shortcut(x, filters, strides, name)
        x = self.spatial_unit(x, filters, strides, name, 1)
        x = self.spatial_conv(x, filters, 1, f"{name}_conv2")
        x = self.batch_norm(x, f"{name}_bn2")
        x = self.add(x, shortcut, name, drop_rate)
        return self.activate(x, f"{name}_{self.activation}2")

    def bottleneck_block(
        self,
        x: keras.KerasTensor,
        filters: int,
        width: int,
        strides: int,
        name: str,
        groups: int = 1,
        drop_rate: float = 0.0,
    ) -> keras.KerasTensor:
        """A spatial operator on fewer channels, with the stride (He et al., 2015, Figure 5 right).

        Args:
            filters: Integer, the channels of the block's output.
            width: Integer, the channels that the spatial operator sees.
            groups: Integer, the number of channel groups of the spatial operator.
        """
        shortcut = self.shortcut(x, filters, strides, name)
        x = self.pointwise_unit(x, width, name, 1)
        x = self.spatial_unit(x, width, strides, name, 2, groups)
        x = self.pointwise_conv(x, filters, 1, f"{name}_conv3")
        x = self.batch_norm(x, f"{name}_bn3")
        x = self.add(x, shortcut, name, drop_rate)
        return self.activate(x, f"{name}_{self.activation}3")

    def inverted_block(
        self,
        x: keras.KerasTensor,
        filters: int,
        width: int,
        strides: int,
        name: str,
        squeeze: int = 0,
        drop_rate: float = 0.0,
    ) -> keras.KerasTensor:
        """A depthwise spatial operator between 1×1 convolutions (Sandler et al., 2018, Figure 3).

        Args:
            filters: Integer, the channels of the block's output.
            width: Integer, the channels that the spatial operator sees.
            squeeze: Integer, the hidden channels of squeeze-and-excitation; 0 for none.
        """
        shortcut = x
        if x.shape[self.channel_axis] != width:
            x = self.pointwise_unit(x, width, name, 1)
        x = self.spatial_unit(x, width, strides, name, 2, groups=width)
        if squeeze:
            x = self.squeeze_excite(x, squeeze, f"{name}_squeeze")
        x = self.pointwise_conv(x, filters, 1, f"{name}_conv3")
        x = self.batch_norm(x, f"{name}_bn3")
        if strides == 1 and shortcut.shape[self.channel_axis] == filters:
            x = self.add(x, shortcut, name, drop_rate)
        return x

    def squeeze_excite(self, x: keras.KerasTensor, squeeze: int, name: str) -> keras.KerasTensor:
        """Scales each channel. The scales depend on the means of all channels (Hu et al., 2018)."""
        scale = keras.layers.GlobalAveragePooling2D(
            data_format=self.data_format, keepdims=True, name=f"{name}_pool"
        )(x)
        scale = self.gate(scale, squeeze, "relu", f"{name}_conv1")
        channels = x.shape[self.channel_axis]
        scale = self.gate(scale, channels, "hard_sigmoid", f"{name}_conv2")
        return keras.layers.Multiply(name=f"{name}_scale")([x, scale])

    def gate(
        self, x: keras.KerasTensor, filters: int, activation: str, name: str
    ) -> keras.KerasTensor:
        return Conv2D(
            filters,
            1,
            activation=activation,
            data_format=self.data_format,
            kernel_initializer=FanInUniform(derive_seed(self.seed, name)),
            bias_initializer=FanInUniform(
                derive_seed(self.seed, f"{name}_bias"), fan_in=x.shape[self.channel_axis]
            ),
            name=name,
        )(x)

    def shortcut(
        self, x: keras.KerasTensor, filters: int, strides: int, name: str
    ) -> keras.KerasTensor:
        """Returns the input of a block, or a 1×1 convolution of it if the shape changes."""
        if strides == 1 and x.shape[self.channel_axis] == filters:
            return x
        if strides > 1 and self.average_pool_shortcuts:
            # "same": at an odd border, the mean is over the pixels that exist.
            x = AveragePooling2D(
                strides,
                padding="same",
                data_format=self.data_format,
                name=f"{name}_shortcut_pool",
            )(x)
            strides = 1
        x = self.pointwise_conv(x, filters, strides, f"{name}_shortcut_conv")
        return self.batch_norm(x, f"{name}_shortcut_bn")

    def add(
        self, x: keras.KerasTensor, shortcut: keras.KerasTensor, name: str, drop_rate: float
    ) -> keras.KerasTensor:
        if drop_rate:
            seed = derive_seed(self.seed, f"{name}_drop") % 2**31
            x = StochasticDepth(drop_rate, seed=seed, name=f"{name}_drop")(x)
        return keras.layers.Add(name=f"{name}_add")([x, shortcut])


def drop_rates(last: float, blocks: int) -> list[float]:
    """Returns the rate of stochastic depth of each block. It grows linearly from 0 to `last`."""
    if not 0 <= last < 1:
        raise ValueError(
            "`stochastic_depth` must be at least 0 and below 1. "
            f"Received: stochastic_depth={last!r}"
        )
    return [last * block / max(blocks - 1, 1) for block in range(blocks)]


def drop_rates_of_stages(last: float, blocks: Sequence[int]) -> list[list[float]]:
    """Returns the `drop_rates` of all blocks, in a list for each stage.

    Args:
        last: Float, the rate of the last block.
        blocks: Sequence of integers, the number of blocks in each stage.
    """
    rates = iter(drop_rates(last, sum(blocks)))
    return [[next(rates) for _ in range(number)] for number in blocks]
