"""Which spatial convolutions of a model are followed by trained linear combinations."""

import collections
import dataclasses
import math

import keras

from keras_lc.keras_internals import calls_of, graph_of
from keras_lc.layers import LCBlock, LCConv2D
from keras_lc.surgery.replace import layers_within, paths_within
from keras_lc.surgery.spatial_convolutions import (
    combines_itself,
    is_spatial,
    note_of_other_dimensions,
)


@dataclasses.dataclass(frozen=True)
class LCRate:
    """What `lc_rate` found.

    Attributes:
        layers: List of dicts with equal keys, one a spatial convolution.
        note: String, on the convolutions that do not count; empty where there are none.
    """

    layers: list[dict]
    note: str = ""

    @property
    def rate(self) -> float:
        """The share of the spatial convolutions that are combined entirely; NaN of none."""
        return self._combined / len(self.layers) if self.layers else math.nan

    @property
    def _combined(self):
        return sum(row["combined"] == "all" for row in self.layers)

    def __str__(self) -> str:
        if not self.layers:
            return "No LC rate: the model has no 2D convolution of more than one pixel." + self.note
        keys = ("layer", "type", "kernel_size", "filters", "combinations", "combined")
        rows = [keys, *([str(row[key]) for key in keys] for row in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join(
            [*lines, f"LC rate {self.rate:.2f}: {self._combined} of {len(self.layers)} layers"]
        )


def lc_rate(model: keras.Model) -> LCRate:
    """Tells which spatial convolutions are followed by trained linear combinations.

    Networks with random, frozen spatial convolutions train well where a pointwise convolution
    follows each of them, and badly where none does: a linear combination of enough random filters
    is any filter (LC paper, Section 3 and Lemma 3.1). So this is what to look at before
    `freeze_spatial`: bottleneck ResNets and MobileNets have a rate of about 1, ResNets of basic
    blocks one of about 0.

    From each spatial convolution all paths are followed, through normalization, activations,
    pooling, sums, concatenations and all else that does not mix channels, up to the first of

    - a trained pointwise convolution or dense layer: its outputs are linear combinations of the
      filters, disturbed by what lies between, as in the paper;
    - the next spatial convolution, or an output of the model: there the filters arrive alone.

    An LC layer and a `SeparableConv2D` combine their filters themselves. Convolutions of one and
    three dimensions do not count: without a 2D one, the rate is NaN.

    Args:
        model: A Functional or Sequential model that is built. What a layer of another kind does
            within is not seen: it counts as mixing nothing.

    Returns:
        An `LCRate`: `.layers`, a list of dicts in the order of the computation, `.rate`, the
        share of those with `combined == "all"`, `.note`, a sentence on the convolutions of other
        dimensions, and `str()`, a table. The dicts hold

        - `layer`: Path of the layer, `"nested/conv"` within others.
        - `type`: Name of its class.
        - `kernel_size`: Such as `"3x3"`.
        - `filters`: The number of its spatial filters; of an LC layer, of the random ones.
        - `followers`: Paths of the layers that combine them.
        - `combinations`: The number of these linear combinations: the outputs of the followers,
          those of a squeeze-and-excitation gate among them.
        - `alone_to`: Paths of the spatial convolutions that the filters reach without a
          combination, and `"output"` if they reach that.
        - `combined`: `"all"` where every path is combined, `"none"` where no path is, else
          `"some"`. In a ResNet of basic blocks, the second convolution of a block has `"some"`:
          on the way along the shortcuts, the 1×1 convolution of the next stage follows.

    Raises:
        ValueError: If the model has no graph of layers (it is not built, or a subclass with its
            own `call`), or if a layer hides a spatial convolution.

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
    return LCRate(
        [trace.row(layer) for layer in trace.found], note_of_other_dimensions(paths.items())
    )


class _Trace:
    """Follows the outputs of spatial convolutions: each tensor has the set of those it holds."""

    def __init__(self, paths):
        self.paths = paths
        # Dicts with values of `None`, for sets in the order of insertion.
        self.found = {}
        self.followers = collections.defaultdict(dict)
        self.alone_to = collections.defaultdict(dict)

    def run(self, graph, held_by_inputs):
        """Returns the sets of the graph's outputs from those of its inputs."""
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
        if is_spatial(operation) or isinstance(operation, LCBlock):
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
                f"'{self.paths[operation]}' ({type(operation).__name__}) hides how it calls the "
                f"spatial convolutions that it owns: {', '.join(hidden)}. Use them in the model's "
                "graph itself, or in a nested Functional or Sequential model."
            )
        return arriving

    def row(self, layer):
        followers, alone_to = self.followers[layer], self.alone_to[layer]
        combined = "none" if not followers else "some" if alone_to else "all"
        convolution = layer.basis_conv if isinstance(layer, LCBlock) else layer
        return {
            "layer": self.paths[layer],
            "type": type(layer).__name__,
            "kernel_size": "{}x{}".format(*convolution.kernel_size),
            "filters": _spatial_filters(convolution),
            "followers": [self.paths[follower] for follower in followers],
            "combinations": sum(map(_outputs, followers)),
            "alone_to": list(alone_to),
            "combined": combined,
        }


def _mixes_channels(layer):
    if not any(len(variable.shape) > 1 for variable in layer.trainable_variables):
        return False
    if isinstance(layer, keras.layers.Conv2D):
        # As many groups as channels: each is scaled alone.
        return layer.groups == 1 or layer.kernel.shape[2] > 1
    return isinstance(layer, keras.layers.Dense)


def _spatial_filters(convolution):
    if isinstance(convolution, LCConv2D):
        return convolution.basis_filters
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        channels, multiplier = convolution.kernel.shape[2:]
        return channels * multiplier
    if isinstance(convolution, keras.layers.SeparableConv2D):
        channels, multiplier = convolution.depthwise_kernel.shape[2:]
        return channels * multiplier
    return convolution.filters


def _outputs(layer):
    if isinstance(layer, keras.layers.Dense):
        return layer.units
    if isinstance(layer, LCBlock):
        return layer.combination_conv.filters
    return layer.filters
