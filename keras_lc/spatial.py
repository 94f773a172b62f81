"""The spatial operators. They compute a pixel's output from its neighbourhood.

A network is a topology and a spatial operator. Each topology of `keras_lc.models` is written once
and works with any operator.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras

from keras_lc import bases
from keras_lc.bases import Basis
from keras_lc.keras_internals import producer
from keras_lc.layers.accelerated import (
    AveragePooling2D,
    Conv2D,
    DepthwiseConv2D,
    MaxPooling2D,
)
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.basis_conv import check_expansion, check_rank
from keras_lc.layers.frozen_conv import FrozenConv2D, FrozenDepthwiseConv2D
from keras_lc.layers.gram_limit_conv2d import GramLimitConv2D
from keras_lc.layers.initializers import FanInUniform
from keras_lc.layers.lc_block import BETWEEN, LCBlock
from keras_lc.layers.lc_conv2d import LCConv2D
from keras_lc.layers.shared_basis import SharedBasis, check_shareable
from keras_lc.naming import joined, words_of
from keras_lc.seeds import derive_seed, resolve_seed


@dataclasses.dataclass(frozen=True)
class SpatialOperator:
    """Base class: the description of a layer for the spatial convolutions of a topology.

    A subclass is a frozen dataclass. Its fields are its configuration, and its method
    `layer(filters, seed, **geometry)` builds the layer. If the network's convolutions have a
    bias, `geometry` contains `use_bias`. Two operators that make different networks must have
    different names. If the layer computes its kernel itself, see `keras_lc.layers.OwnKernel`.

    Example:

    >>> @dataclasses.dataclass(frozen=True)
    ... class Small(keras_lc.spatial.SpatialOperator):
    ...     fan_in: int = 1000
    ...
    ...     def layer(self, filters, seed, use_bias=False, **geometry):
    ...         start = keras_lc.layers.FanInUniform(seed, fan_in=self.fan_in)
    ...         geometry.update(use_bias=use_bias, kernel_initializer=start)
    ...         return keras_lc.layers.Conv2D(filters, **geometry)
    >>> keras_lc.CIFARResNet(8, spatial=Small(fan_in=500)).name
    'resnet_8_16_small_fan_in_500'
    """

    #: Whether the operator does not mix channels. It then works only between the 1×1 convolutions
    #: of a bottleneck.
    only_in_bottlenecks = False

    @property
    def name(self) -> str:
        """The operator's name, used in names of networks, tables and curves: `"lc_x8"`.

        By default it is the name of the class and all fields that differ from their defaults. The
        seed is left out, because all seeds make the same kind of network. The plain operator's
        name is `""`.
        """
        return joined(*words_of(self, "seed"))

    def network_name(self, family: str, size: str = "", width: str = "") -> str:
        """Returns the name of a network with this operator, in the papers' style.

        Args:
            family: String, such as `"resnet"`.
            size: String, the depth and other marks of the topology, such as `"20"` or `"18d"`.
            width: String, such as `"16"`, if the papers write it.
        """
        return joined(family, size, width, self.name)

    def __call__(
        self,
        x: keras.KerasTensor,
        filters: int,
        kernel_size: int,
        strides: int,
        seed: int,
        data_format: str,
        name: str,
        groups: int = 1,
        padding: int | None = None,
        use_bias: bool = False,
    ) -> keras.KerasTensor:
        """Applies the operator with PyTorch's padding, which is equal on all sides.

        Args:
            x: Symbolic tensor, 4D.
            filters: Integer, the number of output channels.
            kernel_size: Integer, in pixels. It must be odd if `padding` is `None`.
            strides: Integer.
            seed: Integer, the seed of the model. The layer's seed comes from it and `name`.
            data_format: `"channels_last"` or `"channels_first"`.
            name: String, the name of the layer.
            groups: Integer, the number of channel groups. For a depthwise convolution, it is the
                number of channels.
            padding: Integer, in pixels. Defaults to `kernel_size // 2`.
            use_bias: Boolean, whether the layer adds a bias to each output channel.

        Returns:
            A symbolic tensor.
        """
        half = kernel_size // 2
        padding = half if padding is None else padding
        # Otherwise Keras' "same" would pad less at the top and left.
        is_same = strides == 1 and padding == half
        if padding and not is_same:
            x = _zero_padding(padding, data_format, name)(x)
        own_seed = getattr(self, "seed", None)
        own_seed = derive_seed(seed if own_seed is None else own_seed, name)
        geometry = dict(
            kernel_size=kernel_size,
            strides=strides,
            padding="same" if is_same else "valid",
            data_format=data_format,
            name=name,
        )
        if use_bias:
            geometry["use_bias"] = True
        if 1 < groups == filters == _channels(x, data_format):
            return self.depthwise_layer(filters, own_seed, **geometry)(x)
        return self.layer(filters, own_seed, groups=groups, **geometry)(x)

    def layer(self, filters: int, seed: int, **geometry: Any) -> keras.layers.Layer:
        """Returns the layer. `geometry` contains the arguments of Conv2D."""
        raise NotImplementedError

    def depthwise_layer(self, filters: int, seed: int, **geometry: Any) -> keras.layers.Layer:
        """Returns the depthwise layer: each channel has its own filter."""
        return self.layer(filters, seed, groups=filters, **geometry)

    def for_stem(self) -> "SpatialOperator":
        """Returns the operator for the network's first convolutions, on the image itself."""
        return self

    def is_normalized(self, strides: int) -> bool:
        """Returns whether batch normalization and an activation follow the operator."""
        return True

    def for_network(
        self, topology: "Topology", x: keras.KerasTensor, seed: int
    ) -> "SpatialOperator":
        """Returns the operator for building one network.

        Args:
            topology: Function that takes a symbolic tensor and a spatial operator and builds the
                network.
            x: Symbolic tensor with the shape of the network's input.
            seed: Integer, the seed of the model.
        """
        return self


