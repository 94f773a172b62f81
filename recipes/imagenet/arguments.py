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
    operator_name,
    operator_of,
    setting,
    spatials,
)
from .presets import PRESETS, RECIPES

_TRANSFORMERS = ("vit", "pit")

Name = Annotated[str, tyro.conf.arg(metavar="NAME")]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A run of `recipes.imagenet`."""

    preset: Name | None = setting(
        None,
        "A network of the papers. Other options override its settings.",
        group=NETWORK, axis="presets", scaled="many",
    )  # fmt: skip
    recipe: Literal[tuple(RECIPES)] = setting(
        "a2",
        "A recipe of the papers; see above. Other options override its settings.",
        axis="recipes", paper=(None,), word="{}",
    )  # fmt: skip
    data_dir: pathlib.Path | None = like(
        "data_dir",
        help="Image folder (<class>/*, or train/<class>/* and val/<class>/*), or folder of "
        "tensorflow-datasets with a prepared imagenet2012. Defaults to the standard folder of "
        "tensorflow-datasets.",
    )
    test_share: float = like("test_share")
    network: Literal["resnet", "mobilenet_v2", "mobilenet_v3_large", "vit", "pit"] = like(
        "network", "resnet", help="The network without its spatial operator.", axis=None
    )
    depth: int = like(
        "depth",
        18,
        help="Number of layers: 18, 26, 34, 50 or 101.",
        axis=None,
        must=Must(" must be 18, 26, 34, 50 or 101.", lambda value: value in (18, 26, 34, 50, 101)),
    )
    variant: Literal["none", "d", "next", "wide"] = setting(
        "none",
        "ResNet-D, ResNeXt-32x4d or Wide-ResNet-2.",
        group=NETWORK, only_on=("resnet",),
    )  # fmt: skip
    # `None` in a sweep: the preset's value.
    width_multiplier: float = like("width_multiplier", paper=(None,))
    size: Literal["tiny", "small", "base"] = setting(
        "small",
        "Width and heads of a transformer.",
        group=NETWORK, only_on=_TRANSFORMERS, axis="sizes", paper=(None,), word="{}", scaled="one",
    )  # fmt: skip
    patch_size: int | None = setting(
        None,
        "Height and width of a patch in pixels. Defaults to the paper's: 14 for the base size of "
        "pit, otherwise 16.",
        group=NETWORK, only_on=_TRANSFORMERS, axis="patch_sizes", word="patch{}", scaled="one",
        must=at_least(1),
    )  # fmt: skip
    low_resolution: bool = setting(
        False,
        "Whether the first layers keep the size of the images.",
        group=NETWORK, not_on=_TRANSFORMERS,
    )  # fmt: skip
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
    optimizer: Literal["lamb", "sgd", "adamw"] = setting("lamb", "The algorithm.")
    schedule: Literal["cosine", "steps"] = setting(
        "cosine",
        "How the learning rate falls after the warm-up: along a cosine, or to a tenth after each "
        "third of the epochs.",
    )
    loss: Literal["binary", "crossentropy"] = setting(
        "binary",
        "binary: a cross-entropy for each class, which takes each class of a mixed image as "
        "present; crossentropy: one cross-entropy over all classes.",
    )
    label_smoothing: float = setting(
        0.0, "Part of the target that is spread over all classes (--loss crossentropy).",
        must=at_least(0, 1),
    )  # fmt: skip
    learning_rate: float = setting(5e-3, "Learning rate after the warm-up.", must=ABOVE_0)
    final_learning_rate: float = setting(
        0.0, "Learning rate at the end (--schedule cosine).", must=at_least(0)
    )
    weight_decay: float = setting(
        0.02,
        "Weight decay. sgd adds it to the gradient, lamb to its step, adamw shrinks the weights. "
        "Biases, normalization and position embeddings do not decay.",
        must=at_least(0),
    )
    seed: int = like("seed", paper=(0,))
    epochs: int = like("epochs", 300)
    warmup_epochs: float = setting(5, "Epochs in which the learning rate rises.")
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
    augmentation: Literal["a2", "deit", "cutmix", "light", "none"] = like(
        "augmentation",
        "a2",
        help="a2: random crops and flips, RandAugment, Mixup or CutMix, each image three times in "
        "a batch; deit: the same, stronger, with random erasing; cutmix: random crops and flips, "
        "CutMix; light: random crops and flips; none: the same crop as in the test.",
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
    export_probabilities: Annotated[bool, tyro.conf.FlagCreatePairsOff] = like(
        "export_probabilities"
    )


def parse(description: str, words: Sequence[str] | None = None) -> Arguments:
    """Returns the arguments of a command line. Preset and recipe give the defaults."""
    # Parse these first: the defaults of all other options depend on them.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option, names in (("preset", PRESETS), ("recipe", RECIPES)):
        parser.add_argument(f"--{option}")
        given = getattr(parser.parse_known_args(words)[0], option)
        if given is not None and given not in names:
            raise SystemExit(f"--{option} must be one of {', '.join(names)}. Received: {given}")
    given = parser.parse_known_args(words)[0]
    return settings.parse(Arguments, description, defaults(given.preset, given.recipe), words)


def check(arguments: Arguments) -> None:
    """Raises `ValueError` for wrong settings, like `recipes.common.settings.check`."""
    settings.check(arguments)
    if not 0 <= arguments.warmup_epochs < arguments.epochs:
        raise ValueError(
            "--warmup-epochs must be at least 0 and below --epochs. Received: --warmup-epochs "
            f"{arguments.warmup_epochs:g} --epochs {arguments.epochs}"
        )
    if arguments.label_smoothing and arguments.loss == "binary":
        raise ValueError(
            "--label-smoothing needs --loss crossentropy. "
            f"Received: {arguments.label_smoothing:g}, --loss binary"
        )
    if arguments.final_learning_rate and arguments.schedule == "steps":
        raise ValueError(
            "--final-learning-rate needs --schedule cosine. "
            f"Received: {arguments.final_learning_rate:g}, --schedule steps"
        )
    if arguments.final_learning_rate > arguments.learning_rate:
        raise ValueError(
            "--final-learning-rate must be at most --learning-rate, "
            f"{arguments.learning_rate:g}. Received: {arguments.final_learning_rate:g}"
        )
    _check_network(arguments)
    if arguments.network in _TRANSFORMERS:
        _check_patches(arguments)


def _check_network(arguments):
    if arguments.network == "resnet":
        multiple = 64 if arguments.variant == "next" else 2
        if round(64 * arguments.width_multiplier) % multiple:
            raise ValueError(
                f"64 times --width-multiplier must be a multiple of {multiple} (--variant "
                f"{arguments.variant}). Received: {arguments.width_multiplier}"
            )
    bottlenecks = arguments.network == "resnet" and arguments.depth in (26, 50, 101)
    if arguments.variant in ("next", "wide") and arguments.network == "resnet" and not bottlenecks:
        raise ValueError(
            f"--variant {arguments.variant} needs --depth 26, 50 or 101. "
            f"Received: {arguments.depth}"
        )
    pools = operator_of(operator_name(arguments.spatial, arguments.frozen)).not_on
    if pools and arguments.network == "resnet" and not bottlenecks:
        raise ValueError(
            f"--spatial {arguments.spatial} needs --depth 26, 50 or 101. "
            f"Received: {arguments.depth}"
        )


def _check_patches(arguments):
    size = arguments.patch_size
    if size is None:
        size = 14 if (arguments.network, arguments.size) == ("pit", "base") else 16
    if arguments.network == "pit" and size % 2:
        raise ValueError(f"--patch-size must be even for pit. Received: {size}")
    if size > arguments.image_size:
        raise ValueError(
            f"--patch-size must be at most --image-size, {arguments.image_size}. Received: {size}"
        )


def defaults(preset: str | None = None, recipe: str | None = None) -> Arguments:
    """Returns the arguments of a preset and a recipe, which defaults to the preset's own."""
    known = PRESETS[preset] if preset else None
    recipe = recipe or (known.recipe if known else "a2")
    # What a preset says about its network is not the recipe's.
    return Arguments(
        preset=preset, recipe=recipe, **{**RECIPES[recipe], **(known.settings if known else {})}
    )
