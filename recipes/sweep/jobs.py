"""A run as processes that can be killed and restarted at any moment. No Keras."""

import contextlib
import dataclasses
import math
import os
import pathlib
import re
import shlex
import signal
import site
import subprocess
import sys
import threading
import time

from ..common import own
from ..common.command_line import PACKAGE, ROOT
from ..common.files import DamagedFile, read_checked, read_json
from ..common.locks import Locked, lock
from ..evaluate.settings import Evaluation
from .grid import Cell, Machine
from .imagenet_grid import ImageNetCell

_LOG_TAIL = 15
# Seconds for a process to stop: one batch of a large network, or the start of Keras.
_GRACE = 20.0
# Seconds; processes of a killed sweep need a moment to end on their own.
_ORPHANS_END = 5.0


@dataclasses.dataclass(frozen=True)
class Step:
    """One command of a job."""

    module: str
    arguments: tuple[str, ...]
    writes: pathlib.Path
    """The last file that it writes."""
    settings: dict | None = None
    """The `settings` that this file must hold, if any."""
    started: pathlib.Path | None = None
    """If this file exists, the command needs `--resume`."""

    def is_done(self) -> bool:
        if self.settings is None:
            return self.writes.exists()
        try:
            return (read_checked(self.writes) or {}).get("settings") == self.settings
        except DamagedFile:
            return False

    def command(self) -> list[str]:
        resume = ["--resume"] if self.started is not None and self.started.exists() else []
        # Without a buffer, so that the log is complete if something goes wrong.
        return [
            sys.executable,
            "-u",
            # Never import from the working directory: it may hold other code.
            "-P",
            "-m",
            f"{PACKAGE}.sweep.tethered",
            self.module,
            *self.arguments,
            *resume,
        ]


@dataclasses.dataclass(frozen=True)
class Job:
    """A run of a sweep: its commands, in order."""

    name: str
    folder: pathlib.Path
    steps: tuple[Step, ...]
    epochs: int
    environment: dict = dataclasses.field(default_factory=dict)
    timeout: float | None = None
    """Minutes that one call of `run_job` may take."""

    @property
    def log(self) -> pathlib.Path:
        return self.folder.with_name(f"{self.name}.log")

    def is_done(self) -> bool:
        return all(step.is_done() for step in self.steps)

    def epochs_done(self) -> int:
        """The number of epochs that need not be repeated."""
        if self.steps[0].is_done():
            return self.epochs
        try:
            history = read_json(self.folder / "history.json") or {}
            return min(self.epochs, max(map(len, history.values()), default=0))
        except (DamagedFile, TypeError):
            return 0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a job ended: `"done"`, `"failed"`, `"stopped"`, or `"busy"` (another process runs it).

    `log_tail` holds the end of a failed job's log, or the process that runs a busy job.
    """

    name: str
    state: str
    seconds: float = 0.0
    log_tail: str = ""


def training_job(
    cell: Cell | ImageNetCell, folder: pathlib.Path, evaluation: Evaluation, machine: Machine
) -> Job:
    """Returns the job that trains and evaluates a cell, in its own folder."""
    output = (folder / cell.name).absolute()
    backend = [] if machine.backend is None else ["--backend", machine.backend]
    train = [*cell.train_arguments(), "--output", str(output), *backend]
    if cell.dataset in machine.data_dirs:
        data_dir = machine.data_dirs[cell.dataset].expanduser().absolute()
        train += ["--data-dir", str(data_dir)]
    if machine.download and cell.downloads:
        train.append("--download")
    steps = [
        Step(
            cell.module,
            tuple(train),
            writes=output / "model.keras",
            started=output / "config.json",
        )
    ]
    if cell.evaluated:
        steps.append(
            Step(
                f"{PACKAGE}.evaluate",
                (str(output), *evaluation.arguments(), *backend),
                writes=output / "evaluation.json",
                settings=dataclasses.asdict(evaluation),
            )
        )
    environment = limit_threads(machine.threads) | own.environment(vars(cell).values())
    return Job(cell.name, output, tuple(steps), cell.epochs, environment, machine.timeout)


def limit_threads(threads: int | None) -> dict[str, str]:
    """Returns environment variables that limit each backend to this number of threads."""
    if threads is None:
        return {}
    names = (
        "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS",
        # JAX's.
        "NPROC",
    )  # fmt: skip
    return dict.fromkeys(names, str(threads))


def run_job(
    job: Job, stop: threading.Event | None = None, kill: threading.Event | None = None
) -> Outcome:
    """Runs the missing steps of a job.

    Args:
        job: The `Job`.
        stop: Event that stops the job's process, like Ctrl-C.
        kill: Event that ends the process at once, after `stop`.

    Returns:
        The `Outcome`. The output of the processes is added to the job's log.
    """
    begin = time.monotonic()
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = lock(job.folder.with_name(f".{job.name}.lock"), patience=_ORPHANS_END)
    except Locked as holder:
        return Outcome(job.name, "busy", log_tail=str(holder))
    end = math.inf if job.timeout is None else begin + 60 * job.timeout
    # Do not remove the lock file: the job's process may hold the lock longer than this process.
    with contextlib.closing(held):
        state = "done"
        for step in job.steps:
            # Checked only under the lock: another process may just have finished the step.
            if not step.is_done():
                state = _run_step(
                    step, job, held, stop or threading.Event(), kill or threading.Event(), end
                )
            if state != "done":
                break
    tail = _tail(job.log) if state == "failed" else ""
    return Outcome(job.name, state, time.monotonic() - begin, tail)


def _run_step(step, job, held, stop, kill, end):
    with open(job.log, "ab", buffering=0) as log:
        command = step.command()
        shown = shlex.join(["python", "-m", *command[5:]])
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {shown}\n".encode())
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": python_path()} | job.environment,
            # The job's process holds the lock too, even if this process is killed.
            pass_fds=[held.fileno()],
            # Otherwise Ctrl-C in a terminal would reach the job's process twice.
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if stop.wait(0.1):
                    _stop(process, kill)
                    return "done" if step.is_done() else "stopped"
                if time.monotonic() > end:
                    _stop(process, kill)
                    log.write(f"--- stopped after {job.timeout:g} minutes: --timeout\n".encode())
                    return "done" if step.is_done() else "failed"
        finally:
            # For the case that this thread itself ends.
            _kill(process)
            process.stdin.close()
        if process.returncode == 0 and not step.is_done():
            log.write(f"--- ended without an error, but did not write {step.writes}\n".encode())
        elif process.returncode:
            log.write(f"--- ended with exit code {process.returncode}\n".encode())
    return "done" if step.is_done() else "failed"


def python_path() -> str:
    """Returns a `PYTHONPATH` so that another process finds this package."""
    # Installed packages must not come before Python's own modules.
    installed = str(ROOT) in [*site.getsitepackages(), site.getusersitepackages()]
    own = None if installed else str(ROOT)
    return os.pathsep.join(filter(None, [own, os.environ.get("PYTHONPATH")]))


def _stop(process, kill):
    process.send_signal(signal.SIGINT)
    give_up = time.monotonic() + _GRACE
    while process.poll() is None and time.monotonic() < give_up and not kill.wait(0.1):
        pass
    _kill(process)


def _kill(process):
    """Kills a process and the processes that it started: they hold its locks too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log):
    text = log.read_text(errors="replace").rpartition("\n--- 2")[2]
    # Only the last state of each progress bar.
    lines = [re.sub(r".*\r(?=.)", "", line).rstrip() for line in text.splitlines()]
    return "\n".join([line for line in lines if line][-_LOG_TAIL:])
