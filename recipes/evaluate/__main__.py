"""`python -m recipes.evaluate`; see `command`."""

from ..common.command_line import start

if __name__ == "__main__":
    start("evaluate")
