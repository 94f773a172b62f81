"""Make one HTML page about a run or a whole sweep. The page needs no other files.

    python -m recipes.report runs/1
    python -m recipes.report runs/expansion --x expansion --group operator

The page of a run shows settings, curves, filters, metrics of each layer, accuracy under attack
and versions. The page of a sweep shows a table of all runs, and accuracy, accuracy under attack
and variance entropy over one setting. Writes `report.html` into the folder.
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
    """Folder of a run, or of a sweep."""
    x: str | None = None
    """Setting on the horizontal axes (sweep). Defaults to the first number that varies."""
    group: tuple[str, ...] | None = None
    """Settings with one line for each value (sweep). Defaults to all others that vary."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Backend that loads the model. Defaults to KERAS_BACKEND, or Keras' own default."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=described(__doc__))
    with checks.in_one_line():
        if not arguments.folder.is_dir():
            raise ValueError(f"{arguments.folder} is not the folder of a run or a sweep.")
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
        SystemExit: If the folder holds no finished run, or its runs cannot be drawn over `x`.
    """
    from .pages import run_page, sweep_page

    if (folder / "config.json").exists() and not (folder / "sweep.json").exists():
        page = run_page(folder)
    else:
        page = sweep_page(folder, x, group)
    path = folder / "report.html"
    write_text(path, page)
    return path
