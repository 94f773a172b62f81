"""Estimate the memory of training from shapes alone: which networks fit on a device?

    python -m benchmarks.memory_plan --depth 18 --variant d --expansions 8 64 128 \
        --batch-sizes 256 512 --slots 2 --precision mixed --device-memory-gib 40

It builds only the plain network, even if the others are large. It is an estimate: a framework also
holds temporary tensors, which differ by backend. Writes JSON to --output.
"""

import dataclasses
import math
import pathlib
import re
from typing import Literal

import keras
import tyro

from benchmarks import networks
from benchmarks.measure import RESULTS, write

FORMS = ("plain", "full", "compact", "learnable", "two-layer", "two-layer-learnable")
_FLOAT = 4
_NAME = re.compile(rf"({'|'.join(FORMS)})(?:-x(\d+))?")
# The gradient of these needs no feature map.
_LINEAR = tuple(
    getattr(keras.layers, name)
    for name in "InputLayer Normalization ZeroPadding2D Add AveragePooling2D "
    "GlobalAveragePooling2D".split()
)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to plan."""

    network: Literal["resnet", "cifar"] = "resnet"
    """resnet: keras_lc.ResNet; cifar: keras_lc.CIFARResNet."""
    depth: int = 18
    """Number of layers of the ResNet."""
    variant: str | None = None
    """Variant of the ResNet: d, next or wide."""
    width: int = 64
    """Channels of the first stage; the paper's CIFAR networks have 16."""
    image_size: int = 224
    """Height and width of the images in pixels."""
    expansions: tuple[int, ...] = (8, 64, 128)
    """Random filters per output channel."""
    batch_sizes: tuple[int, ...] = (256,)
    """Images in one step on one device."""
    slots: int = 1
    """Numbers of optimizer state for each trained number: SGD with momentum 1, LAMB 2."""
    precision: Literal["float32", "mixed"] = "float32"
    """mixed: feature maps with two bytes for each number."""
    device_memory_gib: float = 40.0
    """Memory of the device in GiB."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""


def main(arguments):
    size = (arguments.depth, arguments.width, arguments.image_size)
    plain = networks.make("plain", *size, arguments.network, arguments.variant)
    activation_bytes = 2 if arguments.precision == "mixed" else _FLOAT
    names = ["plain"] + [f"{form}-x{e}" for e in arguments.expansions for form in FORMS[1:]]
    rows = {}
    print(f"{plain.name}, {arguments.image_size} pixels: estimated GiB on one device")
    for batch_size in arguments.batch_sizes:
        for name in names:
            row = training_memory(plain, name, batch_size, arguments.slots, activation_bytes)
            row["fits"] = row["total"] <= arguments.device_memory_gib * 2**30
            rows[f"{name}, batch {batch_size}"] = row
            fits = "" if row["fits"] else f"  more than {arguments.device_memory_gib:g}"
            print(f"  {name:24} batch {batch_size:5}  {row['total'] / 2**30:9.2f}{fits}")
    print(write("benchmarks.memory_plan", arguments, rows, arguments.output))


def training_memory(
    plain: keras.Model, name: str, batch_size: int, slots: int = 1, activation_bytes: int = 4
) -> dict[str, int]:
    """Estimates the memory of training, in bytes.

    It counts all convolutions from the shapes of the plain network. With n numbers in a filter
    (k² · channels), f filters and r = f · expansion filters in the basis, a spatial convolution
    holds:

    - plain: the kernel, n · f, trained;
    - full, learnable: the basis, n · r, the combination, r · f, and their product, n · f;
    - compact: the same, with n instead of r if n is less;
    - two-layer: the basis, the combination, and an additional feature map with r channels.

    Args:
        plain: The network with learned convolutions, built, each layer called once.
        name: String: `"plain"`, or a form and an expansion, such as `"learnable-x8"`.
        batch_size: Integer, the images in one step.
        slots: Integer, the numbers of optimizer state for each trained number.
        activation_bytes: Integer, the bytes of a number in a feature map.

    Returns:
        A dict of bytes: `parameters` (trained), `frozen`, `optimizer`, `gradients`, `activations`
        (the feature maps that gradients need) and their `total`.
    """
    match = _NAME.fullmatch(name)
    if match is None or (match[1] == "plain") != (match[2] is None):
        raise ValueError(
            f"`name` must be 'plain', or one of {FORMS[1:]} and an expansion, such as "
            f"'full-x8'. Received: name={name!r}"
        )
    form, expansion = match[1], int(match[2] or 1)
    parts = [_numbers(layer, form, expansion) for layer in plain.layers]
    trained, frozen, product, between = map(sum, zip(*parts, strict=True))
    kept = {id(tensor): tensor for layer in plain.layers for tensor in _kept(layer)}
    maps = between + sum(math.prod(tensor.shape[1:]) for tensor in kept.values())
    memory = {
        "parameters": _FLOAT * trained,
        "frozen": _FLOAT * frozen,
        "optimizer": _FLOAT * slots * trained,
        "gradients": _FLOAT * trained,
        "activations": activation_bytes * batch_size * maps + _FLOAT * product,
    }
    return {**memory, "total": sum(memory.values())}


def _numbers(layer, form, expansion):
    """Returns how many numbers are trained, frozen, in a product, and between two convolutions."""
    trained = sum(math.prod(v.shape) for v in layer.trainable_weights)
    frozen = sum(math.prod(v.shape) for v in layer.non_trainable_weights)
    is_spatial = isinstance(layer, keras.layers.Conv2D) and layer.kernel_size != (1, 1)
    if form == "plain" or not is_spatial:
        return trained, frozen, 0, 0
    filters, in_filter = layer.filters, math.prod(layer.kernel.shape[:-1])
    # Each group of output channels mixes only its own basis filters.
    rank = filters * expansion
    if form == "compact":
        rank = min(rank, in_filter * layer.groups)
    basis, combination = in_filter * rank, rank // layer.groups * filters
    trained += combination - in_filter * filters
    if form.endswith("learnable"):
        trained += basis
    else:
        frozen += basis
    if form.startswith("two-layer"):
        return trained, frozen, 0, math.prod(layer.output.shape[1:]) // filters * rank
    return trained, frozen, in_filter * filters, 0


def _kept(layer):
    """Returns the feature maps that a layer's gradient needs."""
    if isinstance(layer, keras.layers.ReLU):
        return [layer.output]
    inputs = [] if isinstance(layer, _LINEAR) else keras.tree.flatten(layer.input)
    return [*inputs, layer.output] if isinstance(layer, keras.layers.MaxPooling2D) else inputs


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
