"""The results of many runs as one table, with one row for each run. No Keras."""

import csv
import io
import pathlib
from collections.abc import Iterable

from .files import DamagedFile, write_text
from .finished import read_evaluation, read_run
from .settings import columns, not_applicable, operator_name

# In this order. The files of a run hold more settings and numbers.
SETTINGS = columns()
MEASURED = (
    "test_accuracy", "test_images", "train_accuracy", "train_test_gap", "top5_accuracy",
    "clean_accuracy", "robust_accuracy", "pgd_accuracy",
    "variance_entropy", "variance_entropy_first", "variance_entropy_last",
    "variance_entropy_normalized", "variance_entropy_normalized_first",
    "variance_entropy_normalized_last", "sparsity", "trained_parameters", "frozen_parameters",
    "full_parameters", "file_bytes", "multiplications", "inference_milliseconds",
    "images_per_second", "seconds",
)  # fmt: skip
CONDITIONS = (
    "attack_images", "epsilon", "pgd_steps", "pgd_restarts", "data", "data_source",
    "training_images", "recipe", "backend", "device", "keras", "git_commit", "started",
)  # fmt: skip
COLUMNS = ("run", *SETTINGS, *MEASURED, *CONDITIONS)

# Runs on one data set can be compared only if they are equal in these.
SAME_DATA = ("data", "training_images")
SAME_ATTACK = ("attack_images", "epsilon", "pgd_steps", "pgd_restarts")


def row_of(folder: pathlib.Path, broken: list[str]) -> dict | None:
    """Returns settings, measurements and conditions of a finished run.

    Args:
        folder: Path of a run of `recipes.train` or `recipes.imagenet`.
        broken: List. Messages about files that cannot be read are added to it.

    Returns:
        A dict with the keys `COLUMNS`, with `None` for values that the run does not have; or
        `None` if the run is not finished, or cannot be read.
    """
    try:
        config = read_run(folder)
        if config is None:
            return None
        return _row(folder.name, config, _evaluation(folder, config, broken))
    except DamagedFile as error:
        broken.append(str(error))
    # The file is whole, but another program or version wrote it.
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        broken.append(f"{folder / 'config.json'} is not the file of a known run ({error!r}).")
    return None


def _evaluation(folder, config, broken):
    try:
        return read_evaluation(folder, config) or {}
    except DamagedFile as error:
        broken.append(str(error))
        return {}


def _row(name, config, evaluation):
    data = config["data"]
    found = {
        # Runs of recipes.imagenet do not name their data set.
        "dataset": "imagenet",
        **config["arguments"],
        **config["results"],
        "top5_accuracy": config["results"].get("test_top5"),
        **evaluation.get("results", {}),
        **evaluation.get("settings", {}),
        "run": name,
        "operator": operator_name(config["arguments"]["spatial"], config["arguments"]["frozen"]),
        "data": data.get("fingerprint"),
        "data_source": data.get("source"),
        "training_images": config["arguments"].get("subset") or data.get("training_images"),
        # What "auto" was.
        "precision": config.get("precision") or config["arguments"].get("precision"),
        **_environments([config, *config.get("resumed", [])]),
        "started": config.get("started"),
    }
    if found["dataset"] == "imagenet":
        found["network"] = found.get("preset") or found["network"]
    row = {name: found.get(name) for name in COLUMNS}
    return row | dict.fromkeys(not_applicable(config["arguments"]) & row.keys())


def _environments(parts):
    """The environments of a run, in order, if it was resumed in another: `"torch, then jax"`."""
    found = {
        "backend": [part.get("backend") for part in parts],
        "device": [part.get("device") for part in parts],
        "keras": [part.get("versions", {}).get("keras") for part in parts],
        "git_commit": [part.get("git_commit") for part in parts],
    }
    return {
        name: ", then ".join(dict.fromkeys(filter(None, values))) or None
        for name, values in found.items()
    }


def unlike(rows: list[dict], names: Iterable[str]) -> dict[str, dict]:
    """Returns the columns in which runs on one data set differ.

    Returns:
        A dict from these columns to dicts. Each maps a value to the name of a run.
    """
    found = {}
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        members = [row for row in rows if row["dataset"] == dataset]
        attacked = [row for row in members if row["robust_accuracy"] is not None]
        for name in names:
            compared = attacked if name in SAME_ATTACK else members
            example = {row[name]: row["run"] for row in reversed(compared)}
            if len(example) > 1:
                found[name] = example
    return found


def collect(folder: pathlib.Path) -> tuple[list[dict], list[str]]:
    """Returns the rows of all finished runs in a folder, sorted by name, and reading errors."""
    broken = []
    files = (path for name in ("config.json", "model.keras") for path in folder.glob(f"*/{name}"))
    rows = [row_of(run, broken) for run in sorted({path.parent for path in files})]
    return [row for row in rows if row is not None], broken


def write_rows(path: pathlib.Path, rows: list[dict]) -> None:
    """Writes rows as CSV, so that `path` never holds half of it. `None` is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


def _cell(value):
    """Returns a value with protection: a spreadsheet computes text that looks like a formula."""
    if isinstance(value, str) and value.lstrip()[:1] in ("=", "+", "-", "@"):
        return f"'{value}"
    return value
