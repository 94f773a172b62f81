"""Weights of published PyTorch networks for the networks of `keras_lc.models`."""

import collections
import dataclasses
import json
import math
import os
import pathlib
import pickle
from collections.abc import Callable, Mapping

import keras
import numpy as np

from keras_lc.layers import PositionEmbedding
from keras_lc.layers.own_kernel import computes_kernel
from keras_lc.listed import listed
from keras_lc.models.ends import HEAD_LAYERS
from keras_lc.models.torch_names import EPSILONS, NAMINGS
from keras_lc.models.torch_networks import classes_of, looks_like

# Wrappers of models put these before all names.
_PREFIXES = ("module.", "_orig_mod.", "model.")

# From PyTorch's layout to Keras'.
_KERNEL = (2, 3, 1, 0)
_DEPTHWISE_KERNEL = (2, 3, 0, 1)
_MATRIX = (1, 0)
_VECTOR = (0,)


def load_torch_weights(
    model: keras.Model,
    state_dict: Mapping | str | os.PathLike,
    *,
    key: str | None = None,
    prefix: str | None = None,
    head: bool = True,
) -> None:
    """Loads the weights of a network's PyTorch original.

    The function supports networks with learned or frozen convolutions:

    - `keras_lc.ResNet`: weights of torchvision; of timm for the variant "d"; of
      https://github.com/naver-ai/PfLayer for max-pools and hybrids.
    - `keras_lc.ViT`, `keras_lc.PiT`: weights of PfLayer.
    - `keras_lc.MobileNetV2`, `keras_lc.MobileNetV3Large`: weights of torchvision, and of timm but
      for its networks named `tf_…`, which pad images in another way. With timm's weights, the
      batch normalization of the model gets timm's epsilon.
    - `keras_lc.CIFARResNet`, and the others with `low_resolution=True`: weights of the LC paper's
      authors (https://github.com/paulgavrikov/tinytorchtrainer).

    The model and the state dict must match completely; only `num_batches_tracked` is ignored. If
    a position embedding is for images of another size, it is resampled.

    Build the network with the `mean` and `std` that the weights were trained with. The defaults
    are ImageNet's, and CIFAR-10's for small images.

    Args:
        model: A network of `keras_lc.models`. It does not change if an error is raised.
        state_dict: Mapping from names to PyTorch tensors or NumPy arrays, such as the result of
            `torch.load(path)`. It can be inside other mappings, as in a checkpoint. All names can
            begin with `module.`, `_orig_mod.` or `model.`. Or the path of a file: a safetensors
            file if it ends in `.safetensors`, otherwise a PyTorch file, which needs PyTorch. Only
            tensors are read from the file; no code runs.
        key: String, the name of one state dict in a checkpoint with several, such as
            `"model_ema"`. Use dots for nested ones, such as `"ema.state_dict"`.
        prefix: String, the beginning of the names of the network's weights, such as
            `"backbone."`. All other names are ignored.
        head: Boolean, whether to load the dense layers after the global pooling too. If `False`,
            these layers do not change, and names of modules that the rest of the network does not
            have are ignored. Use it for weights with other classes or without a head.

    Raises:
        TypeError: If `state_dict` is neither a path nor a mapping of names to arrays.
        ValueError: If a name is missing or unexpected, or a shape differs. If there are several
            state dicts and `key` names none of them. If the file is damaged or contains other
            objects than tensors. If the model has LC layers, or layers from outside
            `keras_lc.models`.
        ImportError: If the file needs PyTorch, and PyTorch is not installed.

    Example:

    >>> model = keras_lc.ResNet(18)
    >>> try:
    ...     keras_lc.load_torch_weights(model, {"state_dict": {"module.fc.bias": np.zeros(1000)}})
    ... except ValueError as error:
    ...     print(str(error)[:40])
    The weights do not fit model 'resnet_18'
    """
    _refuse_lc(model)
    if isinstance(state_dict, str | os.PathLike):
        state_dict = _read(pathlib.Path(state_dict).expanduser())
    whole = given = _without_wrappers(_choose(state_dict, key))
    if prefix is not None:
        whole = given = _with_prefix(given, f"{prefix.rstrip('.')}.")
    naming, wanted = _closest_naming(model, given, head)
    if not head:
        modules = {_module(name) for name in wanted}
        given = {name: value for name, value in given.items() if _module(name) in modules}
    _check_fit(given, naming, wanted, model, whole)
    # Read all tensors before the first assignment, so an error leaves the model unchanged.
    assignments = [
        pair for name, place in wanted.items() for pair in place.assignments(_to_numpy(given[name]))
    ]
    for variable, value in assignments:
        variable.assign(value)
    for place in wanted.values():
        if naming in EPSILONS and isinstance(place.layer, keras.layers.BatchNormalization):
            place.layer.epsilon = EPSILONS[naming]


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where one of PyTorch's tensors belongs.

    Args:
        layer: The layer.
        shape: Tuple of integers, the shape of the tensor in PyTorch.
        assignments: Function that takes the tensor as an array and returns pairs of our variables
            and their values.
    """

    layer: keras.layers.Layer
    shape: tuple[int, ...]
    assignments: Callable[[np.ndarray], list]

    def takes(self, shape):
        # A dense layer can be a 1×1 convolution there.
        return shape in (self.shape, (*self.shape, 1, 1))


def _refuse_lc(model):
    lc = [layer.name for layer in model.layers if computes_kernel(layer)]
    if lc:
        raise ValueError(
            "`model` must not have layers whose kernels are products. Model "
            f"'{model.name}' has: {listed(lc)}. First load the weights into a network with "
            "`spatial='learned'`, then convert it with "
            "`keras_lc.to_lc(model, expansion, keep_kernels=True)`."
        )


def _check_fit(given, naming, wanted, model, whole):
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [
        name
        for name, place in wanted.items()
        if name in given and not place.takes(tuple(given[name].shape))
    ]
    if not (missing or unexpected or reshaped):
        return
    described = [
        f"{name} {tuple(given[name].shape)} where {wanted[name].shape} is needed"
        for name in reshaped
    ]
    problems = [
        f"{title}: {listed(names)}."
        for title, names in (
            ("Missing", missing),
            ("Unexpected", unexpected),
            ("Of another shape", described),
        )
        if names
    ]
    raise ValueError(
        f"The weights do not fit model '{model.name}' as {naming}; the model was not changed. "
        f"{' '.join(problems)}"
        f"{_advice(given, wanted, {*missing, *unexpected, *reshaped}, model, whole)}"
    )


def _advice(given, wanted, problems, model, whole):
    """Returns sentences about the network of the weights, or the argument that helps, or `""`."""
    heads = {name for name, place in wanted.items() if _is_head(place.layer)}
    bodies = {_module(name) for name in wanted.keys() - heads}
    if all(_module(name) not in bodies for name in problems):
        theirs, ours = classes_of(whole), model.output_shape[-1]
        others = f" The weights are for {theirs} classes, the model for {ours}."
        return (
            others if theirs not in (None, ours) else ""
        ) + " Pass `head=False` to load all but the head."
    if (network := looks_like(whole)) not in (None, looks_like(wanted)):
        return f" The weights look like those of {network}."
    found = collections.Counter(
        name.removesuffix(own) for own in wanted for name in given if name.endswith(f".{own}")
    )
    # A name such as bn1.weight also ends the names within blocks.
    prefixes = [prefix for prefix, count in found.items() if 2 * count > len(wanted)]
    if not prefixes:
        return ""
    return (
        f" Pass `prefix={listed(map(repr, prefixes), ' or prefix=')}` to take the names after it."
    )


def _read(path):
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"To read {path}, install PyTorch: pip install torch") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is damaged, or holds other objects than tensors. Such objects can run any "
            "code when they are read. If you trust the file, pass the result of "
            "`torch.load(path, weights_only=False)`, or its `state_dict()`."
        ) from error
    # For a damaged file, PyTorch raises many errors: RuntimeError, EOFError, KeyError, …
    except Exception as error:
        raise ValueError(f"{path} is damaged or not a PyTorch file: {error}") from error


# From safetensors' names. Its numbers are little-endian. NumPy has no BF16: see below.
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def _read_safetensors(path):
    """Reads a safetensors file: a length, a JSON header, and bytes."""
    content = path.read_bytes()
    try:
        begin = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:begin])
        header.pop("__metadata__", None)
        data, tensors, end = memoryview(content)[begin:], {}, 0
        for name, entry in header.items():
            dtype, (first, last) = np.dtype(_DTYPES[entry["dtype"]]), entry["data_offsets"]
            if first < 0 or last - first != dtype.itemsize * math.prod(entry["shape"]):
                raise ValueError(f"the number of bytes of {name} does not fit its shape")
            values = np.frombuffer(data[first:last], dtype).reshape(entry["shape"])
            if entry["dtype"] == "BF16":
                # The upper half of a float32.
                values = (values.astype("uint32") << 16).view("float32")
            tensors[name], end = values, max(end, last)
        if len(data) != end:
            raise ValueError(f"{end:,} bytes of weights expected, {len(data):,} found")
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    return tensors


def _choose(given, key):
    """Returns the state dict in the given mapping. `key` chooses among several."""
    if not isinstance(given, Mapping):
        raise _not_a_state_dict(given)
    found = {} if _holds_arrays(given) else dict(_state_dicts(given))
    if key is not None:
        if key not in found:
            there = listed(map(repr, found)) or "only names of weights"
            raise ValueError(f"`key` must name a state dict. There are {there}. Received: {key!r}")
        return found[key]
    if len(found) > 1:
        raise ValueError(
            f"There are several state dicts: {listed(map(repr, found))}. Pass one of them as `key`."
        )
    if not found and not _holds_arrays(given):
        raise _not_a_state_dict(given)
    return next(iter(found.values()), given)


def _state_dicts(given, above=""):
    """Yields the names and values of all state dicts in a mapping."""
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, Mapping):
            continue
        # An optimizer's moments have no dots in their names.
        if _holds_arrays(value) and any("." in inner for inner in value):
            yield above + name, value
        else:
            yield from _state_dicts(value, f"{above}{name}.")


def _holds_arrays(given):
    return all(isinstance(name, str) and hasattr(v, "shape") for name, v in given.items())


def _not_a_state_dict(given):
    return TypeError(
        "`state_dict` must map names to PyTorch tensors or NumPy arrays, like "
        f"`module.state_dict()`, or be a path. Received: {_describe(given)}"
    )


def _describe(given):
    if not isinstance(given, Mapping):
        return type(given).__name__
    others = [name for name, value in given.items() if not hasattr(value, "shape")]
    return f"a mapping with values that are not arrays: {listed(map(repr, others))}"


def _without_wrappers(state_dict):
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


def _with_prefix(given, prefix):
    kept = {n.removeprefix(prefix): value for n, value in given.items() if n.startswith(prefix)}
    # A prefix that all names have was already removed.
    if not kept and prefix not in _PREFIXES:
        raise ValueError(f"No name begins with prefix={prefix!r}. There are {listed(given)}.")
    return _without_wrappers(kept) if kept else given


def _module(name):
    return name.partition(".")[0]


def _closest_naming(model, given, head):
    """Returns the naming that fits the given names best, and its places `{name: place}`.

    Only networks that have all layers of the model are considered.
    """
    layers = [
        layer for layer in model.layers if _holds_weights(layer) and (head or not _is_head(layer))
    ]
    names = {layer.name for layer in model.layers}
    candidates, unnamed = {}, {}
    for title, naming in NAMINGS.items():
        modules = {layer: naming(layer.name, names) for layer in layers}
        nameless = [layer.name for layer, module in modules.items() if module is None]
        if nameless:
            unnamed[title] = nameless
            continue
        candidates[title] = {
            ".".join(filter(None, (module, part))): place
            for layer, module in modules.items()
            for part, place in _parts(layer).items()
        }
    if not candidates:
        title = min(unnamed, key=lambda title: len(unnamed[title]))
        raise ValueError(
            "Only the networks of `keras_lc.models` have counterparts in PyTorch. These layers of "
            f"model '{model.name}' do not exist in {title}: {listed(unnamed[title])}."
        )
    title = min(candidates, key=lambda title: len(candidates[title].keys() ^ given.keys()))
    return title, candidates[title]


def _holds_weights(layer):
    # The statistics of the images are not weights.
    return bool(layer.weights) and not isinstance(layer, keras.layers.Normalization)


def _is_head(layer):
    return layer.name in HEAD_LAYERS


def _parts(layer):
    """Returns the places of a layer's tensors, by their names in the PyTorch module."""
    if isinstance(layer, keras.layers.MultiHeadAttention):
        return _attention(layer)
    if isinstance(layer, PositionEmbedding):
        return {"": _Positions.of(layer)}
    if isinstance(layer, keras.layers.BatchNormalization | keras.layers.LayerNormalization):
        variables = {"weight": layer.gamma, "bias": layer.beta}
        if isinstance(layer, keras.layers.BatchNormalization):
            variables |= {"running_mean": layer.moving_mean, "running_var": layer.moving_variance}
        return {name: _transposed(layer, v, _VECTOR) for name, v in variables.items()}
    axes = _KERNEL
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        axes = _DEPTHWISE_KERNEL
    elif isinstance(layer, keras.layers.Dense):
        axes = _MATRIX
    parts = {"weight": _transposed(layer, layer.kernel, axes)}
    return (
        parts if layer.bias is None else parts | {"bias": _transposed(layer, layer.bias, _VECTOR)}
    )


