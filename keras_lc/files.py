"""Files that are never half written, whenever the process is killed."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def whole_file(path: pathlib.Path, ending: str = "") -> Iterator[pathlib.Path]:
    """Gives a temporary path to write to; at the end of the block the file gets its name.

    `path` never holds half a file. After an error it is as it was, and nothing is left beside it.

    Args:
        path: Path of the file; an older one is replaced.
        ending: String with which the temporary name must end, for writers that go by it.
    """
    # The leading dot hides the file from what looks for such files.
    temporary = path.with_name(f".{path.name}.tmp{ending}")
    try:
        yield temporary
        rename(temporary, path)
    except BaseException:
        # Half a file would fill a disk that is full already.
        temporary.unlink(missing_ok=True)
        raise


def rename(temporary: str | os.PathLike, path: str | os.PathLike) -> None:
    """Gives a file or folder that is written its name, so that `path` never holds half of it."""
    # On disk before it has its name, or a power cut could leave the name without the content.
    temporary = pathlib.Path(temporary)
    for written in temporary.rglob("*") if temporary.is_dir() else [temporary]:
        if written.is_file():
            with open(written, "rb+") as file:
                os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON so that `path` never holds half a file."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
