"""Finds the spatial convolutions with trained linear combinations after them."""

import collections
import dataclasses
import math

import keras

from keras_lc.keras_internals import calls_of, graph_of
from keras_lc.surgery.replace import layers_within, paths_within
from keras_lc.surgery.spatial_convolutions import (
    FORMS,
    as_convolution,
    combines_itself,
    is_spatial,
    kernel_of,
    starts_spatial,
)


@dataclasses.dataclass(frozen=True)
class LCRate:
    """The result of `lc_rate`.

    Attributes:
        layers: List of dicts with equal keys, one dict per spatial convolution.
    """

    layers: list[dict]

    @property
    def rate(self) -> float:
        """The share of completely combined spatial convolutions. NaN without convolutions."""
        return self._combined / len(self.layers) if self.layers else math.nan

    @property
    def _combined(self):
        return sum(row["combined"] == "all" for row in self.layers)

    def __str__(self) -> str:
        if not self.layers:
            return "No LC rate: the model has no convolution of more than one pixel."
        keys = ("layer", "type", "kernel_size", "filters", "combinations", "combined")
        rows = [keys, *([str(row[key]) for key in keys] for row in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(
            [*lines, f"LC rate {self.rate:.2f}: {self._combined} of {len(self.layers)} layers"]
        )


def lc_rate(model: keras.Model) -> LCRate:
    """Finds out which spatial convolutions have trained linear combinations after them.

    A linear combination of enough random filters can be any filter (LC paper, Section 3 and Lemma
    3.1). So networks with random, frozen spatial convolutions train well if a pointwise
    convolution follows each of them, and badly if none follows. Check the rate before
    `freeze_spatial`: bottleneck ResNets and MobileNets have a rate of about 1, ResNets with basic
    blocks have about 0.

    The function follows all paths from each spatial convolution. It passes normalization,
    activations, pooling, sums, concatenations and other layers that do not mix channels. A path
    ends at the first of:

    - a trained pointwise convolution or dense layer: its outputs are linear combinations of the
      filters, changed by the layers between, as in the paper;
    - the next spatial convolution, or an output of the model: the filters are not combined.

    An LC layer and a `SeparableConv2D` combine their filters themselves. If there is no spatial
    convolution, the rate is NaN.

    Args:
        model: A Functional or Sequential model that is built. The function does not look into
            layers of other kinds: it assumes that they do not mix channels.

    Returns:
        An `LCRate`. `.layers` is a list of dicts in the order of the computation. `.rate` is the
        share of dicts with `combined == "all"`. `str()` gives a table. Each dict contains:

        - `layer`: Path of the layer, such as `"nested/conv"` in a nested model.
        - `type`: Name of its class.
        - `kernel_size`: Such as `"3x3"`.
        - `filters`: The number of its spatial filters. For an LC layer, the number of random
          filters.
        - `followers`: Paths of the layers that combine the filters.
        - `combinations`: The number of these linear combinations: all outputs of the followers,
          also of a squeeze-and-excitation gate.
        - `alone_to`: Paths of the spatial convolutions that the filters reach without a
          combination, and `"output"` if they reach the output.
        - `combined`: `"all"` if every path is combined, `"none"` if no path is, otherwise
          `"some"`. In a ResNet with basic blocks, the second convolution of a block has `"some"`,
          because the shortcuts lead to the 1×1 convolution of the next stage.

    Raises:
        ValueError: If the model has no graph of layers (it is not built, or it is a subclass with
            its own `call`). If a layer hides a spatial convolution.

    Example:

    >>> inputs = keras.Input((32, 32, 16))
    >>> x = keras.layers.DepthwiseConv2D(3, name="depthwise")(inputs)
    >>> x = keras.layers.BatchNormalization()(x)
    >>> x = keras.layers.Conv2D(8, 1, name="pointwise")(x)
    >>> outputs = keras.layers.Conv2D(8, 3, name="spatial")(x)
    >>> print(keras_lc.analysis.lc_rate(keras.Model(inputs, outputs)))
    layer      type             kernel_size  filters  combinations  combined
    depthwise  DepthwiseConv2D  3x3          16       8             all
    spatial    Conv2D           3x3          8        0             none
    LC rate 0.50: 1 of 2 layers

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """
    paths = paths_within(model)
    graph = graph_of(model)
    if graph is None:
        raise ValueError(
            f"Model '{model.name}' ({type(model).__name__}) has no graph of layers to follow: it "
            "is not built, or it is a subclass with its own `call`. Build it, or write it as a "
            "Functional model."
        )
    trace = _Trace(paths)
    for layers in trace.run(graph, [frozenset()] * len(graph.inputs)):
        for layer in layers:
            trace.alone_to[layer]["output"] = None
    return LCRate([trace.row(layer) for layer in trace.found])


class _Trace:
    """Follows the outputs of spatial convolutions. Each tensor has a set of convolutions."""

    def __init__(self, paths):
        self.paths = paths
        # Dicts with `None` as values are sets that keep the order of insertion.
        self.found = {}
        self.followers = collections.defaultdict(dict)
        self.alone_to = collections.defaultdict(dict)

    def run(self, graph, held_by_inputs):
        """Returns the sets of the graph's outputs, given the sets of its inputs."""
        held = {
            id(tensor): layers for tensor, layers in zip(graph.inputs, held_by_inputs, strict=True)
        }
        for call in calls_of(graph):
            inputs = [held[id(tensor)] for tensor in call.inputs]
            outputs = self.call(call.operation, inputs, len(call.outputs))
            for tensor, layers in zip(call.outputs, outputs, strict=True):
                held[id(tensor)] = layers
        return [held[id(tensor)] for tensor in graph.outputs]

    def call(self, operation, inputs, outputs):
        if isinstance(operation, keras.layers.Layer):
            graph = graph_of(operation)
            if graph is not None:
                return self.run(graph, inputs)
        arriving = frozenset().union(*inputs)
        return [self.pass_through(operation, arriving)] * outputs

    def pass_through(self, operation, arriving):
        if not isinstance(operation, keras.layers.Layer):
            return arriving
        if starts_spatial(operation):
            for layer in arriving:
                self.alone_to[layer][self.paths[operation]] = None
            self.found[operation] = None
            if combines_itself(operation):
                self.followers[operation][operation] = None
                return frozenset()
            return frozenset([operation])
        if _mixes_channels(operation):
            for layer in arriving:
                self.followers[layer][operation] = None
            return frozenset()
        hidden = [path for path, layer in layers_within(operation) if is_spatial(layer)]
        if hidden:
            raise ValueError(
                f"Layer '{self.paths[operation]}' ({type(operation).__name__}) hides how it calls "
                f"its spatial convolutions: {', '.join(hidden)}. Use them in the model's graph "
                "itself, or in a nested Functional or Sequential model."
            )
        return arriving

    def row(self, layer):
        followers, alone_to = self.followers[layer], self.alone_to[layer]
        combined = "none" if not followers else "some" if alone_to else "all"
        kernel_size = (as_convolution(layer) or layer).kernel_size
        return {
            "layer": self.paths[layer],
            "type": type(layer).__name__,
            "kernel_size": "x".join(map(str, kernel_size)),
            "filters": _spatial_filters(layer),
            "followers": [self.paths[follower] for follower in followers],
            "combinations": sum(map(_outputs, followers)),
            "alone_to": list(alone_to),
            "combined": combined,
        }


def _mixes_channels(layer):
    if not any(len(variable.shape) > 1 for variable in layer.trainable_variables):
        return False
    convolution = as_convolution(layer)
    if hasattr(convolution, "depth_multiplier") and not combines_itself(convolution):
        return False
    if isinstance(convolution, tuple(FORMS)):
        # With one group per channel, channels are only scaled.
        return getattr(convolution, "groups", 1) == 1 or kernel_of(layer).shape[-2] > 1
    return isinstance(layer, keras.layers.Dense) or combines_itself(layer)


def _spatial_filters(layer):
    if hasattr(layer, "basis_filters"):
        return layer.basis_filters
    convolution = as_convolution(layer)
    is_depthwise = hasattr(convolution, "depth_multiplier")
    return kernel_of(layer).shape[-1] if is_depthwise else convolution.filters


def _outputs(layer):
    if isinstance(layer, keras.layers.Dense):
        return layer.units
    return layer.filters if hasattr(layer, "filters") else kernel_of(layer).shape[-1]
