"""Small files that are never half written. No Keras, because its import takes seconds."""

import hashlib
import json
import os
import pathlib
import time
import zipfile

_CHECKSUM = "checksum"
# Seconds. Writing a file never takes so long.
_FORGOTTEN = 3600.0


class DamagedFile(SystemExit):
    """A file that changed after it was written. Unless caught, it ends a command with one line."""


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
        # On a full disk, half a file would waste space.
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON so that `path` never holds half of it."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: pathlib.Path, of: type = dict) -> dict | list | None:
    """Returns the content of a JSON file, or `None` if there is no file.

    Raises:
        DamagedFile: If the file cannot be read, or its content is not of type `of`.
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
    """Writes JSON with a checksum, so that `read_checked` notices later changes."""
    write_json(path, {**content, _CHECKSUM: _checksum(content)})


def read_checked(path: pathlib.Path) -> dict | None:
    """Returns what `write_checked` wrote, or `None` if there is no file.

    Raises:
        DamagedFile: If the file was changed after it was written.
    """
    content = read_json(path)
    if content is None:
        return None
    if content.pop(_CHECKSUM, None) != _checksum(content):
        raise DamagedFile(f"{path} was changed after it was written.")
    return content


def _checksum(content):
    # Through JSON and back, because JSON has no tuples and only strings as keys.
    written = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16]


def read_state(model: pathlib.Path) -> dict:
    """Returns what `keras_lc.training.ResumableRun` wrote into the `.keras` file of a run.

    Raises:
        DamagedFile: If the file is cut off, or a run did not write it. `check_whole` checks more.
    """
    try:
        with zipfile.ZipFile(model) as archive:
            return json.loads(archive.read("run.json"))
    except KeyError:
        raise DamagedFile(f"{model} was not written by a run.") from None
    # If bits are wrong, `zipfile` raises errors of many kinds.
    except Exception as error:
        raise DamagedFile(f"{model} is damaged ({error}).") from None


def check_whole(model: pathlib.Path) -> None:
    """Reads a whole `.keras` file, and raises `DamagedFile` if it has changed."""
    try:
        with zipfile.ZipFile(model) as archive:
            damaged = archive.testzip()
    except Exception as error:
        raise DamagedFile(f"{model} is damaged ({error}).") from None
    if damaged is not None:
        raise DamagedFile(f"{model} is damaged (in {damaged}).")


def remove_half_written(folder: pathlib.Path, age: float = _FORGOTTEN) -> None:
    """Removes half-written files of killed processes from a folder.

    Args:
        folder: Path.
        age: Float, removes files that nobody wrote to for so many seconds. 0 if no other process
            writes here.
    """
    for pattern in (".*.tmp", ".*.tmp.keras"):
        for path in folder.glob(pattern):
            if path.is_file() and time.time() - path.stat().st_mtime >= age:
                path.unlink(missing_ok=True)
