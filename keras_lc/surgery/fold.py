"""Folding: LC layers become plain Conv2D, batch normalization becomes a scale and a bias."""

import collections
import math

import keras
import numpy as np

from keras_lc.keras_internals import calls_of, graph_of, producer
from keras_lc.layers import (
    LCBlock,
    PositionEmbedding,
    RandomCropFlip,
    RandomResizedCropFlip,
    StochasticDepth,
)
from keras_lc.layers.accelerated import accelerate, keras_class
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.compact_basis import by_group, from_groups
from keras_lc.layers.own_kernel import plain_layer_of
from keras_lc.surgery.replace import (
    check_is_model,
    graphs_within,
    layers_within,
    replace,
    to_numpy,
)
from keras_lc.surgery.spatial_convolutions import FORMS, TRANSPOSED

_ONLY_IN_TRAINING = (RandomCropFlip, RandomResizedCropFlip, StochasticDepth)


def fold(model: keras.Model, batch_norm: bool = False, strict: bool = True) -> keras.Model:
    """Copies a model and replaces each LC layer with the equal Conv2D for inference.

    - An LC layer becomes the convolution of Keras with the same name and the combined kernel:
      `LCConv2D` becomes `keras.layers.Conv2D`, or `keras.layers.DepthwiseConv2D` if it has one
      group per channel. `LCConv1D` becomes `keras.layers.Conv1D`, and so on.
    - So does each layer that equals a convolution of Keras, also a layer of your own; see
      `keras_lc.layers.OwnKernel`.
    - `PositionEmbedding` becomes a `keras.layers.EinsumDense` that multiplies by 1 and has the
      embedding as its bias.
    - `RandomCropFlip`, `RandomResizedCropFlip` and `StochasticDepth` are removed, because they do
      nothing at inference.

    The copy has only Keras' layers (and your own), so its file loads without `keras_lc`. Its
    outputs equal the model's up to float32 rounding.

    Args:
        model: A Functional or Sequential model. It does not change.
        batch_norm: Boolean, whether to also fuse each `keras.layers.BatchNormalization` into the
            convolution before it: `kernel · s` and `(bias - mean) · s + beta`, with
            `s = gamma / √(variance + epsilon)`, computed in float64. A normalization is fused
            only if this is exact: it follows a convolution without activation, no other layer
            uses that convolution's output, and neither layer is shared. The result is
            for inference only; training would no longer normalize. If a fused normalization was
            an output of the model, the output gets the convolution's name.
        strict: Boolean, whether to refuse an `LCBlock` that is not one convolution. If `False`,
            it becomes the layers `{name}_basis`, `{name}_bn`, `{name}_relu`,
            `{name}_combination`.

    Returns:
        The folded copy, not compiled. It is a `keras.Sequential` if the model is one, otherwise a
        `keras.Model`.

    Raises:
        ValueError: If an `LCBlock` is not one convolution and `strict` is true. If a layer that
            needs `keras_lc` cannot be folded, because a layer or a subclassed model hides it, or
            because it is a subclass (it may compute something else). If a layer cannot be copied,
            such as a `Lambda` with a Python lambda.

    Example:

    >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras_lc.LCConv2D(16, 3, name="conv")])
    >>> folded = keras_lc.fold(model)
    >>> type(folded.get_layer("conv")) is keras.layers.Conv2D
    True

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    - [RepVGG](https://arxiv.org/abs/2101.03697), Section 3.3, for batch normalization
    """
    check_is_model(model)
    in_training_mode = _always_in_training_mode(model)
    if strict:
        _refuse_blocks(model, batch_norm, in_training_mode)

    def plain(layer):
        exact_type = type(layer)
        convolution = plain_layer_of(layer)
        if convolution is not None:
            return [_built(convolution, layer.kernel, layer.bias)]
        if exact_type is PositionEmbedding:
            return [_position_bias(layer)]
        if exact_type in _ONLY_IN_TRAINING and layer not in in_training_mode:
            return []
        if exact_type is LCBlock:
            if batch_norm and _is_affine(layer, in_training_mode):
                return [_merge_block(layer)]
            return _unroll_block(layer)
        if keras_class(layer) is not exact_type:
            return [_plain(layer)]
        if _package(exact_type) == "keras":
            config = layer.get_config()
            plain_config = _without_own_initializers(config)
            if len(plain_config) < len(config):
                return [exact_type.from_config(plain_config)]
        return None

    folded = replace(model, plain)
    if batch_norm:
        folded = _fuse_batch_norm(folded)
    _check_needs_only_keras(folded)
    for _, layer in layers_within(folded):
        accelerate(layer)
    return folded


