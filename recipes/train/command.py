"""Train a network of the LC paper on small images.

    python -m recipes.train --dataset digits --epochs 30 --batch-size 64

The recipe is the paper's (Appendix A): SGD with Nesterov's momentum, a cosine to 0 over all
steps, weight decay 1e-2, label smoothing 0.1. Expected on CIFAR-10, ResNet-LC-20-16x128, frozen,
75 epochs: 91.9 % (Table 1).
"""

import dataclasses
import os
import pathlib
from typing import Annotated, Literal

import tyro

from ..common import checks
from ..common.command_line import run_command


@dataclasses.dataclass(frozen=True)
class Arguments:
    """One training run. Writes model.keras, history.json, seconds.json, config.json, curves.png."""

    dataset: str = "digits"
    """digits, cifar10, cifar100, svhn_cropped, fashion_mnist; any name with an image folder."""
    data_dir: pathlib.Path | None = None
    """Image folder (train/<class>/*, test/<class>/*) or the data set's original archives."""
    subset: int | None = None
    """Train on so many images, equally many of each class. Defaults to all."""
    download: bool = False
    """Whether tensorflow-datasets may fetch the data set from the network."""
    network: Literal[
        "cifar_resnet",
        "resnet14",
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "wide_resnet50_2",
        "mobilenet_v2",
    ] = "cifar_resnet"
    """The paper's ResNet-{depth}-{width}, or the version for small images of another network."""
    depth: int = 20
    """6n + 2: 8, 14, 20, 26, 32, … (cifar_resnet)"""
    width: int = 16
    """Channels of the first stage (cifar_resnet)."""
    width_multiplier: float = 1.0
    """Scales the channels of all layers (other networks)."""
    spatial: Literal["lc", "learned", "frozen", "gram_limit"] = "lc"
    """Linear combinations of random filters, plain convolutions, random filters alone, or plain
    convolutions with the learning rates that lc has at many random filters."""
    expansion: int = 1
    """Random filters per output channel (lc, gram_limit)."""
    frozen: bool = True
    """Whether the random filters stay as they were drawn (lc)."""
    compact: bool = False
    """The same network at the price of plain convolutions (lc, frozen)."""
    between: Literal["none", "relu", "bn", "bn_relu"] = "none"
    """What stands between random filters and combination (lc; Appendix C)."""
    shared_basis: bool = False
    """One tensor of random numbers for all layers (lc, frozen)."""
    kernel_size: int = 3
    """Odd, in pixels (cifar_resnet)."""
    augmentation: Literal["auto", "crop_flip", "none"] = "auto"
    """auto is the paper's: crop_flip on CIFAR, none elsewhere."""
    epochs: int = 75
    batch_size: int = 256
    """Images of one step, of all devices together."""
    seed: int = 0
    """Determines everything random; the same under every backend."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Defaults to KERAS_BACKEND, or Keras' own default."""
    distribute: Literal["none", "data", "model"] = "none"
    """data: each device takes a part of every batch. model (JAX): a part of every basis. See
    keras_lc.distribution.distribute for how several processes are started."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    output: pathlib.Path | None = None
    """Folder of the run. Defaults to a new one under runs/."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the run in --output, which was stopped."""
    export: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also write a folded model for serving to the output folder."""
    export_format: Literal["tf_saved_model", "onnx", "litert", "torch"] = "tf_saved_model"


def check(arguments: Arguments) -> None:
    """Raises `ValueError` for settings that do not fit, without Keras and before anything is made.

    Sweeps and reproductions call it for all of their runs before the first starts.
    """
    numbers = ("epochs", "batch_size", "subset", "width", "expansion")
    checks.check_range(arguments, numbers)
    checks.check_range(arguments, ["seed"], 0, 2**63)
    checks.check_positive(arguments, ["width_multiplier"])
    if arguments.network == "cifar_resnet":
        if arguments.depth < 8 or arguments.depth % 6 != 2:
            raise ValueError(f"--depth must be 6n + 2: 8, 14, 20, … Received: {arguments.depth}")
        if arguments.kernel_size < 1 or arguments.kernel_size % 2 == 0:
            raise ValueError(
                f"--kernel-size: a kernel size must be odd. Received: {arguments.kernel_size}"
            )
    for name in ("compact", "shared_basis"):
        alone = arguments.frozen and arguments.between == "none"
        if getattr(arguments, name) and arguments.spatial == "lc" and not alone:
            raise ValueError(
                f"{checks.option(name)} needs --frozen and --between none. Received: --between "
                f"{arguments.between}, {'--frozen' if arguments.frozen else '--no-frozen'}"
            )


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    with checks.in_one_line():
        check(arguments)
        checks.check_backend(arguments.backend)
        checks.check_plots()
        checks.check_data(arguments.dataset, arguments.data_dir, arguments.download)
        checks.check_writable(arguments.output or pathlib.Path("runs"))
        if arguments.export:
            checks.check_export(arguments.export_format)
    # Before the first import of keras: a process has one backend.
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    from .run import run

    run(arguments)


if __name__ == "__main__":
    run_command(main)
