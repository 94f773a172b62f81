"""The one description of a run: all settings, and what every command says about them. No Keras.

All commands use it: for the options of `recipes.train` and their checks, the cells and axes of a
sweep, the names of folders, the columns of `results.csv`, the options of `recipes.reproduce` and
its list "Not as in the paper", and the names in figures. A new setting is one field of `Settings`.
A new spatial operator is one entry of `OPERATORS`.
"""

import dataclasses
import functools
import math
import pathlib
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Literal

import tyro

from . import own
from .checks import DATASETS, option
from .command_line import command_words
from .own import Own


@dataclasses.dataclass(frozen=True)
class Operator:
    """A spatial operator, as sweeps and tables name it.

    Args:
        label: String, its name in tables and figures.
        help: String, what it is.
        spatial: String, its name in `keras_lc.spatial`, and the value of `--spatial`.
        frozen: Boolean, the value of `--frozen`; `None` if `--frozen` has no effect.
        has: Set of strings, the features that settings need; see `Setting.of`.
        not_on: Tuple of networks that cannot have it, because they have no bottlenecks.
        commands: Tuple of strings, the commands that train it.
    """

    label: str
    help: str
    spatial: str
    frozen: bool | None = None
    has: frozenset[str] = frozenset()
    not_on: tuple[str, ...] = ()
    commands: tuple[str, ...] = ("train", "imagenet")


_BASIS = frozenset({"basis"})
_LC = frozenset({"expansion", "combination", "basis"})
# Networks of basic blocks.
_BASIC = ("cifar_resnet", "resnet14", "resnet18", "resnet18d", "resnet34")

OPERATORS = {
    "learned": Operator("learned", "plain convolutions", "learned"),
    "frozen": Operator("frozen random", "random filters alone", "frozen", has=_BASIS),
    "lc_frozen": Operator("LC frozen", "linear combinations of random filters", "lc", True, _LC),
    "lc_learnable": Operator(
        "LC learnable", "linear combinations of trained filters", "lc", False, _LC
    ),
    # Not in the paper.
    "gram_limit": Operator(
        "plain, LC's learning rates",
        "plain convolutions with the learning rates of lc with many random filters",
        "gram_limit",
        has=frozenset({"expansion"}),
        commands=("train",),
    ),
    # Of the parameter-free paper.
    "max": Operator("max", "max-pools in bottlenecks", "max", not_on=_BASIC),
    "average": Operator("average", "average-pools in bottlenecks", "average", not_on=_BASIC),
    "depthwise": Operator(
        "depthwise", "depthwise convolutions in bottlenecks", "depthwise", not_on=_BASIC
    ),
    "hybrid": Operator(
        "hybrid",
        "max-pools in bottlenecks, convolutions where the size changes",
        "hybrid",
        not_on=(*_BASIC, "vit", "pit"),
    ),
}


def operator_name(spatial: str, frozen: bool = True) -> str:
    """Returns the name of the operator of a run with these `--spatial` and `--frozen`."""
    if own.is_own(spatial):
        return spatial
    return next(
        name
        for name, operator in OPERATORS.items()
        if operator.spatial == spatial and operator.frozen in (None, frozen)
    )


def operator_of(name: str) -> Operator:
    """Returns the operator with a name, also one of the user's own."""
    if own.is_own(name):
        # Its options are a part of its name.
        return Operator(name, "a class of your own", name)
    return OPERATORS[name]


def operators(command: str) -> dict[str, Operator]:
    """Returns the operators of a command."""
    return {name: found for name, found in OPERATORS.items() if command in found.commands}


def check_operator(name: str) -> None:
    """Raises `ValueError` if `recipes.train` has no operator with a name."""
    known = operators("train")
    if name not in known and not own.is_own(name):
        raise ValueError(_not_one_of("operators", known, name))


def spatials(command: str) -> dict[str, str]:
    """Returns the values of a command's `--spatial`, each with its help."""
    found = {}
    for operator in operators(command).values():
        found.setdefault(operator.spatial, operator.help)
    return found


