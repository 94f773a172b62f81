"""Small files that are never half written. Without Keras, which takes seconds to import."""

import json
import os
import pathlib


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file so that `path` never holds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may write the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON so that `path` never holds half of it."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: pathlib.Path) -> dict | list | None:
    """Returns the content of a JSON file, or `None` where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
