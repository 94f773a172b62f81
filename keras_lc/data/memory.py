"""How much memory there is."""

import contextlib
import re
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
# The limits of a container, in both versions of Linux' control groups.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def free_memory() -> float:
    """Returns the bytes that a program can still take; infinity if that is unknown."""
    found = [float("inf")]
    with contextlib.suppress(OSError):
        if available := re.search(r"MemAvailable:\s*(\d+) kB", _MEMINFO.read_text()):
            found.append(1024 * int(available[1]))
    for path in _LIMITS:
        # Without a limit, the file holds a word.
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()))
    return min(found)
