"""Folders as of runs of `recipes.train` and `recipes.evaluate`, made of nothing."""

import dataclasses
import json
import zipfile

from recipes.common.files import read_checked, write_checked
from recipes.evaluate.settings import Evaluation
from recipes.sweep.grid import Cell

HISTORY = {
    "loss": [2.0, 1.0], "accuracy": [0.3, 0.6], "val_loss": [2.0, 1.5], "val_accuracy": [0.2, 0.6],
}  # fmt: skip


def write_run(
    folder, cell: Cell, accuracy: float, robust: float = 0.5, model=None, data="0123e4567890",
    evaluation=None, **results,
):  # fmt: skip
    """Writes the run of a cell into its folder in `folder`."""
    run = folder / cell.name
    arguments = dataclasses.asdict(cell) | {
        "spatial": "lc" if cell.operator.startswith("lc_") else cell.operator,
        "frozen": cell.operator != "lc_learnable",
        "data_dir": None,
        "download": False,
    }
    # Arguments of `recipes.train` have values where a cell has none.
    defaults = {"depth": 20, "width": 16, "expansion": 1, "kernel_size": 3}
    arguments |= {name: value for name, value in defaults.items() if arguments[name] is None}
    arguments["width_multiplier"] = 1.0
    del arguments["operator"]
    write_checked(
        run / "config.json",
        {
            "run": cell.name,
            "arguments": arguments,
            "data": {
                "fingerprint": data, "source": "image folder, JPEG",
                "training_images": 50000, "test_images": 10000,
            },
            "backend": "jax",
            "device": "2 CPU cores",
            "versions": {"keras": "3.15.1"},
            "git_commit": "1234567",
            "started": "2026-01-01T00:00:00+00:00",
            "results": {
                "test_accuracy": accuracy, "test_images": 10000, "trained_parameters": 1000,
                "frozen_parameters": 0, "images_per_second": 100.5, "compile_seconds": 2.5,
                "seconds": 90.0,
            },
        },
    )  # fmt: skip
    size = cell.kernel_size or 3
    expansion = cell.expansion or 1
    write_checked(
        run / "evaluation.json",
        {
            "run": cell.name,
            "settings": dataclasses.asdict(evaluation or Evaluation(attack_images=100)),
            "results": {
                "test_accuracy": accuracy, "clean_accuracy": accuracy, "robust_accuracy": robust,
                "variance_entropy": 0.8, "variance_entropy_first": 0.7,
                "variance_entropy_last": 0.9, "variance_entropy_normalized": 0.85,
                "variance_entropy_normalized_first": 0.75,
                "variance_entropy_normalized_last": 0.95, "sparsity": 0.01,
                "full_parameters": 1000 * expansion, **results,
            },
            "layers": [],
            "spatial_variance": {f"{size}x{size}": [[1.0] * size] * size},
        },
    )  # fmt: skip
    write_model(run / "model.keras", cell.name, model)
    return run


def write_model(path, run: str, model=None):
    """Writes the model of a run, or a file that says whose model it would be."""
    path.unlink(missing_ok=True)
    if model is not None:
        model.save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("run.json", json.dumps({"run": run, "history": HISTORY}))


def change(path, **changes):
    """Changes a JSON file of a run as the run itself would."""
    write_checked(path, read_checked(path) | changes)