Topology = Callable[[keras.KerasTensor, SpatialOperator], keras.KerasTensor]


@dataclasses.dataclass(frozen=True)
class Learned(SpatialOperator):
    """A plain trained convolution, the papers' baseline."""

    _word = ""

    def layer(
        self, filters: int, seed: int, use_bias: bool = False, **geometry: Any
    ) -> keras.layers.Layer:
        return Conv2D(filters, use_bias=use_bias, kernel_initializer=FanInUniform(seed), **geometry)

    def depthwise_layer(
        self, filters: int, seed: int, use_bias: bool = False, **geometry: Any
    ) -> keras.layers.Layer:
        initializer = FanInUniform(seed, fan_in=geometry["kernel_size"] ** 2)
        return DepthwiseConv2D(use_bias=use_bias, depthwise_initializer=initializer, **geometry)


@dataclasses.dataclass(frozen=True)
class Frozen(SpatialOperator):
    """A convolution with random filters that are never trained (LC paper, Section 3).

    Args:
        seed: Integer that determines the filters. Defaults to `None`: the model's seed.
        basis: `keras_lc.bases.Basis` of the filters, or its name.
    """

    seed: int | None = None
    basis: str | Basis = "uniform"

    def __post_init__(self):
        _check_seed(self.seed)
        _set_basis(self)

    @property
    def name(self) -> str:
        return joined(*words_of(self, "seed", "basis"), _basis_word(self.basis))

    def layer(
        self, filters: int, seed: int, use_bias: bool = False, **geometry: Any
    ) -> keras.layers.Layer:
        options = dict(use_bias=use_bias, seed=seed, basis_initializer=self.basis)
        return FrozenConv2D(filters, **options, **geometry)

    def depthwise_layer(
        self, filters: int, seed: int, use_bias: bool = False, **geometry: Any
    ) -> keras.layers.Layer:
        options = dict(use_bias=use_bias, seed=seed, basis_initializer=self.basis)
        return FrozenDepthwiseConv2D(**options, **geometry)


