"""One HTML page of a run, or of a whole sweep, that needs no other file.

    python -m recipes.report runs/1
    python -m recipes.report runs/expansion --x expansion --group operator

Of a run: settings, curves, filters, metrics of each layer, accuracy under attack, versions. Of a
sweep: what varies, a table of all runs, and accuracy, accuracy under attack and variance entropy
over one setting. Writes `report.html` into the folder.
"""

import dataclasses
import os
import pathlib
from typing import Literal

import tyro

from ..common import checks
from ..common.command_line import described
from ..common.files import write_text


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A report."""

    folder: tyro.conf.Positional[pathlib.Path]
    """Folder of a run of recipes.train, or of a sweep."""
    x: str | None = None
    """Setting on the horizontal axes (sweep). Defaults to the first number that varies."""
    group: tuple[str, ...] | None = None
    """Settings of which each value has a line (sweep). Default to all others that vary."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Loads the model. Defaults to KERAS_BACKEND, or Keras' own default."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=described(__doc__))
    with checks.in_one_line():
        if not arguments.folder.is_dir():
            raise ValueError(f"{arguments.folder} is no folder of a run or a sweep.")
        checks.check_backend(arguments.backend)
        checks.check_packages(["jinja2", "matplotlib"], "A report")
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    print(write_report(arguments.folder, arguments.x, arguments.group))


def write_report(
    folder: pathlib.Path, x: str | None = None, group: tuple[str, ...] | None = None
) -> pathlib.Path:
    """Writes `report.html` into the folder of a run or a sweep, and returns its path.

    Raises:
        SystemExit: If there is no finished run in the folder, or its runs cannot be put over `x`.
    """
    from .pages import run_page, sweep_page

    if (folder / "config.json").exists() and not (folder / "sweep.json").exists():
        page = run_page(folder)
    else:
        page = sweep_page(folder, x, group)
    path = folder / "report.html"
    write_text(path, page)
    return path
