"""What the files of a finished run say, checked against each other. Without Keras."""

import pathlib

from .files import DamagedFile, read_checked, read_state


def read_run(folder: pathlib.Path) -> dict | None:
    """Returns the `config.json` of a run of `recipes.train` or `recipes.imagenet`.

    Returns:
        A dict; `None` if there is no run in the folder, or it is not finished.

    Raises:
        DamagedFile: If it, or the model, is not as the run wrote it.
    """
    config = read_checked(folder / "config.json")
    model = folder / "model.keras"
    if not model.exists():
        return None
    # A run writes its results before its model.
    if config is None or "results" not in config:
        raise DamagedFile(f"{model} is there, and no results in the config.json beside it.")
    check_run(config, read_state(model).get("run"), model)
    return config


def read_evaluation(folder: pathlib.Path, config: dict) -> dict | None:
    """Returns what `recipes.evaluate` wrote of the run with this `config.json`, or `None`.

    Raises:
        DamagedFile: If it is not as it was written, or is of another run.
    """
    path = folder / "evaluation.json"
    evaluation = read_checked(path)
    if evaluation is not None:
        check_run(config, evaluation.get("run"), path)
    return evaluation


def check_run(config: dict, run: str | None, path: pathlib.Path) -> None:
    """Raises `DamagedFile` for a file of another run than the one with this `config.json`."""
    if run is None or run != config.get("run"):
        raise DamagedFile(f"{path} is of another run than the config.json beside it.")
