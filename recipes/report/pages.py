"""The pages of `recipes.report`. Imports Keras."""

import base64
import datetime
import functools
import pathlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable

import jinja2
import keras
import numpy as np

import keras_lc
from keras_lc.analysis import (
    filter_report,
    plot_curves,
    plot_filters,
    plot_kernels,
    plot_spatial_variance,
    plot_sweep,
    spatial_kernels,
)

from ..common import own
from ..common.checks import in_one_line
from ..common.command_line import PACKAGE, program
from ..common.console import duration
from ..common.files import DamagedFile, check_whole, read_json, read_state
from ..common.finished import read_evaluation, read_run
from ..common.results import (
    MEASURED,
    SAME_ATTACK,
    SETTINGS,
    collect,
    row_of,
    unlike,
)
from ..common.settings import Settings, not_applicable, settings_of

_PERCENT = (
    "test_accuracy", "train_accuracy", "train_test_gap", "top5_accuracy", "clean_accuracy",
    "robust_accuracy", "pgd_accuracy", "sparsity", "combination_sparsity",
)  # fmt: skip
_MADE_WITH = ("backend", "keras", "device", "data_source", "data", "git_commit")
_MAIN = (
    "test_accuracy", "train_accuracy", "train_test_gap", "robust_accuracy", "pgd_accuracy",
    "variance_entropy", "sparsity", "trained_parameters", "frozen_parameters", "file_bytes",
    "seconds",
)  # fmt: skip
# Settings that do not change the result.
_UNLISTED = {name for name, setting in settings_of(Settings).items() if not setting.listed}


def run_page(folder: pathlib.Path) -> str:
    """Returns the page of a run of `recipes.train` or `recipes.imagenet`.

    Raises:
        SystemExit: If the run is not finished, or its model is damaged.
    """
    config = read_run(folder)
    if config is None:
        raise SystemExit(f"The run in {folder} is not finished. Resume it with --resume.")
    check_whole(folder / "model.keras")
    # Below, a message names a damaged evaluation.
    row = row_of(folder, broken := [])
    if row is None:
        raise SystemExit(broken[-1])
    with in_one_line():
        own.import_modules(config["arguments"])
    model = keras.saving.load_model(folder / "model.keras")
    history = read_state(folder / "model.keras")["history"]
    try:
        evaluation = read_evaluation(folder, config)
    except DamagedFile as error:
        print(f"left out {error}", file=sys.stderr)
        evaluation = None
    numbers = {**config["results"], **(evaluation or {}).get("results", {})}
    pictures = [
        picture("Training", lambda path: plot_curves(history, path), "wide"),
        picture("Filters of the first layer", lambda path: _draw_filters(model, path)),
    ]
    if heatmaps := (evaluation or {}).get("spatial_variance"):
        maps = {size: np.array(values) for size, values in heatmaps.items()}
        pictures.append(picture("Spatial variance", lambda path: plot_spatial_variance(maps, path)))
    layers = evaluation["layers"] if evaluation else filter_report(model)
    # The images of ImageNet are not loaded into memory, so they cannot be attacked.
    missing = evaluation is None and row["dataset"] != "imagenet"
    hidden = _UNLISTED | not_applicable(config["arguments"])
    return render(
        title=f"{model.name}, {row['dataset']}",
        subtitle=str(folder),
        missing=shlex.join([*program(f"{PACKAGE}.evaluate"), str(folder)]) if missing else None,
        facts=named(numbers, _MAIN),
        pictures=pictures,
        tables=[
            table("Filters of each layer", layers),
            *([attack_table(evaluation)] if evaluation else []),
        ],
        lists=[
            pairs("Settings", {
                name: value for name, value in config["arguments"].items()
                if value is not None and name not in hidden
            }),
            pairs("All numbers", {
                name: numbers[name] for name in MEASURED if numbers.get(name) is not None
            }),
            pairs("Data", config.get("data", {})),
            pairs("Made with", {
                "backend": row["backend"], "device": row["device"], "commit": row["git_commit"],
                "started": config["started"], **config["versions"],
            }),
        ],
    )  # fmt: skip


def sweep_page(
    folder: pathlib.Path, x: str | None = None, group: tuple[str, ...] | None = None
) -> str:
    """Returns the page of a sweep.

    Args:
        folder: Path of the sweep.
        x: Setting on the horizontal axes. Defaults to the first number that varies.
        group: Settings with one line for each value. Defaults to all others that vary.

    Raises:
        SystemExit: If no run is finished, or the runs cannot be drawn over `x`.
    """
    rows, broken = collect(folder)
    for message in broken:
        print(f"left out {message}", file=sys.stderr)
    if not rows:
        raise SystemExit(f"{folder} holds no finished run and no sweep.")
    if any(row["subset"] for row in rows):
        # To compare them, a run on all images gets their number.
        rows = [{**row, "subset": row["subset"] or row["training_images"]} for row in rows]
    # A setting does not vary just because some runs do not have it.
    values = {name: {row[name] for row in rows} - {None} for name in SETTINGS}
    varying = [name for name in SETTINGS if len(values[name]) > 1]
    pictures = _sweep_pictures(rows, varying, x, group)
    constant = {name: min(values[name]) for name in SETTINGS if len(values[name]) == 1}
    measured = [name for name in _MAIN if any(row[name] is not None for row in rows)]
    best = max(rows, key=lambda row: row["test_accuracy"])
    attacked = any(row["robust_accuracy"] is not None for row in rows)
    asked = _asked(folder / "sweep.json", broken)
    missing = sorted(set(asked) - {row["run"] for row in rows})
    return render(
        title=f"Sweep: {folder.resolve().name}",
        subtitle=str(folder),
        missing=None,
        facts={
            "runs": f"{len(rows)}" + (f" of {len(rows) + len(missing)}" if missing else ""),
            "best test accuracy": f"{best['test_accuracy']:.2%}",
            "of": best["run"],
            "training in all": duration(sum(row["seconds"] or 0 for row in rows)),
        },
        pictures=pictures,
        tables=[
            table(
                "Runs",
                [{name: row[name] for name in ("run", *varying, *measured)} for row in rows],
            ),
            *([table("Not finished", [{"run": name} for name in missing])] if missing else []),
            *([table("Cannot be read", [{"file": text} for text in broken])] if broken else []),
            table(
                "Made with",
                _counted(rows, (*_MADE_WITH, *(SAME_ATTACK if attacked else ()))),
            ),
        ],
        lists=[pairs("Equal in all runs that have it", constant)],
    )