def _always_in_training_mode(model):
    """Returns the layers that the graph calls with `training=True`, also at inference."""
    layers = set()
    for graph in graphs_within(model):
        for call in calls_of(graph):
            if not isinstance(call.operation, keras.layers.Layer):
                continue
            # A positional `True` could be another flag. Then the layer just stays unchanged.
            if call.kwargs.get("training") or any(value is True for value in call.args[1:]):
                layers.add(call.operation)
                layers.update(layer for _, layer in layers_within(call.operation))
    return layers


# --- LC layers ---


def _is_affine(block, in_training_mode):
    return block.activation is None and block not in in_training_mode


def _refuse_blocks(model, batch_norm, in_training_mode):
    blocks = [(path, layer) for path, layer in layers_within(model) if type(layer) is LCBlock]
    affine = [path for path, layer in blocks if _is_affine(layer, in_training_mode)]
    others = [path for path, layer in blocks if not _is_affine(layer, in_training_mode)]
    reasons = []
    if affine and not batch_norm:
        reasons.append(
            f"{', '.join(affine)}: pass `batch_norm=True` to merge basis, normalization and "
            "combination into one convolution."
        )
    if others:
        reasons.append(
            f"{', '.join(others)}: the layers between basis and combination are not linear. Pass "
            "`strict=False` to replace each block by several plain Keras layers."
        )
    if reasons:
        raise ValueError("These LCBlock layers do not fold to one Conv2D. " + " ".join(reasons))


def _conv2d(layer, kernel, bias, **changes):
    """Returns a built Conv2D with the options of `layer`, the `changes`, and these weights."""
    config = keras.layers.Conv2D.get_config(layer) | changes
    config["use_bias"] = bias is not None
    plain = keras.layers.Conv2D.from_config(_without_own_initializers(config))
    return _built(plain, kernel, bias)


def _position_bias(layer):
    """Returns the Keras layer that adds a trained map and multiplies each channel by 1."""
    shape = layer.embedding.shape
    bias = keras.layers.EinsumDense(
        "bhwc,c->bhwc",
        output_shape=tuple(shape),
        bias_axes="hwc",
        name=layer.name,
        dtype=layer.dtype_policy,
    )
    bias.build((None, *shape))
    bias.kernel.assign(np.ones(bias.kernel.shape))
    bias.bias.assign(to_numpy(layer.embedding))
    return bias


def _built(layer, kernel, bias):
    """Builds a convolution of Keras with these weights, and returns it."""
    shape = [None] * (layer.rank + 2)
    shape[channel_axis(layer.data_format)] = _channels(layer, math.prod(kernel.shape))
    layer.build(tuple(shape))
    layer.kernel.assign(to_numpy(kernel).reshape(layer.kernel.shape))
    if bias is not None:
        layer.bias.assign(to_numpy(bias))
    return layer


def _channels(layer, numbers):
    """Returns the input channels of a convolution whose kernel has this many numbers."""
    per_tap = numbers // math.prod(layer.kernel_size)
    # A depthwise convolution has no groups: each input channel is one.
    if _is_depthwise(layer):
        return per_tap // layer.depth_multiplier
    return per_tap // layer.filters * getattr(layer, "groups", 1)


def _plain(layer):
    """Returns the Keras layer that equals an accelerated layer. It is not built."""
    return keras_class(layer).from_config(_without_own_initializers(layer.get_config()))


def _unroll_block(block):
    basis = block.basis_conv
    layers = [_conv2d(basis, basis.kernel, None, name=f"{block.name}_basis")]
    if block.batch_norm is not None:
        config = block.batch_norm.get_config() | {"name": f"{block.name}_bn"}
        batch_norm = keras.layers.BatchNormalization.from_config(config)
        batch_norm.build_from_config(block.batch_norm.get_build_config())
        batch_norm.set_weights([to_numpy(weight) for weight in block.batch_norm.weights])
        layers.append(batch_norm)
    if block.activation is not None:
        layers.append(keras.layers.ReLU(name=f"{block.name}_relu", dtype=block.dtype_policy))
    combination = block.combination_conv
    layers.append(_conv2d(combination, combination.kernel, None, name=f"{block.name}_combination"))
    return layers


def _merge_block(block):
    """Merges basis, affine map of each channel and 1×1 convolution into one convolution."""
    scale, shift = _scale_and_shift(block.batch_norm)
    groups = block.basis_conv.groups
    basis = _float64(block.basis_conv.kernel)
    combination = by_group(_float64(block.combination_conv.kernel)[0, 0], groups)
    kernel = by_group(basis, groups) @ (scale.reshape(groups, -1, 1) * combination)
    bias = shift.reshape(groups, 1, -1) @ combination
    return _conv2d(
        block.basis_conv,
        from_groups(kernel, (*basis.shape[:-1], -1)),
        bias.ravel(),
        name=block.name,
        filters=block.combination_conv.filters,
    )


# --- Batch normalization ---