@dataclasses.dataclass(frozen=True)
class LC(SpatialOperator):
    """Trained linear combinations of random filters (LC paper, Section 4).

    Args:
        expansion: Integer, the number of random filters per output channel.
        frozen: Boolean, whether the random filters are never trained.
        compact: Boolean, whether the layers use the compact form. With SGD, it trains the same
            network at the cost of plain convolutions; see `keras_lc.LCConv2D`.
        between: The layers between the random filters and their combination: `None`, `"relu"`,
            `"bn"` or `"bn_relu"` (Appendix C). If it is not `None`, there are `expansion` times
            as many feature maps.
        shared: Boolean, whether all layers of the network take their random filters from one
            tensor. Or a `keras_lc.layers.SharedBasis` to take them from.
        seed: Integer that determines the filters. Defaults to `None`: the model's seed.
        basis: `keras_lc.bases.Basis` of the random filters, or its name: `"uniform"`, the paper's,
            `"normal"`, `"orthogonal"`, `"sparse"`, `"dct"` or `"gabor"`.
        rank: Integer, the number of random filters of each layer, in place of `expansion`; with
            fewer than output channels the kernels are of low rank. Defaults to `None`.
    """

    expansion: int = 1
    frozen: bool = True
    compact: bool = False
    between: str | None = None
    shared: bool | SharedBasis = False
    seed: int | None = None
    basis: str | Basis = "uniform"
    rank: int | None = None

    def __post_init__(self):
        _check_seed(self.seed)
        check_expansion(self.expansion)
        check_rank(self.rank, self.expansion)
        _set_basis(self)
        if self.between is not None and self.between not in BETWEEN:
            raise ValueError(
                f"`between` must be None or one of {BETWEEN}. Received: between={self.between!r}"
            )
        for name in ("compact", "shared"):
            if getattr(self, name) and (self.between is not None or not self.frozen):
                raise ValueError(
                    f"`{name}` needs `frozen=True` and `between=None`. "
                    f"Received: frozen={self.frozen}, between={self.between!r}"
                )
        if self.shared:
            check_shareable(self.basis)
        if isinstance(self.shared, SharedBasis) and self.shared.basis != self.basis:
            raise ValueError(
                "The random filters are those of `shared`, so `basis` must be its basis. "
                f"Received: basis={self.basis!r}, shared.basis={self.shared.basis!r}"
            )

    @property
    def name(self) -> str:
        return joined(self._kind, self._size)

    @property
    def _size(self):
        return f"x{self.expansion}" if self.rank is None else f"r{self.rank}"

    @property
    def _kind(self):
        """The name without the expansion. A compact network is the same one, and so called."""
        told = ("seed", "expansion", "rank", "frozen", "compact", "between", "shared", "basis")
        word, *others = words_of(self, *told)
        learnable = None if self.frozen else "learnable"
        shared = "shared" if self.shared else None
        return joined(word, _basis_word(self.basis), learnable, self.between, shared, *others)

    def network_name(self, family: str, size: str = "", width: str = "") -> str:
        return joined(family, self._kind, size, f"{width}{self._size}")

    def layer(
        self, filters: int, seed: int, use_bias: bool = False, **geometry: Any
    ) -> keras.layers.Layer:
        options = dict(
            expansion=self.expansion, rank=self.rank, frozen=self.frozen, seed=seed, **geometry
        )
        if self.between is not None:
            if use_bias:
                raise ValueError(
                    "`between` must be None here: the convolutions of this network have a bias, "
                    f"and with `between` there is no bias. Received: between={self.between!r}"
                )
            return LCBlock(filters, between=self.between, basis_initializer=self.basis, **options)
        if self.shared is True:
            raise ValueError(
                "`shared=True` needs the size of the largest layer, and only a network has it. "
                "Call `for_network`, or pass a `keras_lc.layers.SharedBasis`."
            )
        return LCConv2D(
            filters,
            use_bias=use_bias,
            compact=self.compact,
            shared_basis=self.shared or None,
            basis_initializer=None if self.shared else self.basis,
            **options,
        )

    def for_network(
        self, topology: "Topology", x: keras.KerasTensor, seed: int
    ) -> "SpatialOperator":
        if self.shared is not True:
            return self
        sizes = _Sizes(self.expansion, self.rank)
        # Not on `x` itself, whose graph must not remember the layers of this walk.
        topology(keras.KerasTensor(x.shape, x.dtype), sizes)
        own_seed = derive_seed(seed if self.seed is None else self.seed, "shared_basis")
        shared = SharedBasis(size=max(sizes.found), seed=own_seed, basis=self.basis)
        return dataclasses.replace(self, shared=shared)