def _asked(path, broken):
    try:
        return (read_json(path) or {}).get("runs", [])
    except DamagedFile as error:
        broken.append(str(error))
        return []


def _sweep_pictures(rows, varying, x, group):
    axes = [name for name in varying if name != "seed"]
    numbers = [name for name in axes if any(_is_number(row[name]) for row in rows)]
    for name in [*([x] if x else []), *(group or ())]:
        if name not in SETTINGS:
            raise SystemExit(f"There is no setting {name!r}. The settings: {', '.join(SETTINGS)}")
    x = x or (numbers[0] if numbers else None)
    if x is None:
        return []
    if group is None:
        group = _independent(rows, [name for name in axes if name != x])
    pictures = []
    for y, title in (
        ("test_accuracy", "Accuracy"),
        ("robust_accuracy", "Accuracy under attack"),
        ("variance_entropy", "Diversity of the filters"),
    ):
        shown = [row for row in rows if row[y] is not None]
        if not shown:
            continue
        # Conditions that should be equal but differ get their own lines.
        same = ("data", *SAME_ATTACK) if y == "robust_accuracy" else ("data",)
        lines = [*group, *unlike(shown, same)]
        draw = functools.partial(plot_sweep, shown, x=x, y=y, group=lines or None)
        try:
            pictures.append(picture(title, draw))
        except ValueError as error:
            raise SystemExit(f"Cannot draw {y} over {x}: {error}") from None
    return pictures


def _independent(rows, names):
    """Returns the settings that the settings before them do not determine. For example, if only
    the frozen LC networks of a sweep are compact, `operator` determines `compact`."""
    kept = []
    for name in names:
        known = {tuple(row[other] for other in kept) for row in rows}
        if len({(*(row[other] for other in kept), row[name]) for row in rows}) > len(known):
            kept.append(name)
    return kept


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def picture(title: str, draw: Callable[[pathlib.Path], object], size: str = "medium") -> dict:
    """Returns a picture for the page, with its bytes.

    Args:
        title: String.
        draw: Function that writes a PNG to a path.
        size: `"small"`, `"medium"` or `"wide"`.
    """
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        draw(folder / "picture.png")
        content = base64.b64encode((folder / "picture.png").read_bytes()).decode()
    finally:
        shutil.rmtree(folder)
    return {"title": title, "uri": f"data:image/png;base64,{content}", "size": size}


def _draw_filters(model, path):
    if any(hasattr(layer, "random_filters") for layer in model.layers):
        return plot_filters(model, path)
    name, kernel = next(iter(spatial_kernels(model).items()))
    return plot_kernels({name: kernel}, path, title=model.name)


def named(numbers: dict, names) -> dict:
    """Returns the numbers that exist, as text."""
    shown = {name: numbers[name] for name in names if numbers.get(name) is not None}
    return {name.replace("_", " "): value_of(name, value) for name, value in shown.items()}


def attack_table(evaluation: dict) -> dict:
    """Returns the table of accuracies before and under attack."""
    settings, results = evaluation["settings"], evaluation["results"]
    images = settings["attack_images"] or "all"
    radius = f"{settings['epsilon']:g} of 255 grey levels"
    rows = [{"attack": "none", "radius": "", "accuracy": results["clean_accuracy"]}]
    rows.append({"attack": "FGSM", "radius": radius, "accuracy": results["robust_accuracy"]})
    if "pgd_accuracy" in results:
        attack = f"PGD, {settings['pgd_steps']} steps, {settings['pgd_restarts']} restarts"
        rows.append({"attack": attack, "radius": radius, "accuracy": results["pgd_accuracy"]})
    shown = [{**row, "accuracy": f"{row['accuracy']:.2%}"} for row in rows]
    return table(f"Accuracy under attack, {images} test images", shown)


def _counted(rows, names):
    counts = {}
    for row in rows:
        key = tuple(row[name] for name in names)
        counts[key] = counts.get(key, 0) + 1
    return [{**dict(zip(names, key, strict=True)), "runs": n} for key, n in counts.items()]


def table(title: str, rows: list[dict]) -> dict:
    """Returns a table for the page, from dicts with equal keys."""
    names = list(rows[0]) if rows else []
    return {
        "title": title,
        "header": [name.replace("_", " ") for name in names],
        "rows": [[value_of(name, row[name]) for name in names] for row in rows],
        "numeric": [
            all(row[name] is None or _is_number(row[name]) for row in rows) for name in names
        ],
    }


def pairs(title: str, values: dict) -> dict:
    """Returns a table of names and values for the page."""
    rows = [[name.replace("_", " "), value_of(name, value)] for name, value in values.items()]
    return {"title": title, "rows": rows}


def value_of(name: str, value) -> str:
    """Returns a value as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "seconds":
        return duration(value)
    if name in _PERCENT:
        return f"{value:.2%}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def render(**content) -> str:
    """Returns the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return environment.get_template("report.html.jinja").render(
        version=keras_lc.__version__, now=now, **content
    )