def _fuse_batch_norm(model):
    """Fuses batch normalization in a model that has only Keras' layers."""
    fusions = _find_fusions(model)
    fused = set(fusions.values())

    def substitute(layer):
        if layer in fusions:
            return [_fuse(layer, fusions[layer])]
        return [] if layer in fused else None

    return replace(model, substitute) if fusions else model


def _find_fusions(model):
    """Returns `{convolution: batch normalization}` for those that can be fused exactly."""
    graphs = graphs_within(model)
    calls = [call for graph in graphs for call in calls_of(graph)]
    counts = collections.Counter(call.operation for call in calls)
    for operation in list(counts):
        if isinstance(operation, keras.layers.Layer) and graph_of(operation) is None:
            counts.update(layer for _, layer in layers_within(operation))
    uses = collections.Counter(id(tensor) for call in calls for tensor in call.inputs)
    uses.update(id(tensor) for graph in graphs for tensor in graph.outputs)
    in_training_mode = _always_in_training_mode(model)

    fusions = {}
    for call in calls:
        batch_norm = call.operation
        if type(batch_norm) is not keras.layers.BatchNormalization:
            continue
        conv = producer(call.inputs[0])
        if (
            _is_fusable(conv, batch_norm)
            and counts[conv] == counts[batch_norm] == 1
            and uses[id(call.inputs[0])] == 1
            and batch_norm not in in_training_mode
        ):
            fusions[conv] = batch_norm
    return fusions


def _is_fusable(conv, batch_norm):
    return (
        type(conv) in FORMS
        and conv.activation in (None, keras.activations.linear)
        and batch_norm.axis % (conv.rank + 2) == channel_axis(conv.data_format) % (conv.rank + 2)
        # Otherwise the output would have another dtype than before.
        and conv.compute_dtype == batch_norm.compute_dtype
        and not getattr(conv, "lora_enabled", False)
    )


def _fuse(conv, batch_norm):
    scale, shift = _scale_and_shift(batch_norm)
    kernel = _float64(conv.kernel)
    bias = shift if conv.bias is None else _float64(conv.bias) * scale + shift
    plain = type(conv).from_config(conv.get_config() | {"use_bias": True})
    return _built(plain, kernel * _along_filters(conv, scale), bias)


def _along_filters(conv, scale):
    """Returns numbers of the output channels in the place of a kernel's output channels."""
    if _is_depthwise(conv):
        return scale.reshape(-1, conv.depth_multiplier)
    return scale[:, None] if isinstance(conv, TRANSPOSED) else scale


def _is_depthwise(conv):
    return hasattr(conv, "depth_multiplier")


def _scale_and_shift(batch_norm):
    """Returns batch normalization at inference as `x * scale + shift` for each channel."""
    scale = 1.0 / np.sqrt(_float64(batch_norm.moving_variance) + batch_norm.epsilon)
    if batch_norm.scale:
        scale *= _float64(batch_norm.gamma)
    shift = -_float64(batch_norm.moving_mean) * scale
    if batch_norm.center:
        shift += _float64(batch_norm.beta)
    return scale, shift


def _float64(variable):
    return to_numpy(variable).astype("float64")


# --- The result must not need keras_lc ---


def _without_own_initializers(config):
    """Removes our initializers from a config. The weights exist, so Keras' defaults suffice."""
    return {
        key: value
        for key, value in config.items()
        if not (key.endswith("_initializer") and _mentions_keras_lc(value))
    }


def _mentions_keras_lc(config):
    if isinstance(config, dict):
        return (
            str(config.get("module")).partition(".")[0] == "keras_lc"
            or str(config.get("registered_name")).startswith("keras_lc>")
            or any(map(_mentions_keras_lc, config.values()))
        )
    return isinstance(config, list | tuple) and any(map(_mentions_keras_lc, config))


def _package(cls):
    """Returns the package that a file names for a class."""
    return cls.__module__.partition(".")[0]


def _check_needs_only_keras(model):
    left = {
        layer.name: layer.name
        for graph in graphs_within(model)
        for layer in graph.layers
        if graph_of(layer) is None and _mentions_keras_lc(layer.get_config())
    }
    for path, layer in layers_within(model):
        if _package(type(layer)) == "keras":
            continue
        own = [cls for cls in type(layer).__mro__ if _package(cls) == "keras_lc"]
        if own and own[0] is not type(layer):
            what = (
                f"a subclass of {own[0].__name__}, which may compute something else. If it does "
                "not, define `plain_layer`; see `keras_lc.layers.OwnKernel`"
            )
            left[path] = f"{path} ({type(layer).__name__}: {what})"
        elif own:
            left[path] = f"{path} ({type(layer).__name__})"
    if left:
        raise ValueError(
            f"These layers of model '{model.name}' need keras_lc but cannot be folded: "
            f"{', '.join(text for _, text in sorted(left.items()))}."
        )