@dataclasses.dataclass(frozen=True)
class GramLimit(SpatialOperator):
    """Trained convolutions that learn like frozen `LC` in the limit of many random filters.

    This is a control for the LC paper's experiments. It has no random filters, but the same
    learning rates and initial variance as `LC`; see `keras_lc.layers.GramLimitConv2D`. It is the
    limit and not the equal of a large expansion: at 128 (8 to 8 channels, 3×3), the eigenvalues of
    `K · Kᵀ`, with the basis `K`, still spread from about 0.55 to 1.6 times their mean.

    Args:
        expansion: Integer, the expansion of the `LC` to compare with.
    """

    expansion: int = 1

    def __post_init__(self):
        check_expansion(self.expansion)

    @property
    def name(self) -> str:
        return joined(*words_of(self, "seed", "expansion"), f"x{self.expansion}")

    def layer(
        self, filters: int, seed: int, use_bias: bool = False, **geometry: Any
    ) -> keras.layers.Layer:
        return GramLimitConv2D(
            filters, use_bias=use_bias, expansion=self.expansion, seed=seed, **geometry
        )


@dataclasses.dataclass(frozen=True)
class _Sizes(SpatialOperator):
    """Finds the sizes of all bases in a network without building its spatial layers."""

    expansion: int
    rank: int | None
    found: list[int] = dataclasses.field(default_factory=list)

    def layer(self, filters, seed, **geometry):
        conv = keras.layers.Conv2D(filters, **geometry)

        def measure(x):
            channels = _channels(x, conv.data_format)
            numbers = math.prod(conv.kernel_size) * channels // conv.groups
            self.found.append(numbers * (self.rank or filters * self.expansion))
            return keras.KerasTensor(conv.compute_output_shape(x.shape), x.dtype)

        return measure


class _WithinBottlenecks(SpatialOperator):
    """Base class of operators that do not mix channels, in place of a bottleneck's convolution.

    The stem stays a trained convolution. A subclass has `_replaced`.
    """

    only_in_bottlenecks = True

    def __call__(
        self,
        x: keras.KerasTensor,
        filters: int,
        kernel_size: int,
        strides: int,
        seed: int,
        data_format: str,
        name: str,
        groups: int = 1,
    ) -> keras.KerasTensor:
        if _channels(x, data_format) != filters:
            raise ValueError(
                "`filters` must equal the number of input channels for a pool or a "
                "depthwise convolution. Received: "
                f"filters={filters}, inputs of shape {tuple(x.shape)}"
            )
        return self._replaced(x, kernel_size, strides, seed, data_format, name)

    def _replaced(self, x, kernel_size, strides, seed, data_format, name):
        raise NotImplementedError

    def for_stem(self) -> "SpatialOperator":
        return Learned()