def _transposed(layer, variable, axes):
    shape = [0] * len(axes)
    for size, axis in zip(variable.shape, axes, strict=True):
        shape[axis] = size
    shape = tuple(shape)
    return _Place(
        layer, shape, lambda values: [(variable, np.transpose(values.reshape(shape), axes))]
    )


def _attention(layer):
    """Returns the places for self-attention. PyTorch's one layer holds query, key and value."""
    projections = [layer.query_dense, layer.key_dense, layer.value_dense]
    output = layer.output_dense
    channels = output.kernel.shape[-1]

    def split_among(variables):
        return lambda values: [
            (variable, part.T.reshape(variable.shape))
            for variable, part in zip(variables, np.split(values, 3), strict=True)
        ]

    kernels, biases = zip(*((dense.kernel, dense.bias) for dense in projections), strict=True)
    return {
        "qkv.weight": _Place(layer, (3 * channels, channels), split_among(kernels)),
        "qkv.bias": _Place(layer, (3 * channels,), split_among(biases)),
        "proj.weight": _Place(
            layer,
            (channels, channels),
            lambda values: [(output.kernel, values.T.reshape(output.kernel.shape))],
        ),
        "proj.bias": _transposed(layer, output.bias, _VECTOR),
    }


@dataclasses.dataclass(frozen=True)
class _Positions(_Place):
    """A position embedding of any size, which is resampled. ViT stores it without rows."""

    @classmethod
    def of(cls, layer):
        height, width, channels = layer.embedding.shape

        def assignments(values):
            if values.ndim == 4:
                return [(layer.embedding, layer.resampled(values[0].transpose(1, 2, 0)))]
            places = values.shape[1]
            side = math.isqrt(places)
            size = (height, width) if places == height * width else (side, side)
            return [(layer.embedding, layer.resampled(values.reshape(*size, channels)))]

        return cls(layer, (1, height * width, channels), assignments)

    def takes(self, shape):
        if len(shape) == 4:
            return shape[:2] == (1, self.shape[-1])
        return (
            len(shape) == 3
            and shape == (1, shape[1], self.shape[-1])
            and (shape[1] == self.shape[1] or math.isqrt(shape[1]) ** 2 == shape[1])
        )


def _to_numpy(value):
    # A PyTorch tensor on any device. NumPy has no bfloat16.
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, "float32")
