"""Small files that are never half written. Without Keras, which takes seconds to import."""

import hashlib
import json
import os
import pathlib
import time
import zipfile

_CHECKSUM = "checksum"
# No file takes so long to be written.
_FORGOTTEN = 3600.0


class DamagedFile(SystemExit):
    """A file that is not as it was written. Ends a command with one line, unless it is caught."""


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file so that `path` never holds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # Where the disk is full, half a file would be in the way.
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON so that `path` never holds half of it."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: pathlib.Path, of: type = dict) -> dict | list | None:
    """Returns the content of a JSON file, or `None` where there is none.

    Raises:
        DamagedFile: If the file cannot be read, or holds something else than an `of`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged ({error}).") from None
    if not isinstance(content, of):
        raise DamagedFile(f"{path} is damaged (it holds no {of.__name__}).")
    return content


def write_checked(path: pathlib.Path, content: dict) -> None:
    """Writes JSON that `read_checked` knows from what was changed since."""
    write_json(path, {**content, _CHECKSUM: _checksum(content)})


def read_checked(path: pathlib.Path) -> dict | None:
    """Returns what `write_checked` wrote, or `None` where there is no file.

    Raises:
        DamagedFile: If the file is not as it was written.
    """
    content = read_json(path)
    if content is None:
        return None
    if content.pop(_CHECKSUM, None) != _checksum(content):
        raise DamagedFile(f"{path} was changed after it was written.")
    return content


def _checksum(content):
    # Twice, since JSON has no tuples, and only strings as keys.
    written = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16]


def read_state(model: pathlib.Path) -> dict:
    """Returns what `keras_lc.training.ResumableRun` says in the `.keras` file of a run.

    Raises:
        DamagedFile: If the file was cut off, or is none of a run. `check_whole` sees more.
    """
    try:
        with zipfile.ZipFile(model) as archive:
            return json.loads(archive.read("run.json"))
    except KeyError:
        raise DamagedFile(f"{model} was written by no run.") from None
    # Where bits are wrong, `zipfile` fails in many ways.
    except Exception as error:
        raise DamagedFile(f"{model} is damaged ({error}).") from None


def check_whole(model: pathlib.Path) -> None:
    """Reads a whole `.keras` file, and raises `DamagedFile` if it is not as it was written."""
    try:
        with zipfile.ZipFile(model) as archive:
            damaged = archive.testzip()
    except Exception as error:
        raise DamagedFile(f"{model} is damaged ({error}).") from None
    if damaged is not None:
        raise DamagedFile(f"{model} is damaged (in {damaged}).")


def remove_half_written(folder: pathlib.Path, age: float = _FORGOTTEN) -> None:
    """Removes what processes that were killed left half written in a folder.

    Args:
        folder: Path.
        age: Float, the seconds for which nobody has written to it. 0 where nobody else writes.
    """
    for pattern in (".*.tmp", ".*.tmp.keras"):
        for path in folder.glob(pattern):
            if path.is_file() and time.time() - path.stat().st_mtime >= age:
                path.unlink(missing_ok=True)
