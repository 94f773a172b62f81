"""Paths that users pass to public functions."""

import os
import pathlib


def user_path(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path with `~` replaced by the home folder, as a shell does.

    Otherwise it would name a folder called `~` in the current folder.
    """
    return pathlib.Path(path).expanduser()
