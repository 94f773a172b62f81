"""The results of many runs as one tidy table: a row a run. Without Keras."""

import csv
import io
import pathlib

from recipes.files import read_json, write_text

# In this order; a run has more settings and numbers in its own files.
SETTINGS = (
    "dataset", "network", "depth", "width", "operator", "expansion", "kernel_size", "compact",
    "between", "shared_basis", "epochs", "subset", "batch_size", "augmentation", "precision",
    "seed",
)  # fmt: skip
MEASURED = (
    "test_accuracy", "test_images", "top5_accuracy", "clean_accuracy", "robust_accuracy",
    "pgd_accuracy", "variance_entropy", "variance_entropy_first", "variance_entropy_last",
    "variance_entropy_normalized", "variance_entropy_normalized_first",
    "variance_entropy_normalized_last", "sparsity", "trained_parameters", "frozen_parameters",
    "full_parameters", "images_per_second", "seconds",
)  # fmt: skip
CONDITIONS = (
    "attack_images", "epsilon", "pgd_steps", "pgd_restarts", "data", "data_source",
    "training_images", "backend", "device", "keras", "git_commit", "started",
)  # fmt: skip
COLUMNS = ("run", *SETTINGS, *MEASURED, *CONDITIONS)


def row_of(folder: pathlib.Path) -> dict | None:
    """Returns settings, measurements and conditions of a finished run.

    Args:
        folder: Path of the run, which `recipes.train` and `recipes.evaluate`, or
            `recipes.imagenet` wrote.

    Returns:
        A dict with the keys `COLUMNS`, `None` for what the run does not have; or `None` if the
        run is not finished.
    """
    config = read_json(folder / "config.json")
    if config is None or "results" not in config or not (folder / "model.keras").exists():
        return None
    evaluation = read_json(folder / "evaluation.json") or {}
    data = config.get("data") or evaluation.get("data", {})
    found = {
        # What runs of recipes.imagenet, and those of before there was a choice, do not name.
        "dataset": "imagenet",
        "network": "cifar_resnet",
        **config["arguments"],
        **config["results"],
        "top5_accuracy": config["results"].get("test_top5"),
        **evaluation.get("results", {}),
        **evaluation.get("settings", {}),
        "run": folder.name,
        "operator": _operator(config["arguments"]),
        "data": data.get("fingerprint"),
        "data_source": data.get("source"),
        "training_images": config["arguments"].get("subset") or data.get("training_images"),
        "backend": config.get("backend"),
        "device": config.get("device"),
        "keras": config.get("versions", {}).get("keras"),
        "git_commit": config.get("git_commit"),
        "started": config.get("started"),
    }
    if found["dataset"] == "imagenet":
        found["network"] = found.get("preset") or found["network"]
    row = {name: found.get(name) for name in COLUMNS}
    return row | dict.fromkeys(_not_applicable(row))


def _operator(arguments):
    spatial = arguments["spatial"]
    if spatial != "lc":
        return spatial
    return "lc_frozen" if arguments["frozen"] else "lc_learnable"


def _not_applicable(row):
    if not row["operator"].startswith("lc_"):
        yield from ("compact", "between", "shared_basis")
    if row["operator"] in ("learned", "frozen"):
        yield "expansion"
    if row["network"] != "cifar_resnet":
        yield from ("depth", "width", "kernel_size")


def collect(folder: pathlib.Path) -> list[dict]:
    """Returns the rows of all finished runs in a folder, by name."""
    runs = (path.parent for path in sorted(folder.glob("*/config.json")))
    return [row for row in map(row_of, runs) if row is not None]


def write_rows(path: pathlib.Path, rows: list[dict]) -> None:
    """Writes rows as CSV, so that `path` never holds half of it. `None` is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_rows(path: pathlib.Path) -> list[dict]:
    """Returns the rows of a CSV that `write_rows` wrote, as they were."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: value if name in _TEXT else _value(value) for name, value in row.items()}
            | {name: None for name in _TEXT if row.get(name) == ""}
            for row in csv.DictReader(file)
        ]


# What could be taken for a number: a fingerprint or commit may have no letter, or one e.
_TEXT = frozenset(
    ("run", "dataset", "network", "operator", "between", "augmentation", "precision", "data",
     "data_source", "backend", "device", "keras", "git_commit", "started")
)  # fmt: skip


def _value(text):
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    try:
        return int(text)
    except ValueError:
        return float(text)
