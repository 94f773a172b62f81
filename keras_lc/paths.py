"""The paths that users give to public functions."""

import os
import pathlib


def user_path(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path with `~` in its place, as a shell would give it.

    Unexpanded it would name a folder that is called `~`, in the current one.
    """
    return pathlib.Path(path).expanduser()
