"""`python -m recipes.sweep`; see `command`."""

from ..common.command_line import start

if __name__ == "__main__":
    start("sweep")
