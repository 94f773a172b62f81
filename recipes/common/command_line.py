"""How commands are named, started and ended. No Keras, because its import takes seconds."""

import errno
import functools
import importlib
import pathlib
import re
import shlex
import sys
from collections.abc import Callable

#: The name of this package: `recipes` in a checkout, `keras_lc_recipes` where it is installed.
PACKAGE = __name__.partition(".")[0]
#: Where this package is.
ROOT = pathlib.Path(__file__).parents[2]
_SCRIPT = "keras-lc"

_FREE_SPACE = "Free space"
# What the user can do if a file cannot be written.
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: _FREE_SPACE,
    errno.EROFS: "Make it writable",
    errno.EACCES: "Give access to it",
    errno.EPERM: "Give access to it",
    errno.EIO: "Repair the disk",
}


def command_words(settings: dict) -> list[str]:
    """Returns settings as words of a command line. It leaves out settings that are `None`."""
    words = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            words += [f"--{option}", str(value)]
    return words


def program(module: str) -> list[str]:
    """Returns the words that call the command of a module, such as `f"{PACKAGE}.train"`."""
    package, _, command = module.partition(".")
    return ["python", "-m", module] if package == "recipes" else [_SCRIPT, command]


def described(text: str) -> str:
    """Returns the description of a command. Its examples fit a checkout or an installed package."""
    return re.sub(
        r"python -m recipes\.(\w+)", lambda found: " ".join(program(f"{PACKAGE}.{found[1]}")), text
    )


def this_command() -> str:
    """Returns the command line of this process."""
    words = sys.orig_argv[1:]
    if words and pathlib.Path(words[0]).name == _SCRIPT:
        return shlex.join([_SCRIPT, *words[1:]])
    return shlex.join(["python", *words])


def start(name: str) -> None:
    """Runs a command of this package."""
    sys.argv[0] = " ".join(program(f"{PACKAGE}.{name}"))
    run_command(functools.partial(_import_and_run, name))


def _import_and_run(name):
    try:
        command = importlib.import_module(f"{PACKAGE}.{name}.command")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == PACKAGE:
            raise
        raise SystemExit(
            f"{sys.argv[0]} needs {error.name}. Run: {how_to_install('recipes')}"
        ) from None
    command.main()


def how_to_install(extra: str) -> str:
    """The same as `keras_lc.listed.how_to_install`, without Keras."""
    return f'pip install "keras-lc[{extra}]" (in a checkout: pip install -e ".[{extra}]")'


def run_command(main: Callable[[], None]) -> None:
    """Runs the function of a command. After Ctrl-C or a full disk it ends with one line."""
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
    """Returns what the user can do if a file could not be written; `None` for other errors."""
    return _REMEDIES.get(error.errno) if isinstance(error, OSError) else None
