"""Our numbers and the paper's, as Markdown and as pictures. Imports Keras."""

import dataclasses
import itertools
import pathlib
from collections.abc import Collection, Sequence

import keras
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from keras_lc.analysis import note_on_runs, plot_sweep, summarize

from ..common import own
from ..common.checks import in_one_line
from ..common.files import check_whole
from ..common.results import SAME_ATTACK, SAME_DATA, unlike
from ..sweep.grid import Cell


@dataclasses.dataclass(frozen=True)
class Runs:
    """The finished runs of a table or figure, and the paths of its pictures.

    Args:
        parts: Dict from the names of its parts to the rows of their runs.
        folder: Path of the folder with a folder for each run.
        name: Name of the table or figure.
        drawn: List of the paths of the pictures that were drawn.
    """

    parts: dict[str, list[dict]]
    folder: pathlib.Path
    name: str
    drawn: list[pathlib.Path] = dataclasses.field(default_factory=list)

    def picture(self, suffix: str = "") -> pathlib.Path:
        """Returns the path for a new picture."""
        self.drawn.append(self.folder / f"{self.name}{suffix}.png")
        return self.drawn[-1]

    @property
    def rows(self) -> list[dict]:
        """The rows of all parts, each once."""
        return list({row["run"]: row for rows in self.parts.values() for row in rows}.values())


def select(rows: list[dict], cells: Sequence[Cell]) -> list[dict]:
    """Returns the rows of some cells, in the order of the cells. Some may be missing."""
    by_name = {row["run"]: row for row in rows}
    return [by_name[cell.name] for cell in cells if cell.name in by_name]


def one_seed(rows: list[dict]) -> list[dict]:
    """Returns the rows of the smallest seed."""
    seed = min((row["seed"] for row in rows), default=None)
    return [row for row in rows if row["seed"] == seed]


def trained_model(runs: Runs, row: dict) -> keras.Model:
    """Returns the trained model of a run. A damaged file ends the program with one line."""
    path = runs.folder / row["run"] / "model.keras"
    check_whole(path)
    with in_one_line():
        own.import_modules({"spatial": row["operator"], "basis": row["basis"]})
    return keras.saving.load_model(path)


def draw_sweep(
    runs: Runs, suffix: str, rows: list[dict], x: str, y: str, group: str = "kind", **labels: str
) -> None:
    """Draws a line for each kind, if any: runs may be unfinished or not evaluated."""
    rows = [row for row in rows if row[y] is not None]
    if any(row[x] is not None for row in rows):
        plot_sweep(rows, runs.picture(suffix), x, y, group=group, **labels)


def check_comparable(rows: list[dict]) -> None:
    """Checks that runs are equal in the conditions that no table or picture shows.

    Raises:
        SystemExit: If they differ. The message names the condition and a run of each value.
    """
    for name, example in unlike(rows, (*SAME_DATA, "precision", *SAME_ATTACK)).items():
        values = "".join(f"\n  {value}: {run}" for value, run in example.items())
        raise SystemExit(
            f"These runs differ in `{name}`, so they cannot be compared:{values}\n"
            "Evaluate them again with equal settings, or use another --output."
        )


def conditions(rows: list[dict], attacked: bool) -> list[str]:
    """Returns the conditions of the runs as sentences, for the text below a table or figure.

    Args:
        rows: List of rows.
        attacked: Boolean, whether accuracy under attack is shown.
    """
    attack = (
        ("epsilon", "Attack: FGSM, radius {:g} of 255 grey levels"),
        ("attack_images", "Attacked test images: {}"),
    )
    strong = attacked and any(row["pgd_accuracy"] is not None for row in rows)
    pgd = (("pgd_steps", "Steps of PGD: {}"), ("pgd_restarts", "Restarts of PGD: {}")) * strong
    sentences = []
    for name, sentence in (
        ("data_source", "Data: {}"),
        *(attack if attacked else ()),
        *pgd,
        ("backend", "Backend: {}"),
        ("keras", "Keras: {}"),
        ("device", "Device: {}"),
        ("git_commit", "Commit: {}"),
    ):
        counts = {}
        for row in rows:
            value = row[name]
            if name == "attack_images" and row["robust_accuracy"] is not None:
                value = value or "all"
            if value is not None:
                counts[value] = counts.get(value, 0) + 1
        if not counts:
            continue
        if len(counts) == 1:
            sentences.append(sentence.format(*counts) + ".")
        else:
            several = "; ".join(f"{value} ({count} runs)" for value, count in counts.items())
            sentences.append(sentence.format(several) + ".")
    return sentences