def listed(values: Mapping[str, str]) -> str:
    """Returns a sentence that explains each value."""
    return "; ".join(f"{name}: {help}" for name, help in values.items()) + "."


#: Networks of `recipes.train`, with their names in tables and figures.
NETWORKS = {
    "resnet14": "ResNet-14",
    "resnet18": "ResNet-18",
    "resnet26": "ResNet-26",
    "resnet34": "ResNet-34",
    "cifar_resnet": "ResNet-20",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "wide_resnet50_2": "Wide-ResNet-50x2",
    "mobilenet_v2": "MobileNet v2",
}
#: Other networks of `recipes.train`. They are not in the paper.
MORE_NETWORKS = {
    "resnet18d": "ResNet-18-D",
    "resnet50d": "ResNet-50-D",
    "resnext50_32x4d": "ResNeXt-50-32x4d",
    "mobilenet_v3_large": "MobileNet v3 large",
}
#: The networks that have only a version for small images.
SMALL_NETWORKS = ("cifar_resnet", "resnet14")
#: The layers that can stand between random filters and their combination.
BETWEEN = {
    "none": "none",
    "relu": "ReLU",
    "bn": "BatchNorm",
    "bn_relu": "BatchNorm + ReLU",
}


#: The names of `keras_lc.bases`.
BASES = ("uniform", "normal", "orthogonal", "sparse", "dct", "gabor")


@dataclasses.dataclass(frozen=True)
class Must:
    """A condition on a value.

    Args:
        text: String, the text after the option: `" must be at least 1."`.
        holds: Function that returns whether a value meets the condition.
        always: Boolean, whether to check it also for networks without the setting.
    """

    text: str
    holds: Callable[[typing.Any], bool]
    always: bool = False

    def check(self, name: str, value) -> None:
        """Raises `ValueError` if the value of a setting is not allowed. `None` is allowed."""
        if value is not None and not self.holds(value):
            raise ValueError(f"{option(name)}{self.text} Received: {value}")


def at_least(least: float, below: float = math.inf) -> Must:
    """Returns the condition `least <= value < below`."""
    limit = "" if below == math.inf else f" and below {below}"
    return Must(f" must be at least {least}{limit}.", lambda value: least <= value < below, True)


_BASIS_NAME = Must(
    f" must be one of {', '.join(BASES)}, or {own.FORM}.",
    lambda value: own.is_own(value) or own.name_of(value) in BASES,
    True,
)
ABOVE_0 = Must(" must be above 0.", lambda value: 0 < value < math.inf, True)

