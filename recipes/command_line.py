"""Settings as words of a command. Without Keras, which takes seconds to import."""

import errno
import shlex
import sys
from collections.abc import Callable

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def command_words(settings: dict) -> list[str]:
    """Returns settings as a command line has them; what is `None` is left out."""
    words = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            words += [f"--{option}", str(value)]
    return words


def this_command() -> str:
    """Returns the command of this process, as one types it."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def run_command(main: Callable[[], None]) -> None:
    """Runs the function of a command, and ends with one line where one cannot go on."""
    try:
        main()
    except KeyboardInterrupt:
        print("\nStopped.")
        sys.exit(130)
    except OSError as error:
        if not is_disk_error(error):
            raise
        raise SystemExit(f"{error}. Free space, then call again: {this_command()}") from None


def is_disk_error(error: OSError) -> bool:
    """Returns whether a file could not be written for want of space, or of a disk in order."""
    return error.errno in _DISK_ERRORS