def departures(rows: list[dict], attacked: bool, of_lc: bool = True) -> list[str]:
    """Returns how runs differ from the paper's besides their settings, in words.

    Args:
        rows: List of rows.
        attacked: Boolean, whether accuracy under attack is shown.
        of_lc: Boolean, whether the paper is the LC paper.
    """
    imagenet = [row for row in rows if row["dataset"] == "imagenet"]
    small = [row for row in rows if row["dataset"] != "imagenet"]
    notes = [
        *(f"data: {source} instead of original" for source in _others(small, "data_source")),
        *(_batches(small) if of_lc else ()),
        *(_networks(small) if of_lc else ()),
        *_controls(small),
        *(
            f"ImageNet: {images:,} training images instead of {_IMAGENET_IMAGES:,}"
            for images in _others(imagenet, "training_images")
        ),
        *(
            f"ImageNet: {precision} instead of mixed precision"
            for precision in _others(imagenet, "precision")
        ),
    ]
    if attacked:
        notes += [
            *(f"attack: radius {e:g}/255 instead of 1/255" for e in _others(rows, "epsilon")),
            *(f"attack: {n:,} test images instead of all" for n in _others(rows, "attack_images")),
        ]
    return notes


def _batches(rows):
    """What the paper's text doesn't say, and its authors' tinytorchtrainer does."""
    steps = dict.fromkeys(divmod(row["training_images"], row["batch_size"]) for row in rows)
    return dict.fromkeys(
        f"batches: {full:,} steps an epoch instead of {full + 1:,}, which is what the authors' own "
        "trainer makes: a last batch that is not full is left out here"
        for full, rest in steps
        if rest
    )


def _networks(rows):
    """What differs in the networks for small images of the authors' trainer."""
    networks = {row["network"] for row in rows} - {"cifar_resnet"}
    if networks:
        yield (
            "initial values: the uniform ones of the paper's Appendix B everywhere; the authors' "
            "trainer starts the convolutions of off-the-shelf networks with normal ones (Kaiming, "
            "fan-out)"
        )
    if "mobilenet_v2" in networks:
        yield "dropout: none; the authors' MobileNet v2 has a rate of 0.2 before its classifier"


def _controls(rows):
    if any(row["operator"] == "gram_limit" for row in rows):
        yield (
            "control (plain, LC's learning rates): it is the limit of many random filters, and not "
            "the equal of 128, where the eigenvalues of `K · Kᵀ` still spread from about 0.55 to "
            "1.6 times their mean"
        )


_IMAGENET_IMAGES = 1_281_167
_PAPERS = {
    "data_source": ("original",),
    "training_images": (_IMAGENET_IMAGES,),
    "precision": ("mixed_float16", "mixed_bfloat16"),
    "epsilon": (1,),
    "attack_images": (),
}


def _others(rows, name):
    """Returns the known values of a column that differ from the paper's."""
    values = dict.fromkeys(row[name] for row in rows)
    return [value for value in values if value not in (None, *_PAPERS[name])]


def percent(mean: float, deviation: float | None, runs: int | None = None) -> str:
    """Returns a share or mean in percent: `91.20 ± 0.15 (4)`, with the number of runs."""
    text = f"{100 * mean:.2f}"
    if deviation is not None:
        text += f" ± {100 * deviation:.2f}"
    return text + (f" ({runs})" if runs is not None else "")


def plain(mean: float, deviation: float | None, runs: int | None = None) -> str:
    """Returns a mean as it is: `0.912 ± 0.002 (4)`."""
    text = f"{mean:.3f}" + (f" ± {deviation:.3f}" if deviation is not None else "")
    return text + (f" ({runs})" if runs is not None else "")


def whole(mean: float, deviation: float | None, runs: int | None = None) -> str:
    """Returns a mean of whole numbers, which seeds hardly change: `272,474`."""
    return f"{mean:,.0f}"


def means(rows: list[dict], value: str, row: str, column: str) -> dict[tuple, dict]:
    """Returns mean, deviation and number of runs for each row and column of a table."""
    if not any(found.get(value) is not None for found in rows):
        return {}
    return {
        (point[row], point[column]): point for point in summarize(rows, value, by=[row, column])
    }


