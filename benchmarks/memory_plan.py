"""Which networks fit: the peak memory of training, from shapes alone.

    python -m benchmarks.memory_plan --depth 18 --variant d --expansions 8 64 128 \
        --batch-sizes 256 512 --optimizer lamb --precision mixed --device-memory-gib 40

Builds only the plain network, however large the others are, and follows a training step through
it: see `training_memory`. Per device, which holds a whole model and `--batch-sizes` images.
Writes JSON to --output. `--measure` compares with what a step takes, in processes of their own.
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
    """keras_lc.ResNet, or keras_lc.CIFARResNet."""
    depth: int = 18
    variant: str | None = None
    """Of the ResNet: d, next, wide."""
    width: int = 64
    """Channels of the first stage; the paper's CIFAR networks have 16."""
    image_size: int = 224
    """Pixels."""
    expansions: tuple[int, ...] = (8, 64, 128)
    """Random filters per output channel."""
    forms: tuple[str, ...] = FORMS
    """plain; full and compact (frozen), learnable; two-layer and two-layer-learnable, as the paper
    computed them: a wide convolution, then one of 1x1."""
    batch_sizes: tuple[int, ...] = (256,)
    """Images of a step on one device."""
    optimizer: Literal["sgd", "lamb"] = "sgd"
    """sgd with momentum, or lamb, whose state is twice as large."""
    precision: Literal["float32", "mixed"] = "float32"
    """mixed: feature maps of two bytes a number."""
    device_memory_gib: float = 40.0
    measure: bool = False
    """Also train a few steps of each, and compare (sgd, float32)."""
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


#: How many copies of all gradients an update makes, by backend. PyTorch makes gradients with decay,
#: then with Nesterov's momentum, each a list of its own; TensorFlow updates each variable by
#: itself, but holds all gradients. XLA uses each when it is there, and keeps none.
UPDATE_COPIES = {"torch": 2, "tensorflow": 0, "jax": None}
#: How often a step holds each kernel besides, as measured: XLA turns and differentiates all of them
#: before it updates any.
KERNEL_COPIES = {"torch": 2, "tensorflow": 1, "jax": 2}


def _copies(optimizer):
    # LAMB clips the norm of all gradients together: none is used before the last is there.
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
    """Estimates what training holds at its peak, in bytes.

    All convolutions are counted by arithmetic on the shapes of the plain network. With n numbers
    in a filter (k² · channels), f filters and r = f · expansion filters in the basis, a spatial
    convolution holds:

    - plain: the kernel, n · f, trained;
    - full, learnable: the basis, n · r, the combination, r · f, and from the forward pass to the
      backward pass their product, n · f;
    - compact: likewise, with n in the place of r where that is less;
    - two-layer: the basis, the combination, and a feature map with r channels in the place of
      none.

    What is trained has a gradient and `slots` numbers of the optimizer's state beside it. Feature
    maps live as `benchmarks.liveness` says.

    Args:
        plain: The network with learned convolutions, built.
        name: String: `"plain"`, or a form and an expansion, such as `"learnable-x8"`.
        batch_size: Integer, the images of a step.
        slots: Integer, numbers of optimizer state for each trained one.
        activation_bytes: Integer, of a number in a feature map; below 4, the step holds its
            kernels in that precision too.
        copies: Integer: whether all gradients live until the update, and how many more copies of
            them that makes. `None` where each is used as soon as it is there.
        eager: Boolean, whether each operation keeps what its gradient needs, as under PyTorch.
        kernel_copies: Integer, how often a step holds each kernel besides.

    Returns:
        A dict of bytes: `parameters` (trained), `frozen`, `optimizer`, `gradients`, `activations`
        (with the input and with what the backward pass needs), `workspace` (products of basis
        and combination, and what a step makes of kernels) and `peak`, which is less than their
        sum where they are not all needed at once.
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
    """How many numbers one layer holds.

    Args:
        trained, frozen: Integers, in its variables.
        product: Integer, in the kernel that it computes from them; 0 where it has one.
        channels_between: Integer, in the feature map between its two convolutions, or 0.
        kernel: Integer, in what its convolutions convolve with.
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
    # Of a group of output channels, each mixes the basis filters of its own.
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
    """What `benchmarks.memory` measures of the same network."""
    fields = ("network", "depth", "width", "variant", "image_size")
    settings = {field: getattr(arguments, field) for field in fields}
    options = command_words({**settings, "batch_size": batch_size})
    child = in_child("benchmarks.memory", "--child", "--names", name, *options)
    return {"measured": child["peak"]}


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
