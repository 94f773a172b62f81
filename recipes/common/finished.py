"""Reads the files of a finished run, and checks that they belong together. No Keras."""

import pathlib

from .files import DamagedFile, read_checked, read_state


def read_run(folder: pathlib.Path) -> dict | None:
    """Returns the `config.json` of a run of `recipes.train` or `recipes.imagenet`.

    Returns:
        A dict; `None` if the folder holds no run, or the run is not finished.

    Raises:
        DamagedFile: If the file or the model was changed after the run wrote it.
    """
    config = read_checked(folder / "config.json")
    model = folder / "model.keras"
    if not model.exists():
        return None
    # A run writes its results before its model.
    if config is None or "results" not in config:
        raise DamagedFile(f"{model} exists, but the config.json beside it holds no results.")
    check_run(config, read_state(model).get("run"), model)
    return config


def read_evaluation(folder: pathlib.Path, config: dict) -> dict | None:
    """Returns what `recipes.evaluate` wrote about the run with this `config.json`, or `None`.

    Raises:
        DamagedFile: If the file was changed, or belongs to another run.
    """
    path = folder / "evaluation.json"
    evaluation = read_checked(path)
    if evaluation is not None:
        check_run(config, evaluation.get("run"), path)
    return evaluation


def check_run(config: dict, run: str | None, path: pathlib.Path) -> None:
    """Raises `DamagedFile` for a file that belongs to another run than this `config.json`."""
    if run is None or run != config.get("run"):
        raise DamagedFile(f"{path} and the config.json beside it belong to different runs.")
