"""`python -m recipes.predict`; see `command`."""

from ..common.command_line import start

if __name__ == "__main__":
    start("predict")
