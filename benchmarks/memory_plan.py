"""Estimate the peak memory of training from shapes alone: which networks fit on a device?

    python -m benchmarks.memory_plan --depth 18 --variant d --expansions 8 64 128 \
        --batch-sizes 256 512 --optimizer lamb --precision mixed --device-memory-gib 40

It builds only the plain network, even if the others are large, and follows a training step through
it: see `training_memory`. The estimate is for one device with a whole model and `--batch-sizes`
images. With `--measure`, it also measures steps in separate processes. Writes JSON to --output.
"""

import dataclasses
import pathlib
import re
from typing import Literal

import keras
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import networks
from benchmarks.liveness import peak_of_step
from benchmarks.measure import RESULTS, in_child, write
from recipes.common.command_line import command_words

FORMS = ("plain", "full", "compact", "learnable", "two-layer", "two-layer-learnable")
_SLOTS = {"sgd": 1, "lamb": 2}
_FLOAT = 4
_NAME = re.compile(rf"({'|'.join(FORMS)})(?:-x(\d+))?")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to plan."""

    network: Literal["resnet", "cifar"] = "resnet"
    """resnet: keras_lc.ResNet; cifar: keras_lc.CIFARResNet."""
    depth: int = 18
    variant: str | None = None
    """Variant of the ResNet: d, next or wide."""
    width: int = 64
    """Channels of the first stage; the paper's CIFAR networks have 16."""
    image_size: int = 224
    """Height and width of the images in pixels."""
    expansions: tuple[int, ...] = (8, 64, 128)
    """Random filters per output channel."""
    forms: tuple[str, ...] = FORMS
    """plain; full and compact (both frozen); learnable; two-layer and two-layer-learnable: a wide
    convolution and then a 1x1 convolution, as in the paper's code."""
    batch_sizes: tuple[int, ...] = (256,)
    """Images in one step on one device."""
    optimizer: Literal["sgd", "lamb"] = "sgd"
    """sgd with momentum, or lamb. The state of lamb is twice as large."""
    precision: Literal["float32", "mixed"] = "float32"
    """mixed: feature maps with two bytes for each number."""
    device_memory_gib: float = 40.0
    measure: bool = False
    """Also train a few steps of each network, and compare (sgd, float32)."""
    output: pathlib.Path = RESULTS


def main(arguments):
    rows = {}
    plain = network(arguments)
    for batch_size in arguments.batch_sizes:
        for name in names(arguments):
            plan = training_memory(
                plain,
                name,
                batch_size,
                slots=_SLOTS[arguments.optimizer],
                activation_bytes=2 if arguments.precision == "mixed" else _FLOAT,
                copies=_copies(arguments.optimizer),
                eager=keras.backend.backend() == "torch",
                kernel_copies=KERNEL_COPIES[keras.backend.backend()],
            )
            plan["fits"] = plan["peak"] <= arguments.device_memory_gib * 2**30
            if arguments.measure:
                plan |= _measured(arguments, name, batch_size)
                plan["ratio"] = plan["peak"] / plan["measured"]
            rows[f"{name}, batch {batch_size}"] = plan
    _print(arguments, plain, rows)
    print(write("benchmarks.memory_plan", arguments, rows, arguments.output))


def names(arguments):
    """Returns the networks to plan: each form at each expansion, such as `"full-x8"`."""
    for form in arguments.forms:
        if form not in FORMS:
            raise SystemExit(f"--forms must be of {FORMS}. Received: {form}")
    found = ["plain"] if "plain" in arguments.forms else []
    return found + [
        f"{form}-x{expansion}"
        for expansion in arguments.expansions
        for form in arguments.forms
        if form != "plain"
    ]


def network(arguments) -> keras.Model:
    return networks.make(
        "plain",
        arguments.depth,
        arguments.width,
        arguments.image_size,
        arguments.network,
        arguments.variant,
    )


#: Number of copies of all gradients that an update makes, by backend. PyTorch makes two new lists:
#: gradients with decay, then with Nesterov momentum. TensorFlow updates the variables one by one,
#: but keeps all gradients until then. XLA uses each gradient at once, and keeps none.
UPDATE_COPIES = {"torch": 2, "tensorflow": 0, "jax": None}
#: Number of additional copies of each kernel in a step, from measurements: XLA transposes and
#: differentiates all kernels before it updates any.
KERNEL_COPIES = {"torch": 2, "tensorflow": 1, "jax": 2}


def _copies(optimizer):
    # LAMB clips the norm of all gradients together, so it needs all of them before the update.
    return 0 if optimizer == "lamb" else UPDATE_COPIES[keras.backend.backend()]