def pivot(rows: list[dict], value: str, row: str, column: str, corner: str, form=percent) -> str:
    """Returns a Markdown table of means, a line for each value of `row`."""
    found = means(rows, value, row, column)
    if not found:
        return f"{corner}: not measured."
    columns = list(dict.fromkeys(key[1] for key in found))
    lines = dict.fromkeys(key[0] for key in found)
    return markdown_table(
        [corner, *columns],
        [
            ["-" if line is None else line]
            + [
                form(*(found[line, name][key] for key in ("mean", "deviation", "runs")))
                if (line, name) in found
                else "-"
                for name in columns
            ]
            for line in lines
        ],
    )


def measured(rows: list[dict], line: str, columns: dict[str, tuple]) -> str:
    """Returns a Markdown table of means, a column for each thing that was measured.

    Args:
        rows: List of rows.
        line: Key of which each value has a line.
        columns: Dict from keys of what was measured to a heading and a function that writes mean,
            deviation and number of runs. What no run has is left out.
    """
    rows = [{**row, "hours": (row["seconds"] or 0) / 3600, "of": None} for row in rows]
    found = {name: means(rows, name, line, "of") for name in columns}
    shown = [name for name in columns if found[name]]
    table = []
    for value in dict.fromkeys(row[line] for row in rows):
        cells = [value]
        for name in shown:
            point = found[name].get((value, None))
            write = columns[name][1]
            cells.append(
                "-" if point is None else write(point["mean"], point["deviation"], point["runs"])
            )
        table.append(cells)
    return markdown_table(["", *(columns[name][0] for name in shown)], table)


def beside_paper(found: dict[tuple, dict], paper: dict[tuple, tuple], corner: str = "") -> str:
    """Returns a Markdown table of our numbers and the paper's, side by side."""
    columns = list(dict.fromkeys(column for _, column in [*paper, *found]))
    lines = list(dict.fromkeys(line for line, _ in found))
    # The paper has no controls.
    papers = {column for _, column in paper}
    header = [corner]
    for column in columns:
        header += [f"{column}, here"] + [f"{column}, paper"] * (column in papers)
    table = []
    for line in lines:
        cells = ["-" if line is None else line]
        for column in columns:
            ours, theirs = found.get((line, column)), paper.get((line, column))
            cells.append(percent(ours["mean"], ours["deviation"], ours["runs"]) if ours else "-")
            cells += [_paper_number(theirs)] * (column in papers)
        table.append(cells)
    return markdown_table(header, table)


def _paper_number(number):
    if number is None:
        return "-"
    mean, error = number
    return f"{mean:.2f}" if error is None else f"{mean:.2f} ± {error:.2f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def draw_beside_paper(
    found: dict[tuple, dict], paper: dict[tuple, tuple], path: pathlib.Path
) -> None:
    """Draws our numbers and the paper's with errors, one panel for each line of the table."""
    lines = list(dict.fromkeys(line for line, _ in found))
    columns = list(dict.fromkeys(column for _, column in [*paper, *found]))
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(2.1 * len(lines) + 0.8, 2.8), layout="constrained")
        axes = figure.subplots(1, len(lines), squeeze=False)[0]
        for axis, line in zip(axes, lines, strict=True):
            series = {"here": _ours(found, line), "paper": _theirs(paper, line)}
            _draw_points(axis, series, columns)
            axis.set_title(line)
        _finish(figure, axes, path, f"here: {note_on_runs(found.values())}; paper: as it reports")


def draw_series(
    found: dict[tuple, dict], path: pathlib.Path, title: str, right: Collection[str] = ()
) -> None:
    """Draws our numbers with errors in one panel, one series for each column of the table.

    Args:
        right: Lines of the table that stand right of a vertical divider.
    """
    lines, columns = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    by_column = {(column, line): point for (line, column), point in found.items()}
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(0.6 * len(lines) + 1.4, 2.8), layout="constrained")
        axis = figure.subplots()
        lines.sort(key=lambda line: line in right)
        _draw_points(axis, {column: _ours(by_column, column) for column in columns}, lines)
        left = sum(line not in right for line in lines)
        if 0 < left < len(lines):
            axis.axvline(left - 0.5, color="0.4", linewidth=1)
        _finish(figure, [axis], path, f"{title}: {note_on_runs(found.values())}")


