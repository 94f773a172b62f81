"""The runs of a sweep: every combination of some settings. Without Keras."""

import dataclasses
import itertools
import pathlib
import re
import typing
from typing import ClassVar, Literal

from ..common import checks
from ..common.command_line import command_words
from ..train import command as train

Operator = Literal["learned", "frozen", "lc_frozen", "lc_learnable", "gram_limit"]
Between = Literal["none", "relu", "bn", "bn_relu"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """The settings of one run of `recipes.train`.

    What an operator does not have is `None` or off, so that cells that are the same run are equal:
    the plain network has no expansion, and only frozen filters without anything between them and
    their combination have a compact form or come from a shared tensor.
    """

    dataset: str = "cifar10"
    network: str = "cifar_resnet"
    depth: int | None = 20
    width: int | None = 16
    operator: Operator = "lc_frozen"
    expansion: int | None = 1
    compact: bool = False
    between: Between = "none"
    shared_basis: bool = False
    kernel_size: int | None = 3
    epochs: int = 75
    subset: int | None = None
    batch_size: int = 256
    augmentation: str = "auto"
    precision: str = "float32"
    seed: int = 0

    module: ClassVar[str] = "recipes.train"
    evaluated: ClassVar[bool] = True
    downloads: ClassVar[bool] = True

    def __post_init__(self):
        if not re.fullmatch(r"\w[\w.-]*", self.dataset):
            raise ValueError(
                "The name of a data set stands in names of folders, and must be letters, digits, "
                f"_, - and dots. Received: {self.dataset!r}"
            )
        apply = object.__setattr__
        if not self.operator.startswith("lc_"):
            apply(self, "between", "none")
        if self.operator in ("learned", "frozen"):
            apply(self, "expansion", None)
        if self.operator != "lc_frozen" or self.between != "none":
            apply(self, "compact", False)
            apply(self, "shared_basis", False)
        if self.network != "cifar_resnet":
            apply(self, "depth", None)
            apply(self, "width", None)
            apply(self, "kernel_size", None)
        networks = typing.get_args(typing.get_type_hints(train.Arguments)["network"])
        if self.network not in networks:
            raise ValueError(
                f"A network must be one of {', '.join(networks)}. Received: {self.network}"
            )
        given = {name: value for name, value in self._settings().items() if value is not None}
        train.check(train.Arguments(**given))

    @property
    def name(self) -> str:
        """The name of the run's folder: all settings that are not the paper's, and seed."""
        network = self.network
        if network == "cifar_resnet":
            network = f"resnet{self.depth}_{self.width}"
        expansion = f"x{self.expansion}" if self.expansion is not None else ""
        words = [self.dataset, network + expansion, self.operator]
        if self.kernel_size not in (None, 3):
            words.append(f"k{self.kernel_size}")
        words += ["compact"] * self.compact + ["shared"] * self.shared_basis
        for name, label in (
            ("between", "{}"), ("subset", "n{}"), ("batch_size", "b{}"),
            ("augmentation", "augment_{}"), ("precision", "{}"),
        ):  # fmt: skip
            if getattr(self, name) != _DEFAULTS[name]:
                words.append(label.format(getattr(self, name)))
        return "-".join([*words, f"e{self.epochs}", f"s{self.seed}"])

    def train_arguments(self) -> list[str]:
        """Returns the settings as arguments of `recipes.train`."""
        return command_words(self._settings())

    def _settings(self):
        spatial = "lc" if self.operator.startswith("lc_") else self.operator
        settings = dataclasses.asdict(self)
        del settings["operator"]
        return settings | {"spatial": spatial, "frozen": self.operator != "lc_learnable"}


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Cell)}


