"""The arguments of `python -m recipes.imagenet`, without Keras, whose backend they choose."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from ..common import checks
from .presets import PRESETS

Name = Annotated[str, tyro.conf.arg(metavar="NAME")]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """One training run.

    Writes best.keras, model.keras, history.json, seconds.json, config.json and curves.png.
    """

    preset: Name | None = None
    """A network of the papers. What is given besides overrides it."""
    data_dir: pathlib.Path | None = None
    """Image folder (train/<class>/*, val/<class>/*), or the folder of tensorflow-datasets with a
    prepared imagenet2012. Defaults to the latter's own."""
    network: Literal["resnet", "mobilenet_v2", "mobilenet_v3_large"] = "resnet"
    depth: int = 18
    """18, 34, 50 or 101 (resnet)."""
    variant: Literal["none", "d", "next", "wide"] = "none"
    """ResNet-D, ResNeXt-32x4d or Wide-ResNet-2 (resnet)."""
    width_multiplier: float = 1.0
    """Scales the channels of all layers."""
    low_resolution: bool = False
    """Whether the first layers keep the size of the images."""
    spatial: Literal["lc", "learned", "frozen", "max", "hybrid"] = "lc"
    """Linear combinations of random filters, plain convolutions, random filters alone, or pools
    in bottlenecks."""
    expansion: int = 1
    """Random filters per output channel (lc)."""
    frozen: bool = True
    """Whether the random filters stay as they were drawn (lc)."""
    compact: bool = False
    """A basis no larger than a plain convolution (lc, frozen). Under LAMB another
    parameterisation, not the same network at a lower price."""
    stochastic_depth: float = 0.0
    """Rate at which training leaves out the last residual branch."""
    image_size: int = 224
    """Pixels, in training and test."""
    crop_ratio: float = 0.95
    """Share of the shorter side that the test sees."""
    augmentation: Literal["a2", "light", "none"] = "a2"
    """a2: random crops and flips, RandAugment, Mixup or CutMix, each image three times in a batch;
    light: random crops and flips; none: the view of the test."""
    optimizer: Literal["lamb", "sgd"] = "lamb"
    learning_rate: float = 5e-3
    weight_decay: float = 0.02
    """sgd: added to the gradient; lamb: to its step."""
    epochs: int = 300
    warmup_epochs: float = 5
    """In which the learning rate rises; then it falls along a cosine."""
    batch_size: int = 2048
    """Images of one step, of all devices together."""
    steps: int | None = None
    """Batches of an epoch. Defaults to what the number of training images fills."""
    max_corrupt: int = 10
    """Images that cannot be decoded are named and skipped, up to this many."""
    seed: int = 0
    """Determines everything random; the same under every backend."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Defaults to KERAS_BACKEND, or Keras' own default."""
    distribute: Literal["none", "data", "model"] = "none"
    """data: each device takes a part of every batch. model (JAX): a part of every basis. See
    keras_lc.distribution.distribute for how several processes are started."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """auto is the paper's mixed precision on a GPU, float32 without one."""
    preview: pathlib.Path | None = None
    """Write the first batch, augmented, to this PNG, and train nothing."""
    output: pathlib.Path | None = None
    """Folder of the run. Defaults to a new one under runs/."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the run in --output, which was stopped."""
    export: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also write the best model, folded, for serving to the output folder."""
    export_format: Literal["tf_saved_model", "onnx", "litert", "torch"] = "tf_saved_model"


def parse(description: str, words: Sequence[str] | None = None) -> Arguments:
    """Returns the arguments of a command line, where the preset's settings are the defaults."""
    # First, and by itself: the defaults of all others depend on it.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    name = parser.parse_known_args(words)[0].preset
    if name is not None and name not in PRESETS:
        raise SystemExit(f"--preset must be one of {', '.join(PRESETS)}. Received: {name}")
    defaults = of_preset(name) if name else Arguments()
    return tyro.cli(
        Arguments,
        prog="python -m recipes.imagenet",
        args=words,
        description=description,
        default=defaults,
    )


def check(arguments: Arguments) -> None:
    """As `recipes.train.check`."""
    numbers = ("epochs", "batch_size", "image_size", "steps", "expansion")
    checks.check_range(arguments, numbers)
    checks.check_range(arguments, ["seed"], 0, 2**63)
    checks.check_range(arguments, ["max_corrupt", "weight_decay"], 0)
    checks.check_range(arguments, ["stochastic_depth"], 0, 1)
    checks.check_positive(arguments, ["learning_rate", "width_multiplier", "crop_ratio"])
    if arguments.crop_ratio > 1:
        raise ValueError(
            f"--crop-ratio must be above 0 and at most 1. Received: {arguments.crop_ratio}"
        )
    if not 0 <= arguments.warmup_epochs < arguments.epochs:
        raise ValueError(
            "--warmup-epochs must be at least 0 and below --epochs. Received: --warmup-epochs "
            f"{arguments.warmup_epochs:g} --epochs {arguments.epochs}"
        )
    _check_network(arguments)


def _check_network(arguments):
    if arguments.network == "resnet":
        if arguments.depth not in (18, 34, 50, 101):
            raise ValueError(f"--depth must be 18, 34, 50 or 101. Received: {arguments.depth}")
        multiple = 64 if arguments.variant == "next" else 2
        if round(64 * arguments.width_multiplier) % multiple:
            raise ValueError(
                f"64 times --width-multiplier must be a multiple of {multiple} (--variant "
                f"{arguments.variant}). Received: {arguments.width_multiplier}"
            )
    bottlenecks = arguments.network == "resnet" and arguments.depth >= 50
    if arguments.variant in ("next", "wide") and arguments.network == "resnet" and not bottlenecks:
        raise ValueError(
            f"--variant {arguments.variant} needs --depth 50 or 101. Received: {arguments.depth}"
        )
    if arguments.spatial in ("max", "hybrid") and not (
        bottlenecks or arguments.network != "resnet"
    ):
        raise ValueError(
            f"--spatial {arguments.spatial} needs --depth 50 or 101. Received: {arguments.depth}"
        )
    if arguments.compact and arguments.spatial == "lc" and not arguments.frozen:
        raise ValueError("--compact needs --frozen. Received: --no-frozen")


def of_preset(name: str) -> Arguments:
    """Returns the arguments of a preset."""
    return Arguments(preset=name, **PRESETS[name].settings)
