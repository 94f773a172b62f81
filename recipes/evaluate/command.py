"""Attack finished runs and measure their filters.

    python -m recipes.evaluate runs/1 runs/2 --attack-images 1000

Writes `evaluation.json` into the folder of each run of `recipes.train`: accuracy on test and
training images, accuracy under FGSM (and PGD), variance entropy, sparsity and spatial variance of
the filters, and the size of the model's file. It skips runs that were already evaluated with the
same settings.
"""

import dataclasses
import os
import pathlib
import sys
from typing import Annotated, Literal

import tyro

from ..common import checks
from ..common.command_line import described
from ..common.files import DamagedFile, check_whole
from ..common.finished import read_evaluation, read_run
from .settings import Evaluation


@dataclasses.dataclass(frozen=True)
class Arguments:
    """An evaluation of finished runs."""

    runs: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    """Folders of runs of recipes.train."""
    evaluation: tyro.conf.OmitArgPrefixes[Evaluation] = dataclasses.field(
        default_factory=Evaluation
    )
    again: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also repeat evaluations that exist with these settings."""
    data_dir: pathlib.Path | None = None
    """Folder of the data. Defaults to the folder at the time of training."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Defaults to KERAS_BACKEND, or Keras' own default. It may differ from the run's backend."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=described(__doc__))
    with checks.in_one_line():
        arguments.evaluation.check()
    unfinished = [str(run) for run in arguments.runs if not (run / "model.keras").exists()]
    if unfinished or not arguments.runs:
        raise SystemExit(f"These are not finished runs: {', '.join(unfinished) or 'none given'}")
    settings = dataclasses.asdict(arguments.evaluation)
    todo, broken = [], False
    for run in arguments.runs:
        try:
            check_whole(run / "model.keras")
            if is_evaluated(run, settings) and not arguments.again:
                print(f"{run} is already evaluated.")
            else:
                todo.append(run)
        except DamagedFile as error:
            broken = True
            print(error, file=sys.stderr)
    if todo:
        broken |= _evaluate(todo, arguments)
    sys.exit(1 if broken else 0)


def is_evaluated(run: pathlib.Path, settings: dict) -> bool:
    """Returns whether the model of a finished run was evaluated with some settings.

    Raises:
        DamagedFile: If the run cannot be read.
    """
    config = read_run(run)
    try:
        return (read_evaluation(run, config) or {}).get("settings") == settings
    except DamagedFile:
        # The evaluation writes it again.
        return False


def _evaluate(runs, arguments):
    """Evaluates runs, and returns whether any evaluation failed."""
    with checks.in_one_line():
        checks.check_backend(arguments.backend)
        if arguments.data_dir is not None and not arguments.data_dir.expanduser().exists():
            raise ValueError(f"--data-dir: {arguments.data_dir} does not exist.")
        for run in runs:
            checks.check_writable(run, "runs")
    # Before the first import of keras: a process can use one backend only.
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    from .run import evaluate

    broken = False
    for run in runs:
        try:
            results = evaluate(run, arguments.evaluation, arguments.data_dir)
        except SystemExit as error:
            broken = True
            print(f"{run}: {error}", file=sys.stderr)
            continue
        numbers = ", ".join(
            f"{name.replace('_', ' ')} {results[name]:{form}}"
            for name, form in (
                ("test_accuracy", ".2%"), ("train_accuracy", ".2%"),
                ("robust_accuracy", ".2%"), ("pgd_accuracy", ".2%"),
                ("variance_entropy", ".3f"), ("sparsity", ".2%"),
            )
            if results.get(name) is not None
        )  # fmt: skip
        print(f"{run}: {numbers}")
    return broken