def draw_trade_off(rows: list[dict], sizes: dict[str, str], path: pathlib.Path) -> None:
    """Draws accuracy over sizes of networks, a panel for each size and a line for each kind.

    Args:
        rows: List of rows, with the `kind`, and the `line` that tells networks of a kind apart.
        sizes: Dict from keys of numbers to labels of the horizontal axes, which are logarithmic.
            What no run has is left out.
        path: Path of the PNG.
    """
    accuracy = means(rows, "test_accuracy", "line", "kind")
    found = {name: means(rows, name, "line", "kind") for name in sizes}
    shown = [name for name in sizes if found[name]]
    with matplotlib.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3.2 * len(shown) + 0.4, 3), layout="constrained")
        axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axis, name in zip(axes, shown, strict=True):
            lines = {}
            for place, point in found[name].items():
                kind = place[1]
                mean, deviation = accuracy[place]["mean"], accuracy[place]["deviation"] or 0
                lines.setdefault(kind, []).append((point["mean"], 100 * mean, 100 * deviation))
            for (kind, points), (colour, marker) in zip(
                lines.items(), itertools.cycle(_STYLES), strict=False
            ):
                x, y, error = zip(*sorted(points), strict=True)
                axis.errorbar(
                    x, y, yerr=error, fmt=f"{marker}-", color=colour, label=kind,
                    markersize=4, linewidth=1, capsize=2.5,
                )  # fmt: skip
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel(sizes[name])
            axis.grid(alpha=0.3, linewidth=0.5, which="both")
        _finish(figure, axes, path, note_on_runs(accuracy.values()))


_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))


def _draw_points(axis, series, places):
    shifts = 0.24 * (np.arange(len(series)) - (len(series) - 1) / 2)
    for (label, points), (colour, marker), shift in zip(
        series.items(), itertools.cycle(_STYLES), shifts, strict=False
    ):
        if points:
            axis.errorbar(
                [places.index(place) + shift for place in points],
                [mean for mean, _ in points.values()],
                yerr=[error or 0 for _, error in points.values()],
                fmt=marker, color=colour, label=label, markersize=4, capsize=2.5,
            )  # fmt: skip
    axis.set_xticks(range(len(places)), places, rotation=35, ha="right")
    axis.set_xlim(-0.5, len(places) - 0.5)
    axis.grid(alpha=0.3, linewidth=0.5)


def _finish(figure, axes, path, title):
    axes[0].set_ylabel("accuracy (%)")
    # Some panels do not have all series.
    handles = {}
    for axis in axes:
        found, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    figure.legend(
        handles.values(), handles, loc="outside upper center", ncols=len(handles), frameon=False
    )
    figure.supxlabel(title, fontsize=7, color="0.35")
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", dpi=240, bbox_inches="tight")
    temporary.replace(path)


def _ours(found, line):
    return {
        column: (100 * point["mean"], 100 * (point["deviation"] or 0))
        for (row, column), point in found.items()
        if row == line
    }


def _theirs(paper, line):
    return {column: number for (row, column), number in paper.items() if row == line}


def break_even(rows: list[dict], x: str, y: str, first: str, second: str) -> str:
    """Returns in words where runs of the first kind are better than runs of the second kind.

    Args:
        rows: List of rows with a `kind`.
        x: Key of the setting on the horizontal axis. Runs without it (the plain network has no
            expansion) have the same value everywhere.
        y: Key of the measured value.
        first, second: The kinds.
    """
    found = means(rows, y, x, "kind")
    places = sorted(place for place, kind in found if kind == first and place is not None)
    leads = {}
    for place in places:
        other = found.get((place, second)) or found.get((None, second))
        if other is not None:
            leads[place] = found[place, first]["mean"] - other["mean"]
    if not leads:
        return "not run"
    ahead = [place for place, lead in leads.items() if lead > 0]
    if not ahead:
        return f"nowhere (up to {max(leads)})"
    for place in ahead:
        if all(other in ahead for other in leads if other >= place):
            return f"from {place} on" if place > min(leads) else f"everywhere (from {place} on)"
    behind = [place for place in leads if place > ahead[0] and place not in ahead]
    return f"at {', '.join(map(str, ahead))}; not at {', '.join(map(str, behind))}"
