"""Train and evaluate every combination of some settings.

    python -m recipes.sweep --output runs/expansion --datasets digits --depths 8 --epochs 5 \\
        --batch-sizes 64 --operators learned lc_frozen --expansions 1 8 64 --seeds 0 1

Each run has its own folder in --output, with its log beside it. You can stop or kill the sweep at
any moment: the same command resumes it. It skips finished runs and repeats failed runs. It writes
`results.csv` after each run, with one row for each finished run. Several sweeps can work in one
folder at the same time.
"""

import dataclasses
import os
import pathlib
import platform
import signal
import subprocess
import sys
from collections.abc import Callable

import tyro

from ..common import checks, own
from ..common.command_line import PACKAGE, described, this_command
from ..common.console import duration
from ..common.files import DamagedFile, read_json, remove_half_written, write_json
from ..common.results import collect, write_rows
from ..evaluate.settings import Evaluation
from .grid import Grid, Machine
from .imagenet_grid import ImageNetCell
from .jobs import Job, Outcome, python_path, training_job
from .pools import make_pool, run_all
from .watch import Watch


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A sweep."""

    output: pathlib.Path
    """Folder of the sweep."""
    grid: tyro.conf.OmitArgPrefixes[Grid] = dataclasses.field(default_factory=Grid)
    evaluation: tyro.conf.OmitArgPrefixes[Evaluation] = dataclasses.field(
        default_factory=Evaluation
    )
    machine: tyro.conf.OmitArgPrefixes[Machine] = dataclasses.field(default_factory=Machine)


def main() -> None:
    arguments = tyro.cli(Arguments, description=described(__doc__))
    machine = share_cores(arguments.machine)
    with checks.in_one_line():
        arguments.evaluation.check()
        cells = arguments.grid.cells()
    check_machine(cells, machine, arguments.output)
    jobs = [training_job(cell, arguments.output, arguments.evaluation, machine) for cell in cells]
    outcomes = sweep(jobs, arguments.output, machine)
    sys.exit(1 if any(outcome.state == "failed" for outcome in outcomes) else 0)


def sweep(jobs: list[Job], output: pathlib.Path, machine: Machine) -> list[Outcome]:
    """Runs the jobs that are not done, and writes `results.csv` after each.

    Args:
        jobs: List of jobs. The folder of each is in `output`.
        output: Path of the sweep's folder.
        machine: `recipes.sweep.grid.Machine`, after `share_cores`.

    Returns:
        The outcomes of the jobs that ran.

    Raises:
        SystemExit: With exit code 130 after Ctrl-C or SIGTERM, when all runs have stopped.
    """
    results = output / "results.csv"
    missing = [job for job in jobs if not job.is_done()]
    remove_half_written(output)
    # Keep the runs that other sweeps in this folder asked for.
    before = _asked_before(output / "sweep.json")
    write_json(
        output / "sweep.json",
        {
            "command": this_command(),
            "host": platform.node(),
            "runs": list(dict.fromkeys([*before, *(job.name for job in jobs)])),
        },
    )
    watch = Watch(missing)
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with watch:
            write_results(results, watch.name_once)
            watch.console.print(
                f"{len(jobs)} runs in {output}: {len(jobs) - len(missing)} are finished, "
                f"{len(missing)} to do."
            )
            if not missing:
                return []

            def ended(job, outcome):
                write_results(results, watch.name_once)
                watch.ended(job, outcome)

            outcomes = run_all(missing, make_pool(machine), watch.started, ended, watch.tick)
    except KeyboardInterrupt:
        write_results(results, watch.name_once)
        print("\nStopped. Call the same command to resume.")
        sys.exit(130)
    finally:
        signal.signal(signal.SIGTERM, handler)
    lost = _lost(outcomes, jobs)
    for name in lost:
        watch.console.print(f"failed   {name}: {_LOST}")
    outcomes = [outcome for outcome in outcomes if outcome.name not in lost]
    outcomes += [Outcome(name, "failed", log_tail=_LOST) for name in lost]
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    seconds = sum(outcome.seconds for outcome in outcomes)
    watch.console.print(
        f"{len(outcomes) - len(failed)} done, {len(failed)} failed, {duration(seconds)} of runs. "
        f"Results: {results}"
    )
    if failed:
        watch.console.print("Call the same command to repeat the failed runs.")
    return outcomes


def write_results(path: pathlib.Path, name_broken: Callable[[str], None]) -> None:
    """Writes the table of all finished runs in the folder of `path`.

    Args:
        path: Path of the table.
        name_broken: Called with a message for each file that cannot be read and is left out.
    """
    rows, broken = collect(path.parent)
    write_rows(path, rows)
    for message in broken:
        name_broken(f"left out {message}")


def _asked_before(path):
    try:
        runs = (read_json(path) or {}).get("runs", [])
    except DamagedFile as error:
        print(f"{error} The sweep writes it again.")
        return []
    return runs if isinstance(runs, list) else []


_LOST = "Another sweep in this folder has since evaluated it with other settings."


def _lost(outcomes, jobs):
    """Returns the names of jobs that did not fail, but have lost their results since."""
    failed = {outcome.name for outcome in outcomes if outcome.state == "failed"}
    return [job.name for job in jobs if job.name not in failed and not job.is_done()]


def check_data(cells, machine: Machine) -> None:
    """Ends the program for data folders that no run uses, or that do not exist.

    Args:
        cells: List of `Cell`s or `ImageNetCell`s.
        machine: The `Machine`.
    """
    datasets = sorted({cell.dataset for cell in cells})
    for name, folder in machine.data_dirs.items():
        if name not in datasets:
            raise SystemExit(
                f"--data-dirs: no run uses {name!r}. The runs use {', '.join(datasets)}."
            )
        # The machines of a cluster may have folders that this machine does not have.
        if machine.ray is None and not folder.expanduser().is_dir():
            raise SystemExit(f"--data-dirs: {folder} is not a folder ({name}).")


def check_machine(cells, machine: Machine, output: pathlib.Path) -> None:
    """Ends the program if all runs, or all runs on one data set, would fail.

    Args:
        cells: As in `check_data`. This function calls it too.
        machine: The `Machine`.
        output: Path of the folder of the runs.
    """
    check_data(cells, machine)
    with checks.in_one_line():
        checks.check_writable(output)
        if machine.gpus < 0:
            raise ValueError(f"--gpus must be at least 0. Received: {machine.gpus}")
        if machine.ray is not None:
            check_own_classes(cells, machine.backend)
            return
        checks.check_backend(machine.backend)
        check_own_classes(cells, machine.backend)
        checks.check_plots()
        for cell in {cell.dataset: cell for cell in cells}.values():
            download = machine.download and cell.downloads
            checks.check_data(cell.dataset, machine.data_dirs.get(cell.dataset), download)
        if any(isinstance(cell, ImageNetCell) for cell in cells):
            checks.check_packages(["tensorflow", "PIL", "keras_cv"], "recipes.imagenet")


def check_own_classes(cells, backend: str | None) -> None:
    """Raises `ValueError` if a class of the user's own, in any cell, cannot be made.

    It is made in another process: this one imports no Keras.
    """
    words = [
        f"--{name}={getattr(cell, axis.setting)}"
        for cell in cells
        for name, axis in cell.axes.items()
        if own.is_own(getattr(cell, axis.setting))
    ]
    if not words:
        return
    command = [sys.executable, "-P", "-m", f"{PACKAGE}.common.operator", *dict.fromkeys(words)]
    environment = os.environ | {"PYTHONPATH": python_path()}
    if backend is not None:
        environment["KERAS_BACKEND"] = backend
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1])


def share_cores(machine: Machine) -> Machine:
    """Returns the settings with the number of threads of each run."""
    if machine.timeout is not None and not machine.timeout > 0:
        raise SystemExit(f"--timeout must be above 0. Received: {machine.timeout:g}")
    if machine.workers < 1:
        raise SystemExit(f"--workers must be at least 1. Received: {machine.workers}")
    if machine.threads is not None:
        if machine.threads < 1:
            raise SystemExit(f"--threads must be at least 1. Received: {machine.threads}")
        return machine
    return dataclasses.replace(machine, threads=max(1, (os.cpu_count() or 1) // machine.workers))
