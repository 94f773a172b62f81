"""Writes files completely or not at all, even if the process is killed."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def whole_file(path: pathlib.Path, ending: str = "") -> Iterator[pathlib.Path]:
    """Gives a temporary path to write to. At the end of the block, the file moves to `path`.

    `path` never contains half a file. After an error, `path` is unchanged and the temporary file
    is deleted.

    Args:
        path: Path of the file. An older file is replaced.
        ending: String, the ending of the temporary name, for writers that need a certain ending.
    """
    # The dot hides the file from code that lists such files.
    temporary = path.with_name(f".{path.name}.tmp{ending}")
    try:
        yield temporary
        rename(temporary, path)
    except BaseException:
        # If the disk is full, the temporary file would keep it full.
        temporary.unlink(missing_ok=True)
        raise


def rename(temporary: str | os.PathLike, path: str | os.PathLike) -> None:
    """Moves a complete file or folder to its name, so that `path` never contains half of it."""
    # First write it to disk. Otherwise a power cut could leave the name without the content.
    temporary = pathlib.Path(temporary)
    for written in temporary.rglob("*") if temporary.is_dir() else [temporary]:
        if written.is_file():
            with open(written, "rb+") as file:
                os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON so that `path` never contains half a file."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