@dataclasses.dataclass(frozen=True)
class Grid:
    """Settings, of which every combination is a run."""

    datasets: tuple[str, ...] = ("cifar10",)
    """digits, cifar10, cifar100, svhn_cropped, fashion_mnist; any name with an image folder."""
    networks: tuple[str, ...] = ("cifar_resnet",)
    """cifar_resnet, or a network that has no --depths, --widths and --kernel-sizes."""
    depths: tuple[int, ...] = (20,)
    widths: tuple[int, ...] = (16,)
    operators: tuple[Operator, ...] = ("lc_frozen",)
    """learned: plain convolutions. frozen: random filters alone. lc_frozen, lc_learnable: linear
    combinations of random filters, and of filters that are trained too."""
    expansions: tuple[int, ...] = (1,)
    """Random filters per output channel (lc_frozen, lc_learnable, gram_limit)."""
    kernel_sizes: tuple[int, ...] = (3,)
    compact: tuple[bool, ...] = (False,)
    """The same network at the price of a plain one (lc_frozen; others are run as they are)."""
    between: tuple[Between, ...] = ("none",)
    """What stands between filters and combination (lc_frozen, lc_learnable)."""
    shared_basis: tuple[bool, ...] = (False,)
    """One tensor of random numbers for all layers (lc_frozen; others are run as they are)."""
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    epochs: tuple[int, ...] = (75,)
    subsets: tuple[int | None, ...] = (None,)
    """Numbers of training images; None for all."""
    batch_sizes: tuple[int, ...] = (256,)
    augmentations: tuple[Literal["auto", "crop_flip", "none"], ...] = ("auto",)
    precisions: tuple[Literal["float32", "mixed_bfloat16", "mixed_float16"], ...] = ("float32",)

    def cells(self) -> list[Cell]:
        """Returns the runs, each once; those of the first seed first.

        Raises:
            ValueError: If a setting has no value.
        """
        axes = {AXES[field.name]: getattr(self, field.name) for field in dataclasses.fields(self)}
        empty = [name for name, values in axes.items() if not values]
        if empty:
            raise ValueError(f"There are no runs without a value for {', '.join(empty)}.")
        # So that a sweep that is stopped has something of everything.
        seeds = axes.pop("seed")
        combinations = [
            dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
        ]
        return list(dict.fromkeys(Cell(**c, seed=seed) for seed in seeds for c in combinations))


#: From a grid's settings to a cell's.
AXES = {
    "datasets": "dataset", "networks": "network", "depths": "depth", "widths": "width",
    "operators": "operator", "expansions": "expansion", "kernel_sizes": "kernel_size",
    "compact": "compact", "between": "between", "shared_basis": "shared_basis", "seeds": "seed",
    "epochs": "epochs", "subsets": "subset", "batch_sizes": "batch_size",
    "augmentations": "augmentation", "precisions": "precision",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How finished runs are attacked."""

    attack_images: int | None = None
    """Test images to attack, equally many of each class. Defaults to all."""
    epsilon: float = 1.0
    """Radius of the attacks, in grey levels of 255."""
    pgd_steps: int = 0
    """Steps of PGD, a stronger and slower attack; 0 for FGSM alone."""
    pgd_restarts: int = 1

    def check(self) -> None:
        """As `recipes.train.check`."""
        checks.check_range(self, ["attack_images", "pgd_restarts"])
        checks.check_range(self, ["pgd_steps"], 0)
        if not 0 <= self.epsilon <= 255:
            raise ValueError(f"--epsilon must be from 0 to 255. Received: {self.epsilon}")

    def arguments(self) -> list[str]:
        """Returns the settings as arguments of `recipes.evaluate`."""
        return command_words(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where the runs take place."""

    workers: int = 1
    """Runs at a time on this machine."""
    threads: int | None = None
    """CPU threads of each run. Defaults to an equal share of the cores."""
    ray: str | None = None
    """Address of a Ray cluster, `auto` for the one that this machine belongs to, `local` for a new
    one of --workers on this machine. All its machines must see the output folder, and this
    checkout and Python, at the same place."""
    gpus: float = 0
    """GPUs of each run on Ray; 0.25 puts four runs on one."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Defaults to KERAS_BACKEND, or Keras' own default."""
    data_dirs: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    """Data sets and where they lie: `--data-dirs cifar10 ~/cifar10-jpeg svhn_cropped ~/svhn`."""
    download: bool = False
    """Whether tensorflow-datasets may fetch data sets from the network."""
    timeout: float | None = None
    """Minutes that a run may take. One that takes longer is stopped, and has failed; the same
    command goes on with it."""
