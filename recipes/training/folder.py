"""The folder of a run: a new one, or that of the run to go on with."""

import dataclasses
import datetime
import pathlib
import sys

from recipes.files import read_json

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
