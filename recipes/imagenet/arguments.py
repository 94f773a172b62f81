"""The arguments of `python -m recipes.imagenet`. No Keras, because they choose its backend."""

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from ..common import own, settings
from ..common.own import Own
from ..common.settings import (
    ABOVE_0,
    DATA,
    FILES,
    NETWORK,
    Must,
    at_least,
    like,
    listed,
    setting,
    spatials,
)
from .presets import PRESETS

Name = Annotated[str, tyro.conf.arg(metavar="NAME")]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A run of `recipes.imagenet`."""

    preset: Name | None = setting(
        None,
        "A network of the papers. Other options override its settings.",
        group=NETWORK, axis="presets", scaled="many",
    )  # fmt: skip
    data_dir: pathlib.Path | None = like(
        "data_dir",
        help="Image folder (<class>/*, or train/<class>/* and val/<class>/*), or folder of "
        "tensorflow-datasets with a prepared imagenet2012. Defaults to the standard folder of "
        "tensorflow-datasets.",
    )
    test_share: float = like("test_share")
    network: Literal["resnet", "mobilenet_v2", "mobilenet_v3_large"] = like(
        "network", "resnet", help="The network without its spatial operator.", axis=None
    )
    depth: int = like(
        "depth",
        18,
        help="Number of layers: 18, 34, 50 or 101.",
        axis=None,
        must=Must(" must be 18, 34, 50 or 101.", lambda value: value in (18, 34, 50, 101)),
    )
    variant: Literal["none", "d", "next", "wide"] = setting(
        "none",
        "ResNet-D, ResNeXt-32x4d or Wide-ResNet-2.",
        group=NETWORK, only_on=("resnet",),
    )  # fmt: skip
    width_multiplier: float = like("width_multiplier")
    low_resolution: bool = setting(
        False, "Whether the first layers keep the size of the images.", group=NETWORK
    )
    spatial: Literal[tuple(spatials("imagenet"))] | Own = like(
        "spatial",
        help=f"{listed(spatials('imagenet'))} {own.HELP}",
        axis="spatials",
        # `None`: the preset's value.
        paper=(None,),
        word="as_{}",
    )
    expansion: int = like("expansion", axis=None)
    frozen: bool = like("frozen")
    compact: bool = like(
        "compact",
        help="A basis that is no larger than a plain convolution. With LAMB, training differs "
        "from that of the full form.",
        needs={"frozen": True},
        axis=None,
    )
    basis: str = like("basis", axis=None)
    stochastic_depth: float = setting(
        0.0,
        "Probability that training skips the last residual branch.",
        group=NETWORK, must=at_least(0, 1),
    )  # fmt: skip
    optimizer: Literal["lamb", "sgd"] = setting("lamb", "The paper uses lamb.")
    learning_rate: float = setting(5e-3, "Learning rate after the warm-up.", must=ABOVE_0)
    weight_decay: float = setting(
        0.02, "Weight decay. sgd adds it to the gradient, lamb to its step.", must=at_least(0)
    )
    seed: int = like("seed", paper=(0,))
    epochs: int = like("epochs", 300)
    warmup_epochs: float = setting(
        5, "Epochs in which the learning rate rises. Then it falls along a cosine."
    )
    batch_size: int = like("batch_size", 2048)
    image_size: int = setting(
        224,
        "Height and width of training and test images in pixels.",
        group=DATA, axis="image_sizes", word="px{}", scaled="one", must=at_least(1),
    )  # fmt: skip
    crop_ratio: float = setting(
        0.95,
        "Share of the shorter side that a test image shows.",
        group=DATA,
        must=Must(" must be above 0 and at most 1.", lambda value: 0 < value <= 1),
    )
    augmentation: Literal["a2", "light", "none"] = like(
        "augmentation",
        "a2",
        help="a2: random crops and flips, RandAugment, Mixup or CutMix, each image three times in "
        "a batch; light: random crops and flips; none: the same crop as in the test.",
        axis=None,
    )
    steps: int | None = setting(
        None,
        "Batches in one epoch. Defaults to the number of full batches in the training images.",
        axis="steps", word="steps{}", scaled="one", must=at_least(1),
    )  # fmt: skip
    max_corrupt: int = setting(
        10,
        "Maximum number of damaged images. They are skipped and named; with more, the run stops.",
        group=DATA, free=True, must=at_least(0),
    )  # fmt: skip
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = like(
        "precision",
        "auto",
        help="auto: the paper's mixed precision on a GPU, float32 without a GPU.",
        axis=None,
    )
    backend: Literal["tensorflow", "jax", "torch"] | None = like("backend")
    distribute: Literal["none", "data", "model"] = like("distribute")
    preview: pathlib.Path | None = setting(
        None,
        "Write the first augmented batch to this PNG file, and do not train.",
        group=FILES, free=True, listed=False,
    )  # fmt: skip
    output: pathlib.Path | None = like("output")
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = like("resume")
    export: Annotated[bool, tyro.conf.FlagCreatePairsOff] = like(
        "export", help="Also write the best model, folded for inference, to the output folder."
    )
    export_format: Literal["tf_saved_model", "onnx", "litert", "torch"] = like("export_format")


def parse(description: str, words: Sequence[str] | None = None) -> Arguments:
    """Returns the arguments of a command line. The settings of the preset are the defaults."""
    # Parse the preset first: the defaults of all other options depend on it.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    name = parser.parse_known_args(words)[0].preset
    if name is not None and name not in PRESETS:
        raise SystemExit(f"--preset must be one of {', '.join(PRESETS)}. Received: {name}")
    defaults = of_preset(name) if name else Arguments()
    return settings.parse(Arguments, description, defaults, words)


def check(arguments: Arguments) -> None:
    """Raises `ValueError` for wrong settings, like `recipes.common.settings.check`."""
    settings.check(arguments)
    if not 0 <= arguments.warmup_epochs < arguments.epochs:
        raise ValueError(
            "--warmup-epochs must be at least 0 and below --epochs. Received: --warmup-epochs "
            f"{arguments.warmup_epochs:g} --epochs {arguments.epochs}"
        )
    _check_network(arguments)


def _check_network(arguments):
    if arguments.network == "resnet":
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


def of_preset(name: str) -> Arguments:
    """Returns the arguments of a preset."""
    return Arguments(preset=name, **PRESETS[name].settings)
