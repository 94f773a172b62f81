"""Weights of PyTorch's published networks, for those of `keras_lc.models`."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_lc.layers import GramLimitConv2D, LCBlock, LCConv2D
from keras_lc.surgery.torch_names import NAMINGS

# What a file of weights may be wrapped in, and what wrappers of models put before all names.
_KEYS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")

# From PyTorch's layout to Keras'.
_KERNEL = (2, 3, 1, 0)
_DEPTHWISE_KERNEL = (2, 3, 0, 1)
_MATRIX = (1, 0)
_VECTOR = (0,)


def load_torch_weights(model: keras.Model, state_dict: Mapping) -> None:
    """Gives a network the weights of its PyTorch original.

    For `keras_lc.ResNet` (torchvision's names; timm's for the variant "d"; those of
    https://github.com/naver-ai/PfLayer for max-pools and hybrids), `keras_lc.MobileNetV2` and
    `keras_lc.MobileNetV3Large` (torchvision's), with learned or frozen convolutions. Every number
    of the model and of the state dict must have its place in the other; `num_batches_tracked`
    alone is left out.

    Build the network with the statistics that the weights were trained with: ImageNet's are the
    default.

    Args:
        model: A network of `keras_lc.models`. It is changed, or, if an error is raised, not at
            all.
        state_dict: Mapping from names to PyTorch tensors or NumPy arrays, as of
            `torch.load(path)`; also within `"state_dict"`, `"model_state_dict"` or `"model"`, and
            with `module.`, `_orig_mod.` or `model.` before all names.

    Raises:
        TypeError: If `state_dict` is no mapping of names to arrays.
        ValueError: If a name is missing or unexpected, or a shape is another: all are listed. If
            the model has LC layers, or layers that are not of `keras_lc.models`.

    Example:

    >>> model = keras_lc.ResNet(18)
    >>> try:
    ...     keras_lc.load_torch_weights(model, {"state_dict": {"module.fc.bias": np.zeros(1000)}})
    ... except ValueError as error:
    ...     print(str(error)[:58])
    These weights are not those of torchvision's ResNet of mod
    """
    _refuse_lc(model)
    given = _unwrap(state_dict)
    naming, wanted = _closest_naming(model, given)
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [
        f"{name} {tuple(given[name].shape)} where {shape} is needed"
        for name, (_, _, shape) in wanted.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    problems = [
        f"{title}: {', '.join(names)}."
        for title, names in (
            ("Missing", missing),
            ("Unexpected", unexpected),
            ("Of another shape", reshaped),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f"These weights are not those of {naming} of model '{model.name}', which stays as it "
            f"was. {' '.join(problems)}"
        )
    # All are read before the first is assigned.
    values = {
        name: np.transpose(_to_numpy(given[name]), axes) for name, (_, axes, _) in wanted.items()
    }
    for name, (variable, _, _) in wanted.items():
        variable.assign(values[name])


_PRODUCTS = (LCConv2D, LCBlock, GramLimitConv2D)


def _refuse_lc(model):
    lc = [layer.name for layer in model.layers if isinstance(layer, _PRODUCTS)]
    if lc:
        raise ValueError(
            f"Model '{model.name}' has layers whose kernels are products: {', '.join(lc)}. "
            "Load the weights into the network with `spatial='learned'`, and convert it with "
            "`keras_lc.to_lc(model, expansion, keep_kernels=True)`."
        )


def _unwrap(state_dict):
    while isinstance(state_dict, Mapping):
        inner = [key for key in _KEYS if isinstance(state_dict.get(key), Mapping)]
        if not inner:
            break
        state_dict = state_dict[inner[0]]
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(name, str) and hasattr(value, "shape") for name, value in state_dict.items()
    ):
        raise TypeError(
            "`state_dict` must map names to PyTorch tensors or NumPy arrays, as of "
            f"`module.state_dict()`. Received: {_describe(state_dict)}"
        )
    weights = {
        name: value
        for name, value in state_dict.items()
        if not name.endswith("num_batches_tracked")
    }
    while weights:
        common = [p for p in _PREFIXES if all(name.startswith(p) for name in weights)]
        if not common:
            break
        weights = {name.removeprefix(common[0]): value for name, value in weights.items()}
    return weights


def _describe(state_dict):
    if not isinstance(state_dict, Mapping):
        return type(state_dict).__name__
    others = [name for name, value in state_dict.items() if not hasattr(value, "shape")]
    return f"a mapping that holds {others} beside arrays"


def _closest_naming(model, given):
    """Returns the naming that leaves the fewest names over, and what it says.

    Of the networks that have all layers of the model, that is: `{name: (variable, axes, shape)}`,
    with the shape and the order of the axes in PyTorch.
    """
    layers = [layer for layer in model.layers if _holds_weights(layer)]
    names = {layer.name for layer in model.layers}
    candidates, unnamed = {}, {}
    for title, naming in NAMINGS.items():
        modules = {layer: naming(layer.name, names) for layer in layers}
        nameless = [layer.name for layer, module in modules.items() if module is None]
        if nameless:
            unnamed[title] = nameless
            continue
        candidates[title] = {
            f"{module}.{part}": (variable, axes, _shape_in_torch(variable, axes))
            for layer, module in modules.items()
            for part, variable, axes in _parts(layer)
        }
    if not candidates:
        title = min(unnamed, key=lambda title: len(unnamed[title]))
        raise ValueError(
            "Only the networks of `keras_lc.models` have counterparts in PyTorch. These layers of "
            f"model '{model.name}' have none in {title}: {', '.join(unnamed[title])}."
        )
    title = min(candidates, key=lambda title: len(candidates[title].keys() ^ given.keys()))
    return title, candidates[title]


def _holds_weights(layer):
    # The statistics of images are not weights.
    return bool(layer.weights) and not isinstance(layer, keras.layers.Normalization)


def _parts(layer):
    """Returns PyTorch's name, our variable and the order of PyTorch's axes, for each weight."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [
            ("weight", layer.gamma, _VECTOR),
            ("bias", layer.beta, _VECTOR),
            ("running_mean", layer.moving_mean, _VECTOR),
            ("running_var", layer.moving_variance, _VECTOR),
        ]
    axes = _KERNEL
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        axes = _DEPTHWISE_KERNEL
    elif isinstance(layer, keras.layers.Dense):
        axes = _MATRIX
    parts = [("weight", layer.kernel, axes)]
    return parts if layer.bias is None else [*parts, ("bias", layer.bias, _VECTOR)]


def _shape_in_torch(variable, axes):
    shape = [0] * len(axes)
    for size, axis in zip(variable.shape, axes, strict=True):
        shape[axis] = size
    return tuple(shape)


def _to_numpy(value):
    # PyTorch's tensors, wherever they are; bfloat16 has no counterpart in NumPy.
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, "float32")
