"""Locks that allow one writer at a time. The system frees them when their holder ends. No Keras."""

import contextlib
import errno
import fcntl
import os
import pathlib
import platform
import time
import typing

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Locked(Exception):
    """Another process holds the lock. The message names it."""


def lock(path: pathlib.Path, patience: float = 0.0) -> typing.IO:
    """Locks a file, and makes it if it is missing.

    Args:
        path: Path of the file.
        patience: Float, the seconds to wait for a lock that another process holds.

    Returns:
        The open file. This process holds the lock until it closes the file. Each process that got
        the file holds the lock too. The system frees it when they end, for any reason.

    Raises:
        Locked: If another process holds the lock.
    """
    give_up = time.monotonic() + patience
    while True:
        file = open(path, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            if time.monotonic() >= give_up:
                raise Locked(holder or "another process") from None
            time.sleep(0.1)
            continue
        except OSError as error:
            # Some file systems of clusters have no locks. A run without a lock is better than none.
            if error.errno not in _NO_LOCKS:
                raise
        if _is_at(file, path):
            break
        # Its last holder removed the file after it was opened here.
        file.close()
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%F %T')}\n")
    file.flush()
    return file


def unlock(file: typing.IO, path: pathlib.Path) -> None:
    """Frees a lock that only this process holds, and removes its file."""
    with contextlib.suppress(OSError):
        path.unlink()
    file.close()


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
