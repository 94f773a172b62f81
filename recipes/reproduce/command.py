"""Make the papers' tables and figures, with the papers' numbers.

    python -m recipes.reproduce table1 figure4 --datasets cifar10 \\
        --data-dirs cifar10 ~/cifar10-jpeg --epochs 10 --seeds 2 --expansions 1 8 128

The first are of *The Power of Linear Combinations*, and those that begin with pf_ of *Learning
Features with Parameter-Free Layers*. Each table or figure is a sweep (see `recipes.sweep`). It
writes `NAME.md`, `NAME.json` with its runs, and pictures to --output. All share their runs there:
figures 4 and 5 show the same sweep. Without options, it is the paper's experiment, which takes up
to hundreds of GPU hours. Options scale it to the machine; the result lists how its settings differ
from the paper's. Figures 2 and 3 are drawings, and the paper's text mentions no figure 9.

Two comparisons are not in the papers. Both take 2 seeds if you set no other number:
`weights`: small LC networks with narrower plain networks, in 15 epochs.
`bases`: several kinds of frozen filters, in 10 epochs on 10,000 images.

Where a paper varies a setting, your values replace its values. Where it has one value, that value
stays if it is among yours; otherwise the first of yours replaces it, and the others have no effect.
"""

import dataclasses
import os
import pathlib
import re
import sys
from typing import Annotated, Literal

import tyro

from ..common import checks, own
from ..common.command_line import described, this_command
from ..common.files import write_json, write_text
from ..common.results import collect
from ..common.settings import check_operator
from ..evaluate.settings import Evaluation
from ..imagenet.presets import PRESETS, preset_operator
from ..sweep.command import check_machine, share_cores, sweep
from ..sweep.grid import Grid, Machine, Operator
from ..sweep.imagenet_grid import ImageNetGrid
from ..sweep.jobs import training_job
from .experiments import EXPERIMENTS, cells_of, differences, scale, title_of

Name = Literal[
    "table1", "table2", "table3", "figure1", "figure4", "figure5", "figure6", "figure7", "figure8",
    "figure10", "figure11", "figure12", "weights", "bases",
    "pf_table_resnet", "pf_table_transformers", "pf_depthwise",
]  # fmt: skip


def _scaled_settings():
    """Returns the options that scale an experiment, with the names of the axes of grids."""
    found = {}
    for name, axis in (Grid.axes | ImageNetGrid.axes).items():
        if axis.known.scaled == "many":
            found[name] = (name, tuple[axis.kind, ...], (), axis)
        elif axis.known.scaled == "one":
            found[axis.setting] = (name, axis.kind | None, None, axis)
    return found


