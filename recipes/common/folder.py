"""The folder of a run: a new folder, or the folder of the run to resume."""

import contextlib
import dataclasses
import datetime
import itertools
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator

from .command_line import program
from .environment import ENVIRONMENT
from .files import DamagedFile, read_checked, remove_half_written
from .locks import Locked, lock, unlock
from .settings import free_on_resume

# Files that a run writes besides its config.json.
_OF_A_RUN = ("model.keras", "best.keras", "checkpoint-*.keras")
# Letters in a folder's name; file systems allow 255 bytes.
_LONGEST = 60
# Seconds; the system needs a moment to end a killed process.
_JUST_KILLED = 2.0


@contextlib.contextmanager
def claimed_folder(arguments, name: str, processes: int = 1, first: bool = True):
    """Yields the folder of a run. Meanwhile no other run can write to it.

    Args:
        arguments: A dataclass with `output`, the wanted folder or `None`, and `resume`.
        name: String for the name of a new folder in `runs/`.
        processes: Integer, the number of processes that train one model together.
        first: Boolean, whether this process writes the files.

    Raises:
        SystemExit: If the run may not, or cannot, write to the folder.
    """
    if arguments.output is None and processes > 1:
        raise SystemExit(
            "Several processes need --output, a folder that all of them can reach. Without it, "
            "each would make its own folder."
        )
    if arguments.output is None and arguments.resume:
        raise SystemExit("--resume needs --output, the folder of the run to resume.")
    if not first:
        _check(arguments)
        yield arguments.output
        return
    try:
        output, made = _make(arguments.output, name)
        path = output / ".lock"
        held = lock(path, patience=_JUST_KILLED)
    except Locked as holder:
        raise SystemExit(f"Another run is writing to {output}: {holder}.") from None
    except OSError as error:
        raise SystemExit(f"--output cannot be written to: {error}") from None
    try:
        if arguments.output is not None:
            _check(arguments)
        # Only killed processes left such files: this process holds the lock.
        remove_half_written(output, age=0.0)
        yield output
    finally:
        unlock(held, path)
        if made:
            # Only if it is empty.
            with contextlib.suppress(OSError):
                output.rmdir()


def _make(output, name):
    """Returns the folder, and whether it is new."""
    if output is not None:
        made = not output.exists()
        output.mkdir(parents=True, exist_ok=True)
        return output, made
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    # The name must be one part of a path, whatever the name of the data set is.
    base = re.sub(r"[^\w.-]", "_", f"{now}-{name}")[:_LONGEST]
    for number in itertools.count(1):
        output = pathlib.Path("runs") / (base if number == 1 else f"{base}-{number}")
        # If two runs begin in the same second, one finds the folder of the other.
        with contextlib.suppress(FileExistsError):
            output.mkdir(parents=True)
            return output, True


def _check(arguments):
    """Ends the program if a folder holds files that must not be overwritten."""
    output = arguments.output
    before = read_checked_or_end(output / "config.json")
    if before is None:
        strange = [path.name for pattern in _OF_A_RUN for path in sorted(output.glob(pattern))]
        if strange:
            raise SystemExit(
                f"{output} holds {strange[0]}, but not the config.json of its run. Put this file "
                "back, or pass another --output."
            )
        return
    if not arguments.resume:
        raise SystemExit(
            f"{output} already holds a run. Pass --resume to resume it, or another --output."
        )
    then, now = before["arguments"], as_json(arguments)
    free = free_on_resume(arguments)
    changed = [
        f"--{name.replace('_', '-')}: {then.get(name)} then, {value} now"
        for name, value in now.items()
        if name not in free and then.get(name) != value
    ]
    if changed:
        raise SystemExit(
            f"The run in {output} was started with other arguments:\n  " + "\n  ".join(changed)
        )


def read_checked_or_end(path: pathlib.Path) -> dict | None:
    """Returns what `read_checked` returns. A damaged file ends the program, with advice."""
    with way_out_of_damage():
        return read_checked(path)


@contextlib.contextmanager
def way_out_of_damage() -> Iterator[None]:
    """Ends the program if a file is damaged, and says what to do."""
    try:
        yield
    except DamagedFile as error:
        raise SystemExit(f"{error} Restore the file, or pass another --output.") from None


def record(before: dict | None, now: dict) -> dict:
    """Returns the content of `config.json` for a run that starts or resumes.

    Args:
        before: Dict, the old content, or `None` for a new run.
        now: Dict, the content for a new run, with the environment's keys.

    Returns:
        `now`, with the environment of the run's start. `resumed` lists the environments of its
        later parts.

    Raises:
        SystemExit: If the run was started with other images.
    """
    if before is None:
        return now
    then, found = before.get("data", {}), now.get("data", {})
    if then.get("fingerprint") != found.get("fingerprint"):
        raise SystemExit(f"The run was started with other images: {then} then, {found} now.")
    first = {name: before.get(name) for name in ENVIRONMENT}
    part = {name: now[name] for name in ENVIRONMENT}
    return {**now, **first, "resumed": [*before.get("resumed", []), part]}


def begun_with(config: dict, arguments) -> dict:
    """Returns the part of a `config.json` that decides the result and may never change."""
    free = free_on_resume(arguments)
    settings = config["arguments"].items()
    return {
        **{name: value for name, value in settings if name not in free},
        "images": config.get("data", {}).get("fingerprint"),
    }


def as_json(arguments) -> dict:
    """Returns the fields of a dataclass of arguments, in types that JSON can store."""
    values = dataclasses.asdict(arguments)
    return {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in values.items()}


def resume_command(module: str, output: pathlib.Path) -> str:
    """Returns the command that resumes this run of a module."""
    given = [word for word in sys.argv[1:] if word != "--resume"]
    if not any(word == "--output" or word.startswith("--output=") for word in given):
        given += ["--output", str(output)]
    return shlex.join([*program(module), *given, "--resume"])