@dataclasses.dataclass(frozen=True)
class MaxPool(_WithinBottlenecks):
    """A max-pool, without parameters, as in R50-max of the parameter-free paper.

    It replaces the convolution of a bottleneck and the normalization and activation after it. The
    stem stays a trained convolution.

    Reference:

    - [Learning Features with Parameter-Free Layers](https://arxiv.org/abs/2202.02777)
    """

    _word = "max"

    def _replaced(self, x, kernel_size, strides, seed, data_format, name):
        options = dict(data_format=data_format, name=f"{name}_pool")
        if strides == 1:
            return MaxPooling2D(kernel_size, 1, "same", **options)(x)
        if _is_rectified(x):
            # No input is negative, so zeros work as well as -∞.
            x = _zero_padding(kernel_size // 2, data_format, name)(x)
            return MaxPooling2D(kernel_size, strides, **options)(x)
        # Otherwise take every second output of a pool with stride 1. With strides, Keras' "same"
        # would pad less at the top and left.
        x = MaxPooling2D(kernel_size, 1, "same", **options)(x)
        return MaxPooling2D(1, strides, data_format=data_format, name=f"{name}_stride")(x)

    def is_normalized(self, strides: int) -> bool:
        return False


@dataclasses.dataclass(frozen=True)
class AveragePool(_WithinBottlenecks):
    """An average-pool, without parameters, in the place of `MaxPool`.

    The mean includes the zeros around the image, as PyTorch's does by default. So the pool is a
    depthwise convolution whose weights are all equal.

    Reference:

    - [Learning Features with Parameter-Free Layers](https://arxiv.org/abs/2202.02777)
    """

    _word = "average"

    def _replaced(self, x, kernel_size, strides, seed, data_format, name):
        x = _zero_padding(kernel_size // 2, data_format, name)(x)
        options = dict(data_format=data_format, name=f"{name}_pool")
        return AveragePooling2D(kernel_size, strides, **options)(x)

    def is_normalized(self, strides: int) -> bool:
        return False


@dataclasses.dataclass(frozen=True)
class Depthwise(_WithinBottlenecks):
    """A trained depthwise convolution, with normalization and activation after it.

    The parameter-free paper compares pools with it: it has few parameters, and each channel has
    its own filter.

    Reference:

    - [Learning Features with Parameter-Free Layers](https://arxiv.org/abs/2202.02777)
    """

    def _replaced(self, x, kernel_size, strides, seed, data_format, name):
        channels = _channels(x, data_format)
        return Learned()(
            x, channels, kernel_size, strides, seed, data_format, name, groups=channels
        )


@dataclasses.dataclass(frozen=True)
class Hybrid(SpatialOperator):
    """A max-pool if the size stays, a trained convolution if it changes, as in R50-hybrid.

    If the size changes, an average-pool halves it. A convolution of stride 1 with normalization
    and activation follows.

    Reference:

    - [Learning Features with Parameter-Free Layers](https://arxiv.org/abs/2202.02777)
    """

    only_in_bottlenecks = True

    def __call__(
        self,
        x: keras.KerasTensor,
        filters: int,
        kernel_size: int,
        strides: int,
        seed: int,
        data_format: str,
        name: str,
        groups: int = 1,
    ) -> keras.KerasTensor:
        if strides == 1:
            return MaxPool()(x, filters, kernel_size, 1, seed, data_format, name, groups)
        x = AveragePooling2D(strides, padding="same", data_format=data_format, name=f"{name}_pool")(
            x
        )
        return Learned()(x, filters, kernel_size, 1, seed, data_format, name, groups)

    def for_stem(self) -> "SpatialOperator":
        return Learned()

    def is_normalized(self, strides: int) -> bool:
        return strides > 1


def _zero_padding(padding, data_format, name):
    return keras.layers.ZeroPadding2D(padding, data_format=data_format, name=f"{name}_pad")


def _is_rectified(x):
    """Returns whether a ReLU made this tensor, so that it has no negative values."""
    layer = producer(x)
    return isinstance(layer, keras.layers.ReLU) and not (layer.negative_slope or layer.threshold)


def _channels(x, data_format):
    return x.shape[channel_axis(data_format)]


def _check_seed(seed):
    if seed is not None:
        resolve_seed(seed)


def _set_basis(operator):
    """Puts the basis in the place of its name, in a frozen dataclass."""
    object.__setattr__(operator, "basis", bases.get(operator.basis))


def _basis_word(basis):
    return None if basis == bases.Uniform() else basis.name


_BY_NAME = {
    "learned": Learned,
    "frozen": Frozen,
    "lc": LC,
    "gram_limit": GramLimit,
    "max": MaxPool,
    "average": AveragePool,
    "depthwise": Depthwise,
    "hybrid": Hybrid,
}


def get(identifier: str | SpatialOperator) -> SpatialOperator:
    """Returns the spatial operator with a name. Returns an operator unchanged.

    Args:
        identifier: `"learned"`, `"frozen"`, `"lc"`, `"max"`, `"average"`, `"depthwise"`,
            `"hybrid"`, `"gram_limit"`, or a `SpatialOperator`.

    Raises:
        ValueError: If `identifier` is none of these.

    Example:

    >>> keras_lc.spatial.get("lc")
    LC(expansion=1, frozen=True, compact=False, between=None, shared=False, seed=None,
       basis=Uniform(), rank=None)
    """
    if isinstance(identifier, SpatialOperator):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    raise ValueError(
        f"`spatial` must be one of {tuple(_BY_NAME)} or an operator, for example "
        f"`keras_lc.spatial.LC(expansion=8)`. Received: spatial={identifier!r}"
    )
