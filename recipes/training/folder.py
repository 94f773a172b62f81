"""The folder of a run: a new one, or that of the run to go on with."""

import dataclasses
import datetime
import pathlib
import sys

from recipes.files import read_json
from recipes.training.environment import ENVIRONMENT

# What a run may be resumed with: none of these change its result.
_FREE_ON_RESUME = {"resume", "export", "export_format", "output", "data_dir", "download"}
_FREE_ON_RESUME |= {"max_corrupt", "preview"}


def output_folder(arguments, name: str, processes: int = 1) -> pathlib.Path:
    """Returns the folder of a run, and ends the program where it must not be written to.

    Args:
        arguments: A dataclass with `output`, the folder asked for or `None`, and `resume`.
        name: String for the name of a new folder under `runs/`.
        processes: Integer, how many train one model together.
    """
    if arguments.output is None:
        if processes > 1:
            raise SystemExit(
                "Several processes need --output, a folder that all of them see: each would "
                "make one of its own."
            )
        if arguments.resume:
            raise SystemExit("--resume needs --output, the folder of the run to go on with.")
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        return pathlib.Path("runs") / f"{now}-{name}"
    before = read_json(arguments.output / "config.json")
    if before is None:
        return arguments.output
    if not arguments.resume:
        raise SystemExit(
            f"{arguments.output} holds a run already. Pass --resume to go on with it, or another "
            "--output."
        )
    if (arguments.output / "model.keras").exists():
        raise SystemExit(f"The run in {arguments.output} is finished: see its config.json.")
    now = as_json(arguments)
    changed = [
        f"--{name.replace('_', '-')}: {before['arguments'].get(name)} then, {value} now"
        for name, value in now.items()
        if name not in _FREE_ON_RESUME and before["arguments"].get(name) != value
    ]
    if changed:
        raise SystemExit(
            f"The run in {arguments.output} was started with other arguments:\n  "
            + "\n  ".join(changed)
        )
    return arguments.output


def record(before: dict | None, now: dict) -> dict:
    """Returns what `config.json` holds of a run that starts, or goes on.

    Args:
        before: Dict, what it held, or `None` for a new run.
        now: Dict, what it would hold of a new run, with the environment's keys.

    Returns:
        `now`, with the environment in which the run was started, and as `resumed` those in which
        it went on.

    Raises:
        SystemExit: If the run was started with other images.
    """
    if before is None:
        return now
    then, found = before.get("data", {}), now.get("data", {})
    # Runs from before fingerprints were written have none.
    if then.get("fingerprint", found.get("fingerprint")) != found.get("fingerprint"):
        raise SystemExit(f"The run was started with other images: {then} then, {found} now.")
    first = {name: before.get(name) for name in ENVIRONMENT}
    part = {name: now[name] for name in ENVIRONMENT}
    return {**now, **first, "resumed": [*before.get("resumed", []), part]}


def as_json(arguments) -> dict:
    """Returns the fields of a dataclass of arguments, as JSON can hold them."""
    values = dataclasses.asdict(arguments)
    return {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in values.items()}


def resume_command(module: str, output: pathlib.Path) -> str:
    """Returns the command that goes on with this run of `python -m module`."""
    given = [word for word in sys.argv[1:] if word != "--resume"]
    if "--output" not in given:
        given += ["--output", str(output)]
    return " ".join([f"python -m {module}", *given, "--resume"])
