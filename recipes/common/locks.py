"""One writer at a time: locks that the system frees with their holder. Without Keras."""

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
    """Another process holds the lock; the message says which."""


def lock(path: pathlib.Path, patience: float = 0.0) -> typing.IO:
    """Locks a file, which is made if missing.

    Args:
        path: Path of the file.
        patience: Float, the seconds in which a lock that is held may become free.

    Returns:
        The open file. The lock is held until it is closed, also by each process that it was
        passed to, and is freed when they end, however that is.

    Raises:
        Locked: If the lock is held.
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
            # Some file systems of clusters have no locks. A run without one is better than none.
            if error.errno not in _NO_LOCKS:
                raise
        if _is_at(file, path):
            break
        # Its last holder removed it since it was opened here.
        file.close()
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}, since {time.strftime('%F %T')}\n")
    file.flush()
    return file


def unlock(file: typing.IO, path: pathlib.Path) -> None:
    """Frees a lock that no other process was given, and removes its file."""
    with contextlib.suppress(OSError):
        path.unlink()
    file.close()


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