_SCALED = _scaled_settings()
# From options to the axes of the grids.
_AXES = {option: name for option, (name, *_) in _SCALED.items()}
_Scaled = dataclasses.make_dataclass(
    "_Scaled",
    [
        (option, Annotated[kind, tyro.conf.arg(help=axis.help)], dataclasses.field(default=default))
        for option, (_, kind, default, axis) in _SCALED.items()
    ],
    frozen=True,
    kw_only=True,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arguments(_Scaled):
    """Tables and figures, and their scale. Defaults to the paper's values."""

    names: tyro.conf.Positional[tuple[Name, ...]]
    """Tables and figures to make."""
    output: pathlib.Path = pathlib.Path("runs/paper")
    """Folder of the runs, tables and pictures."""
    seeds: int | None = None
    """Number of runs of each kind."""
    datasets: tuple[str, ...] = ()
    """Use only these: with cifar10, figure 1 leaves out imagenet."""
    operators: tuple[Operator, ...] = ()
    """Use only these; gram_limit adds a control to experiments with frozen LC. A class of your own
    is added to experiments with frozen filters: my_module:MyOperator,rate=2."""
    compact: bool = True
    """Whether frozen LC networks train in their compact form: the same network and training, at
    the cost of plain convolutions."""
    render_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Run nothing: make tables and figures from the finished runs."""
    evaluation: tyro.conf.OmitArgPrefixes[Evaluation] = dataclasses.field(
        default_factory=Evaluation
    )
    machine: tyro.conf.OmitArgPrefixes[Machine] = dataclasses.field(default_factory=Machine)


def main() -> None:
    arguments = tyro.cli(Arguments, description=described(__doc__))
    if not arguments.names:
        raise SystemExit(f"Name at least one of {', '.join(EXPERIMENTS)}.")
    with checks.in_one_line():
        arguments.evaluation.check()
        checks.check_packages(["matplotlib"], "A figure")
        for name in arguments.operators:
            check_operator(name)
    grids = {name: scaled(name, arguments) for name in arguments.names}
    failed = False
    if not arguments.render_only:
        machine = share_cores(arguments.machine)
        cells = dict.fromkeys(
            cell for parts in grids.values() for part in cells_of(parts).values() for cell in part
        )
        check_machine(cells, machine, arguments.output)
        # The first seed of all experiments comes first.
        jobs = [
            training_job(cell, arguments.output, arguments.evaluation, machine)
            for cell in sorted(cells, key=lambda cell: cell.seed)
        ]
        outcomes = sweep(jobs, arguments.output, machine)
        failed = any(outcome.state == "failed" for outcome in outcomes)
    if arguments.machine.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.machine.backend
    for name, parts in grids.items():
        try:
            print(render(name, parts, arguments.output))
        except SystemExit as error:
            print(error, file=sys.stderr)
            failed = True
    sys.exit(1 if failed else 0)


def scaled(name: str, arguments: Arguments) -> dict:
    """Returns the grids of a table or figure, scaled as the arguments say."""
    given = {axis: _tuple(getattr(arguments, option)) for option, axis in _AXES.items()}
    given["datasets"] = tuple(name for name in arguments.datasets if name != "imagenet")
    unknown = sorted(set(arguments.presets) - set(PRESETS))
    if unknown:
        raise SystemExit(f"--presets must be of {', '.join(PRESETS)}. Received: {unknown[0]}")
    if arguments.seeds is not None and arguments.seeds < 1:
        raise SystemExit(f"--seeds must be at least 1. Received: {arguments.seeds}")
    experiment, wanted, grids = EXPERIMENTS[name], {}, {}
    settings = {**experiment.budget, **{axis: found for axis, found in given.items() if found}}
    for part, grid in experiment.grids.items():
        if arguments.datasets and not _has_any(grid, arguments.datasets):
            continue
        grid = scale(grid, **settings, compact=(arguments.compact,))
        if arguments.seeds is not None:
            grid = dataclasses.replace(grid, seeds=tuple(range(arguments.seeds)))
        wanted[part] = grid
    with checks.in_one_line():
        wanted = experiment.complete(wanted)
    for part, grid in wanted.items():
        grid = _restrict(grid, arguments.operators, arguments.expansions)
        if grid is not None:
            grids[part] = _checked(grid)
    if not grids:
        raise SystemExit(f"{name} has no runs with these --datasets, --operators and --expansions.")
    for option, axis in _AXES.items():
        # Parts without one of --datasets are left out above.
        applies = axis == "datasets" or any(_has_axis(grid, axis) for grid in grids.values())
        if given[axis] and not applies:
            raise SystemExit(
                f"--{option.replace('_', '-')} has no effect on {name}, which would run at full "
                "size. Run it in a separate command."
            )
    return grids


def _checked(grid):
    with checks.in_one_line():
        grid.cells()
    return grid


def _tuple(value):
    if value is None or isinstance(value, tuple):
        return value or ()
    return (value,)


def _has_axis(grid, axis):
    if axis == "expansions" and isinstance(grid, ImageNetGrid):
        return any(preset_operator(preset)[1] is not None for preset in grid.presets)
    return hasattr(grid, axis)


def _has_any(grid, datasets):
    if isinstance(grid, ImageNetGrid):
        return "imagenet" in datasets
    return any(name != "imagenet" for name in datasets)


def _restrict(grid, operators, expansions):
    """Returns a grid with some of its operators and the control; `None` if none are left."""
    if isinstance(grid, ImageNetGrid):
        return _restrict_presets(grid, operators, expansions)
    if not operators:
        return grid
    kept = tuple(name for name in grid.operators if name in operators)
    if "gram_limit" in operators and "lc_frozen" in grid.operators:
        kept += ("gram_limit",)
    if {"frozen", "lc_frozen"} & set(grid.operators):
        kept += tuple(filter(own.is_own, operators))
    return dataclasses.replace(grid, operators=kept) if kept else None


def _restrict_presets(grid, operators, expansions):
    def asked(preset):
        operator, expansion = preset_operator(preset)
        return (not operators or operator in operators) and (
            not expansions or expansion in (None, *expansions)
        )

    spatials = tuple(s for s in grid.spatials if s is None or not operators or s in operators)
    if "frozen" in grid.spatials:
        spatials += tuple(filter(own.is_own, operators))
    # If the grid sets the operator, the preset is only the rest of the network.
    presets = tuple(filter(asked, grid.presets)) if None in grid.spatials else grid.presets
    if not spatials or not presets:
        return None
    return dataclasses.replace(grid, spatials=spatials, presets=presets)


def render(name: str, grids: dict, output: pathlib.Path) -> str:
    """Writes a table or figure of the finished runs.

    Args:
        name: Name of the experiment.
        grids: Dict from its parts to their grids.
        output: Path of the folder of the runs, and of `NAME.md`, `NAME.json` and `NAME*.png`.

    Returns:
        The Markdown.

    Raises:
        SystemExit: If no run is finished, or runs differ in conditions that are not shown.
    """
    # After the backend is chosen.
    from .figures import RENDERERS
    from .numbers import OPERATORS
    from .render import Runs, check_comparable, conditions, departures, select

    rows, broken = collect(output)
    for message in broken:
        print(f"left out {message}", file=sys.stderr)
    written = [{**row, "kind": OPERATORS.get(row["operator"], row["operator"])} for row in rows]
    cells = cells_of(grids)
    parts = {part: select(written, wanted) for part, wanted in cells.items()}
    experiment = EXPERIMENTS[name]
    # An omitted part has no runs.
    for part in experiment.grids:
        parts.setdefault(part, [])
    runs = Runs(parts, output, name)
    if not runs.rows:
        raise SystemExit(f"{name}: no run is finished yet in {output}.")
    check_comparable(runs.rows)
    body = RENDERERS[name](runs)
    # Remove old pictures that were not drawn this time.
    for path in set(pictures(output, name)) - set(runs.drawn):
        path.unlink()

    title = title_of(experiment.title, grids)
    asked = len({cell for wanted in cells.values() for cell in wanted})
    notes = [f"{len(runs.rows)} of {asked} runs are finished."] if len(runs.rows) < asked else []
    notes += _differences(experiment.grids, grids)
    notes += departures(runs.rows, experiment.attacked, experiment.of_lc)
    notes += experiment.notes
    marks = "\n".join(f"- {note}" for note in notes) or "- nothing: these are the paper's settings"
    hours = sum(row["seconds"] or 0 for row in runs.rows) / 3600
    text = "\n\n".join(
        [
            f"# {_heading(name)}: {title}",
            f"Not as in the paper:\n\n{marks}",
            body,
            *(f"![{path.stem}]({path.name})" for path in pictures(output, name)),
            "Here: mean ± sample standard deviation (number of runs). "
            + " ".join(conditions(runs.rows, experiment.attacked))
            + f" Training: {hours:.2f} h in all.",
        ]
    )
    write_text(output / f"{name}.md", text + "\n")
    write_json(
        output / f"{name}.json",
        {
            "title": title,
            "command": this_command(),
            "not_as_in_the_paper": notes,
            "training_hours": hours,
            "runs": runs.rows,
        },
    )
    return text


def _heading(name):
    """Returns a name as it stands above its result: `Figure 4`, `Weights`."""
    name = re.sub(r"(?<=[a-z])(?=\d)", " ", name.replace("_", " ")).capitalize()
    return name.replace("Pf ", "Parameter-free ")


def _differences(paper, grids):
    """Returns how the grids differ from the paper's. Differences of all grids come first."""
    by_part = {part: differences(paper[part], grid) for part, grid in grids.items()}
    first, *others = by_part.values()
    common = [note for note in first if all(note in found for found in others)]
    notes = common + [
        f"{part}: {note}" for part, found in by_part.items() for note in found if note not in common
    ]
    return notes + [f"{part}: left out" for part in paper if part not in grids]


def pictures(output: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Returns the pictures of a table or figure: `figure1a.png`, but not `figure10.png`."""
    return [
        path
        for path in sorted(output.glob(f"{name}*.png"))
        if not path.stem.removeprefix(name)[:1].isdigit()
    ]