# Titles in `--help`. Only options of the first four change the result, and tables have columns only
# for the first three.
DATA, NETWORK, TRAINING, TRANSFER = "data", "network", "training", "transfer"
MACHINE, FILES = "machine", "files"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A description of one setting of a run, besides its name, type and default.

    Args:
        help: String, a sentence for `--help`.
        group: String, its title in `--help`.
        must: The condition on its values, if any.
        only_on, not_on: Tuples of networks that have it, and that do not have it.
        of: String, the feature that an operator needs for it (`Operator.has`); `None` if all
            operators have it.
        needs: Dict of the values that other settings must have, unless it has its default.
        requires: String, another setting that must be given, unless it has its default.
        argument: String, its name in the operator, if the name differs there.
        axis: String, its name in a sweep; `None` if sweeps do not vary it.
        paper: Tuple, the values in the paper's experiments. Defaults to the default alone.
        word: String, its format in the names of folders, unless it has its default: `"k{}"`.
        same: Boolean, whether all its values give the same network, trained the same way.
        scaled: `"many"` or `"one"`, if `recipes.reproduce` takes several values of it or one.
        free: Boolean, whether a resumed run may use another value. It does not change the result.
        listed: Boolean, whether the report of a run shows it.
        tabled: Boolean, whether the tables of a sweep have a column for it.
    """

    help: str = ""
    group: str = TRAINING
    must: Must | None = None
    only_on: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()
    of: str | None = None
    needs: Mapping[str, object] = dataclasses.field(default_factory=dict)
    requires: str | None = None
    argument: str | None = None
    axis: str | None = None
    paper: tuple | None = None
    word: str | None = None
    same: bool = False
    scaled: Literal["many", "one"] | None = None
    free: bool = False
    listed: bool = True
    tabled: bool = True

    def applies(self, network: str, operator: Operator) -> bool:
        """Returns whether a network with this spatial operator has the setting."""
        return self.is_of(network) and (self.of is None or self.of in operator.has)

    def is_of(self, network: str) -> bool:
        """Returns whether a network has the setting."""
        return network not in self.not_on and (not self.only_on or network in self.only_on)


def setting(default, help: str = "", **known) -> typing.Any:
    """Returns a field of a dataclass with its `Setting`."""
    return dataclasses.field(default=default, metadata={"setting": Setting(help, **known)})


def like(name: str, *default, **changes) -> typing.Any:
    """Returns a copy of a field of `Settings` with another default or another description."""
    (field,) = (field for field in dataclasses.fields(Settings) if field.name == name)
    return dataclasses.field(
        default=default[0] if default else field.default,
        metadata={"setting": dataclasses.replace(settings_of(Settings)[name], **changes)},
    )


def settings_of(described) -> dict[str, Setting]:
    """Returns the `Setting` of each field of a dataclass of settings."""
    return {
        field.name: field.metadata.get("setting", Setting())
        for field in dataclasses.fields(described)
    }


# The paper's own first.
_TRAINED = ("cifar_resnet", *sorted({*NETWORKS, *MORE_NETWORKS} - {"cifar_resnet"}))
_FLAG = Annotated[bool, tyro.conf.FlagCreatePairsOff]
_ALONE = {"frozen": True, "between": "none"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """A run of `recipes.train`."""

    dataset: str = setting(
        "digits",
        f"{', '.join(DATASETS)}; or any name for an image folder.",
        group=DATA, axis="datasets", paper=("cifar10",), scaled="many",
    )  # fmt: skip
    data_dir: pathlib.Path | None = setting(
        None,
        "Image folder (<class>/*, or train/<class>/* and test/<class>/*), or the original archive "
        "or its folder.",
        group=DATA, free=True,
    )  # fmt: skip
    image_size: int | None = setting(
        None,
        "Height and width of the images in pixels. They are cut to a square and resized. None: as "
        "they are.",
        group=DATA, must=at_least(16), tabled=False,
    )  # fmt: skip
    test_share: float = setting(
        0.2,
        "About this share of each class is for testing, if an image folder has no test images. "
        "The seed and each file's content decide which.",
        group=DATA, must=Must(" must be between 0 and 1.", lambda value: 0 < value < 1, True),
        tabled=False,
    )  # fmt: skip
    download: bool = setting(
        False,
        "Whether tensorflow-datasets may download the data set.",
        group=DATA, free=True, listed=False,
    )  # fmt: skip
    network: Literal[_TRAINED] = setting(
        "cifar_resnet",
        "cifar_resnet: the paper's ResNet-{depth}-{width}; others: see --resolution.",
        group=NETWORK, axis="networks", scaled="many",
    )  # fmt: skip
    depth: int = setting(
        20,
        "Number of layers, 6n + 2: 8, 14, 20, 26, 32, …",
        group=NETWORK, only_on=("cifar_resnet", "resnet"), axis="depths", scaled="many",
        must=Must(" must be 6n + 2: 8, 14, 20, …", lambda value: value >= 8 and value % 6 == 2),
    )  # fmt: skip
    width: int = setting(
        16,
        "Channels of the first stage.",
        group=NETWORK, only_on=("cifar_resnet",), axis="widths", scaled="many", must=at_least(1),
    )  # fmt: skip
    width_multiplier: float = setting(
        1.0,
        "Scales the channels of all layers.",
        group=NETWORK, not_on=("cifar_resnet", "vit", "pit"), axis="width_multipliers",
        word="m{:g}", scaled="one", must=ABOVE_0,
    )  # fmt: skip
    spatial: Literal[tuple(spatials("train"))] | Own = setting(
        "lc",
        f"{listed(spatials('train'))} {own.HELP}",
        group=NETWORK,
    )
    frozen: bool = setting(
        True, "Whether the random filters stay fixed in training.", group=NETWORK, of="combination"
    )
    expansion: int = setting(
        1,
        "Random filters per output channel.",
        group=NETWORK, of="expansion", axis="expansions", scaled="many", must=at_least(1),
    )  # fmt: skip
    kernel_size: int = setting(
        3,
        "Height and width of the filters in pixels, odd.",
        group=NETWORK, only_on=("cifar_resnet",), axis="kernel_sizes", word="k{}", scaled="many",
        must=Must(
            ": a kernel size must be odd.", lambda value: value >= 1 and value % 2 == 1
        ),
    )  # fmt: skip
    compact: bool = setting(
        False,
        "The same network at the cost of plain convolutions.",
        group=NETWORK, of="combination", needs=_ALONE, axis="compact", word="compact", same=True,
    )  # fmt: skip
    between: Literal[tuple(BETWEEN)] = setting(
        "none",
        "Layers between the random filters and their combination (Appendix C).",
        group=NETWORK, of="combination", axis="between", word="{}",
    )  # fmt: skip
    shared_basis: bool = setting(
        False,
        "One tensor of random numbers for all layers.",
        group=NETWORK, of="combination", needs=_ALONE, argument="shared", axis="shared_basis",
        word="shared",
    )  # fmt: skip
    basis: str = setting(
        "uniform",
        f"What the random filters are: {', '.join(BASES)}, with their options if any: "
        f"sparse,taps=2. {own.HELP}",
        group=NETWORK, of="basis", axis="bases", word="{}", scaled="many", must=_BASIS_NAME,
    )  # fmt: skip
    seed: int = setting(
        0,
        "Seed of all random numbers. They are the same under every backend.",
        axis="seeds", paper=(0, 1, 2, 3), must=at_least(0, 2**63),
    )  # fmt: skip
    epochs: int = setting(
        75,
        "Number of epochs. The learning rate falls to 0 at the end.",
        axis="epochs", scaled="one", must=at_least(1),
    )  # fmt: skip
    subset: int | None = setting(
        None,
        "Number of training images, the same number of each class. None: all.",
        group=DATA, axis="subsets", word="n{}", scaled="one", must=at_least(1),
    )  # fmt: skip
    batch_size: int = setting(
        256,
        "Images in one step, over all devices.",
        axis="batch_sizes", word="b{}", scaled="one", must=at_least(1),
    )  # fmt: skip
    augmentation: Literal["auto", "crop_flip", "resized_crop_flip", "none"] = setting(
        "auto",
        "auto: as in the paper, crop_flip on CIFAR and none elsewhere; resized_crop_flip if an "
        "image size is given.",
        axis="augmentations", word="augment_{}",
    )  # fmt: skip
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = setting(
        "float32",
        "Number format of the computations. The weights are float32.",
        axis="precisions", word="{}", scaled="one",
    )  # fmt: skip
    weights: pathlib.Path | None = setting(
        None,
        "Pretrained weights of all layers but the head: a file of torchvision or timm (.pth, "
        ".safetensors), or a model of this library (.keras).",
        group=TRANSFER,
    )  # fmt: skip
    train: Literal["all", "head", "combinations"] = setting(
        "all",
        "all: all layers. head: only the layers after the global pooling. combinations: the "
        "spatial filters of --weights stay, and their combinations, other convolutions, "
        "normalization and head are trained.",
        group=TRANSFER, requires="weights",
    )  # fmt: skip
    head_epochs: int = setting(
        0,
        "The first of the --epochs, in which only the head is trained.",
        group=TRANSFER, requires="weights", must=at_least(0),
    )  # fmt: skip
    body_rate: float | None = setting(
        None,
        "Factor of the learning rate of all layers but the head. Defaults to 0.1 with --weights.",
        group=TRANSFER, requires="weights", must=ABOVE_0,
    )  # fmt: skip
    resolution: Literal["auto", "low", "full"] = setting(
        "auto",
        "Version of the network. low: for small images, with a stem of stride 1; full: for "
        "ImageNet's, with a stem of stride 2. auto: full for an image size of 64 or more, and with "
        "--weights of torchvision or timm.",
        group=TRANSFER,
    )  # fmt: skip
    backend: Literal["tensorflow", "jax", "torch"] | None = setting(
        None, "Defaults to KERAS_BACKEND, or Keras' own default.", group=MACHINE, listed=False
    )
    distribute: Literal["none", "data", "model"] = setting(
        "none",
        "data: each device takes a part of every batch. model (JAX only): each device holds a "
        "part of every basis. keras_lc.distribution.distribute explains how to start several "
        "processes.",
        group=MACHINE,
    )
    output: pathlib.Path | None = setting(
        None,
        "Folder of the run. Defaults to a new folder in runs/.",
        group=FILES, free=True, listed=False,
    )  # fmt: skip
    resume: _FLAG = setting(
        False,
        "Continue the stopped run in --output.",
        group=FILES, free=True, listed=False,
    )  # fmt: skip
    export: _FLAG = setting(
        False,
        "Also write a folded model for inference to the output folder.",
        group=FILES, free=True, listed=False,
    )  # fmt: skip
    export_format: Literal["tf_saved_model", "onnx", "litert", "torch"] = setting(
        "tf_saved_model", "File format of --export.", group=FILES, free=True, listed=False
    )
    export_quantization: Literal["none", "float16", "dynamic", "int8"] = setting(
        "none",
        "Smaller numbers in the file of --export: float16: 2 bytes for a weight; dynamic: 1 byte; "
        "int8: also computes in integers. Training images check the file.",
        group=FILES, free=True, listed=False,
    )  # fmt: skip
    export_probabilities: _FLAG = setting(
        False,
        "Whether the file of --export computes probabilities. Otherwise logits.",
        group=FILES, free=True, listed=False,
    )  # fmt: skip
    export_resize: _FLAG = setting(
        False,
        "Whether the file of --export takes pictures of any size. Not with int8.",
        group=FILES, free=True, listed=False,
    )  # fmt: skip
    export_opset: int | None = setting(
        None,
        "Version of ONNX' operations, 13 to 18. Defaults to tf2onnx's.",
        group=FILES, free=True, listed=False, must=at_least(13, 19),
    )  # fmt: skip


def columns() -> tuple[str, ...]:
    """Returns the settings that can differ between the runs of a table, the seed last."""
    names = [
        "operator" if name == "spatial" else name
        for name, known in settings_of(Settings).items()
        if known.group in (DATA, NETWORK, TRAINING)
        and known.tabled
        and not known.free
        and name != "frozen"
    ]
    return (*(name for name in names if name != "seed"), "seed")


def not_applicable(arguments: Mapping) -> set[str]:
    """Returns the settings that a run does not have, even if they were passed.

    Args:
        arguments: Dict, the settings of a run of `recipes.train` or `recipes.imagenet`.
    """
    operator = operator_of(operator_name(arguments["spatial"], arguments["frozen"]))
    return {
        name
        for name, known in settings_of(Settings).items()
        if not known.applies(arguments["network"], operator)
    }


def free_on_resume(arguments) -> set[str]:
    """Returns the settings that may change when a run is resumed."""
    return {
        name
        for described in (Settings, arguments)
        for name, setting in settings_of(described).items()
        if setting.free
    }


def check(arguments) -> None:
    """Raises `ValueError` for wrong settings. Needs no Keras and writes nothing.

    Args:
        arguments: An instance of a dataclass of settings.
    """
    known = settings_of(arguments)
    defaults = {field.name: field.default for field in dataclasses.fields(arguments)}
    for name, setting in known.items():
        value, must = getattr(arguments, name), setting.must
        if value is None:
            continue
        allowed = choices(type(arguments), name)
        if allowed and value not in allowed and not _takes_own(type(arguments), name, value):
            raise ValueError(_not_one_of(name, allowed, value))
        if must is not None and (must.always or setting.is_of(arguments.network)):
            must.check(name, value)
        if setting.requires and value != defaults[name]:
            if getattr(arguments, setting.requires) is None:
                raise ValueError(f"{_options({name: value}, '')} needs {option(setting.requires)}.")
    operator = operator_of(operator_name(arguments.spatial, arguments.frozen))
    if arguments.network in operator.not_on:
        able = [n for n in choices(type(arguments), "network") if n not in operator.not_on]
        raise ValueError(
            f"--spatial {arguments.spatial} needs a network with bottlenecks: {', '.join(able)}. "
            f"Received: --network {arguments.network}"
        )
    for name, setting in known.items():
        off = not setting.needs or not getattr(arguments, name)
        if off or not setting.applies(arguments.network, operator):
            continue
        found = {other: getattr(arguments, other) for other in setting.needs}
        if found != setting.needs:
            raise ValueError(
                f"{option(name)} needs {_options(setting.needs, ' and ')}. "
                f"Received: {_options(found, ', ')}"
            )


def _takes_own(described, name, value):
    return Own in typing.get_args(_types(described)[name]) and own.is_own(value)


def _not_one_of(name, allowed, value):
    form = f", or {own.FORM}" if name in ("operators", "spatial") else ""
    return f"{option(name)} must be one of {', '.join(allowed)}{form}. Received: {value}"


def _options(values, separator):
    return separator.join(" ".join(command_words({name: values[name]})) for name in values)


@functools.cache
def _types(described):
    return typing.get_type_hints(described, include_extras=True)


def choices(described: type, name: str) -> tuple[str, ...]:
    """Returns the allowed strings of a setting, or `()` if its type is not a list of strings."""
    kinds = [_types(described)[name], *typing.get_args(_types(described)[name])]
    return next((typing.get_args(kind) for kind in kinds if typing.get_origin(kind) is Literal), ())


def parse(described: type, description: str, default=None, words=None):
    """Returns the settings of a command line. `--help` lists them under their titles.

    Args:
        described: A dataclass of settings.
        description: String.
        default: An instance of it with other defaults, if any.
        words: List of the words of the command line. Defaults to those of this process.
    """
    default = default or described()
    groups = {}
    for name, known in settings_of(described).items():
        kind = Annotated[_types(described)[name], tyro.conf.arg(help=help_of(described, name))]
        field = dataclasses.field(default=getattr(default, name))
        groups.setdefault(known.group, []).append((name, kind, field))
    parts = []
    for title, fields in groups.items():
        part = dataclasses.make_dataclass(title.title(), fields, namespace={"__doc__": ""})
        field = dataclasses.field(default_factory=part)
        parts.append((title, tyro.conf.OmitArgPrefixes[part], field))
    whole = dataclasses.make_dataclass("Arguments", parts, namespace={"__doc__": ""})
    parsed = tyro.cli(whole, args=words, description=description)
    return described(**{k: v for title in groups for k, v in vars(getattr(parsed, title)).items()})


def help_of(described: type, name: str) -> str:
    """Returns the text of a setting in `--help`: its help, and the networks that have it."""
    known = settings_of(described)[name]
    networks = choices(described, "network")
    spatial = choices(described, "spatial")
    found = []
    if known.only_on:
        found += [network for network in known.only_on if network in networks]
    found += [f"not {network}" for network in known.not_on if network in networks]
    if known.of is not None:
        of = dict.fromkeys(o.spatial for o in OPERATORS.values() if known.of in o.has)
        found += [name for name in of if name in spatial]
    found += [_options({other: value}, "") for other, value in known.needs.items()]
    found += [] if known.requires is None else [option(known.requires)]
    return with_note(known.help, found)


def with_note(help: str, names: list[str]) -> str:
    """Returns a sentence with some names in brackets before its end."""
    if not names:
        return help
    end = "." if help.endswith(".") else ""
    return f"{help.removesuffix('.')} ({', '.join(names)}){end}"
