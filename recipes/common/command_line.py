"""Settings as words of a command. Without Keras, which takes seconds to import."""

import errno
import shlex
import sys
from collections.abc import Callable

from rich.console import Console

_FREE_SPACE = "Free space"
# What one does where a file cannot be written.
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: _FREE_SPACE,
    errno.EROFS: "Make it writable",
    errno.EACCES: "Give access to it",
    errno.EPERM: "Give access to it",
    errno.EIO: "Mend the disk",
}


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
        if (remedy := remedy_of(error)) is None:
            raise
        raise SystemExit(f"{error}. {remedy}, then call again: {this_command()}") from None


def remedy_of(error: BaseException | None) -> str | None:
    """Returns what one does where a file could not be written; `None` for other errors."""
    return _REMEDIES.get(error.errno) if isinstance(error, OSError) else None


def plain_console(**options) -> Console:
    """Returns a console that prints text as it is: no path is markup, and no `:x:` an emoji."""
    return Console(markup=False, emoji=False, highlight=False, **options)