def training_memory(
    plain: keras.Model,
    name: str,
    batch_size: int,
    slots: int = 1,
    activation_bytes: int = 4,
    copies: int | None = None,
    eager: bool = False,
    kernel_copies: int = 2,
) -> dict[str, int]:
    """Estimates the peak memory of training, in bytes.

    It counts all convolutions from the shapes of the plain network. With n numbers in a filter
    (k² · channels), f filters and r = f · expansion filters in the basis, a spatial convolution
    holds:

    - plain: the kernel, n · f, trained;
    - full, learnable: the basis, n · r, the combination, r · f, and their product, n · f, from
      the forward pass to the backward pass;
    - compact: the same, with n instead of r if n is less;
    - two-layer: the basis, the combination, and an additional feature map with r channels.

    Each trained number also has a gradient and `slots` numbers of the optimizer's state.
    `benchmarks.liveness` explains how long feature maps live.

    Args:
        plain: The network with learned convolutions, built.
        name: String: `"plain"`, or a form and an expansion, such as `"learnable-x8"`.
        batch_size: Integer, the images in one step.
        slots: Integer, the numbers of optimizer state for each trained number.
        activation_bytes: Integer, the bytes of a number in a feature map. Below 4, the step also
            holds its kernels in this precision.
        copies: Integer, the additional copies of all gradients in the update, if all gradients
            live until then. `None` if each gradient is used at once.
        eager: Boolean, whether each operation keeps the inputs of its gradient, as under PyTorch.
        kernel_copies: Integer, the number of additional copies of each kernel in a step.

    Returns:
        A dict of bytes: `parameters` (trained), `frozen`, `optimizer`, `gradients`, `activations`
        (with the input and everything for the backward pass), `workspace` (products of basis and
        combination, and copies of kernels) and `peak`. The peak is less than their sum if they are
        not all needed at the same time.
    """
    match = _NAME.fullmatch(name)
    if match is None or (match[1] == "plain") != (match[2] is None):
        raise ValueError(
            f"`name` must be 'plain', or one of {FORMS[1:]} and an expansion, such as "
            f"'full-x8'. Received: name={name!r}"
        )
    form, expansion = match[1], int(match[2] or 1)
    parts = {layer.name: _numbers(layer, form, expansion) for layer in plain.layers}
    trained = sum(part.trained for part in parts.values())
    frozen = sum(part.frozen for part in parts.values())
    step = peak_of_step(
        plain, parts, batch_size, activation_bytes, copies is not None, eager, kernel_copies
    )
    state = _FLOAT * ((1 + slots) * trained + frozen)
    updating = _FLOAT * trained * (1 + copies) if copies is not None else 0
    return {
        "parameters": _FLOAT * trained,
        "frozen": _FLOAT * frozen,
        "optimizer": _FLOAT * slots * trained,
        "gradients": _FLOAT * trained,
        "activations": step["activations"],
        "workspace": step["workspace"],
        "peak": state + max(step["peak"], updating),
    }


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The number of numbers that one layer holds.

    Args:
        trained, frozen: Integers, in its variables.
        product: Integer, in the kernel that it computes from its variables; 0 if the kernel is a
            variable.
        channels_between: Integer, in the feature map between its two convolutions, or 0.
        kernel: Integer, in the kernels of its convolutions.
    """

    trained: int
    frozen: int
    product: int = 0
    channels_between: int = 0
    kernel: int = 0


def _numbers(layer, form, expansion):
    trained, frozen = (
        sum(int(np.prod(v.shape)) for v in variables)
        for variables in (layer.trainable_weights, layer.non_trainable_weights)
    )
    if not isinstance(layer, keras.layers.Conv2D):
        return Numbers(trained, frozen)
    filters = layer.filters
    in_filter = int(np.prod(layer.kernel.shape[:-1]))
    kernel = in_filter * filters
    if form == "plain" or layer.kernel_size == (1, 1):
        return Numbers(trained, frozen, kernel=kernel)
    # Each group of output channels mixes only its own basis filters.
    rank = filters * expansion
    if form == "compact":
        rank = min(rank, in_filter * layer.groups)
    basis, combination = in_filter * rank, rank // layer.groups * filters
    rest = trained - kernel
    is_trained = form.endswith("learnable")
    trained, frozen = (
        rest + combination + is_trained * basis,
        frozen + (not is_trained) * basis,
    )
    if form.startswith("two-layer"):
        return Numbers(trained, frozen, channels_between=rank, kernel=basis + combination)
    return Numbers(trained, frozen, product=kernel, kernel=kernel)


def _print(arguments, plain, rows):
    table = Table(title=f"{plain.name}, {plain.input_shape[1]} pixels, GiB on one device")
    columns = ["parameters", "frozen", "optimizer", "gradients", "activations", "workspace", "peak"]
    table.add_column("network")
    for column in columns:
        table.add_column(column, justify="right")
    table.add_column(f"fits {arguments.device_memory_gib:g} GiB")
    if arguments.measure:
        table.add_column("measured", justify="right")
        table.add_column("planned / measured", justify="right")
    for name, row in rows.items():
        cells = [f"{row[column] / 2**30:.2f}" for column in columns]
        cells.append("yes" if row["fits"] else "no")
        if arguments.measure:
            cells += [f"{row['measured'] / 2**30:.2f}", f"{row['ratio']:.2f}"]
        table.add_row(name, *cells)
    Console(width=150).print(table)


def _measured(arguments, name, batch_size):
    """Returns what `benchmarks.memory` measures for the same network."""
    fields = ("network", "depth", "width", "variant", "image_size")
    settings = {field: getattr(arguments, field) for field in fields}
    options = command_words({**settings, "batch_size": batch_size})
    child = in_child("benchmarks.memory", "--child", "--names", name, *options)
    return {"measured": child["peak"]}


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
