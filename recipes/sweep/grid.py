"""The runs of a sweep: every combination of some settings. No Keras."""

import dataclasses
import itertools
import pathlib
import re
import typing
from typing import Annotated, ClassVar, Literal

import tyro

from ..common import own
from ..common.command_line import PACKAGE, command_words
from ..common.settings import (
    NETWORKS,
    Setting,
    Settings,
    check,
    check_operator,
    listed,
    operator_of,
    operators,
    settings_of,
    with_note,
)

Operator = Literal[tuple(operators("train"))] | own.Own


@dataclasses.dataclass(frozen=True)
class Axis:
    """A setting that sweeps vary.

    Args:
        setting: String, the field of a cell.
        kind: The type of its values.
        values: Tuple, the values in the paper's experiments.
        known: The `Setting`.
    """

    setting: str
    kind: typing.Any
    values: tuple
    known: Setting

    @property
    def help(self) -> str:
        """Its text in `--help`, with the networks and operators that have it."""
        of, frozen = self.known.of, self.known.needs.get("frozen")
        found = [
            name
            for name, operator in operators("train").items()
            if of in operator.has and frozen in (None, operator.frozen)
        ]
        networks = [network for network in self.known.only_on if network in NETWORKS]
        return with_note(self.known.help, networks + found)


def axes_of(described: type, **instead: tuple[str, Axis]) -> dict[str, Axis]:
    """Returns the axes of a dataclass of settings, by name.

    Args:
        described: The dataclass.
        **instead: Names and axes that replace settings.
    """
    kinds = typing.get_type_hints(described)
    found = {}
    for field in dataclasses.fields(described):
        known = settings_of(described)[field.name]
        if field.name in instead:
            name, axis = instead[field.name]
            found[name] = axis
        elif known.axis is not None:
            values = known.paper or (field.default,)
            found[known.axis] = Axis(field.name, kinds[field.name], values, known)
    return found


def cell_fields(axes: dict[str, Axis]) -> type:
    """Returns a dataclass with a field for each axis. The default is the paper's first value."""
    fields = [
        (axis.setting, axis.kind, dataclasses.field(default=axis.values[0]))
        for axis in axes.values()
    ]
    return dataclasses.make_dataclass("CellFields", fields, frozen=True)


def grid_fields(axes: dict[str, Axis]) -> type:
    """Returns a dataclass with a field for each axis. The default is all values of the paper."""
    fields = [
        (
            name,
            Annotated[tuple[axis.kind, ...], tyro.conf.arg(help=axis.help)],
            dataclasses.field(default=axis.values),
        )
        for name, axis in axes.items()
    ]
    return dataclasses.make_dataclass("GridFields", fields, frozen=True)


class Combinations:
    """The common part of all grids: every combination of their settings is a run."""

    axes: ClassVar[dict[str, Axis]]
    cell: ClassVar[type]

    def cells(self) -> list:
        """Returns the runs, each once. The runs of the first seed come first.

        Raises:
            ValueError: If a setting has no value.
        """
        values = {axis.setting: getattr(self, name) for name, axis in self.axes.items()}
        empty = [name for name, found in values.items() if not found]
        if empty:
            raise ValueError(f"There are no runs without a value for {', '.join(empty)}.")
        # Seeds are the outer loop: a stopped sweep then has some runs of each kind.
        seeds = values.pop("seed")
        combinations = [
            dict(zip(values, found, strict=True)) for found in itertools.product(*values.values())
        ]
        return list(
            dict.fromkeys(self.cell(**c, seed=seed) for seed in seeds for c in combinations)
        )


def words_of(cell, axes: dict[str, Axis]) -> list[str]:
    """Returns the words of a cell's name for settings that differ from the paper's."""
    return [
        own.in_folder_names(axis.known.word.format(value))
        for axis in axes.values()
        if axis.known.word and (value := getattr(cell, axis.setting)) not in (None, axis.values[0])
    ]


_OPERATORS = Axis(
    "operator",
    Operator,
    ("lc_frozen",),
    Setting(
        f"{listed({name: known.help for name, known in operators('train').items()})} {own.HELP}"
    ),
)
_AXES = axes_of(Settings, spatial=("operators", _OPERATORS))


@dataclasses.dataclass(frozen=True)
class Cell(cell_fields(_AXES)):
    """The settings of one run of `recipes.train`.

    Settings that the operator or the network does not have are `None` or off. So two cells of the
    same run are equal. For example, the plain network has no expansion. Compact form and shared
    basis need frozen filters with nothing between them and their combination.
    """

    axes: ClassVar[dict[str, Axis]] = _AXES
    module: ClassVar[str] = f"{PACKAGE}.train"
    evaluated: ClassVar[bool] = True
    downloads: ClassVar[bool] = True

    def __post_init__(self):
        if not re.fullmatch(r"\w[\w.-]*", self.dataset):
            raise ValueError(
                "The name of a data set is part of folder names. Use letters, digits, _, - and "
                f"dots. Received: {self.dataset!r}"
            )
        check_operator(self.operator)
        operator = operator_of(self.operator)
        for axis in _AXES.values():
            known, default = axis.known, axis.values[0]
            if not known.applies(self.network, operator):
                number = isinstance(default, int | float) and not isinstance(default, bool)
                object.__setattr__(self, axis.setting, None if number else default)
            elif known.needs.items() - (vars(self) | {"frozen": operator.frozen}).items():
                object.__setattr__(self, axis.setting, default)
        given = {name: value for name, value in self._settings().items() if value is not None}
        check(Settings(**given))

    @property
    def name(self) -> str:
        """The name of the run's folder: all settings that differ from the paper's, and the seed."""
        network = self.network
        if network == "cifar_resnet":
            network = f"resnet{self.depth}_{self.width}"
        expansion = f"x{self.expansion}" if self.expansion is not None else ""
        operator = own.in_folder_names(self.operator)
        words = [self.dataset, network + expansion, operator, *words_of(self, _AXES)]
        return "-".join([*words, f"e{self.epochs}", f"s{self.seed}"])

    def train_arguments(self) -> list[str]:
        """Returns the settings as arguments of `recipes.train`."""
        return command_words(self._settings())

    def _settings(self):
        operator = operator_of(self.operator)
        settings = dataclasses.asdict(self)
        del settings["operator"]
        return settings | {"spatial": operator.spatial, "frozen": operator.frozen is not False}


@dataclasses.dataclass(frozen=True)
class Grid(grid_fields(_AXES), Combinations):
    """Settings. Every combination is a run; a setting that does not apply adds no runs."""

    axes: ClassVar[dict[str, Axis]] = _AXES
    cell: ClassVar[type] = Cell


@dataclasses.dataclass(frozen=True)
class Machine:
    """The machine or cluster for the runs."""

    workers: int = 1
    """Number of runs at the same time on this machine."""
    threads: int | None = None
    """CPU threads of each run. Defaults to an equal share of the cores."""
    ray: str | None = None
    """Address of a Ray cluster; `auto`: the cluster of this machine; `local`: a new cluster on this
    machine, for --workers runs. All machines of a cluster must have the output folder, this
    checkout and Python at the same paths."""
    gpus: float = 0
    """GPUs for each run on Ray. With 0.25, four runs share one GPU."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Defaults to KERAS_BACKEND, or Keras' own default."""
    data_dirs: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    """Data sets and their folders: `--data-dirs cifar10 ~/cifar10-jpeg svhn_cropped ~/svhn`."""
    download: bool = False
    """Whether tensorflow-datasets may download data sets."""
    timeout: float | None = None
    """Minutes for each run. A run that takes longer is stopped and counts as failed; the same
    command resumes it."""
