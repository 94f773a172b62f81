"""Settings as words of a command. Without Keras, which takes seconds to import."""

import shlex
import sys


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
