"""The console command `keras-lc`: `keras-lc train` is `python -m recipes.train`."""

import sys

from .common.command_line import start

COMMANDS = {
    "train": "trains one network on small images",
    "imagenet": "trains a network of the papers on ImageNet, or on images in the same format",
    "sweep": "trains and evaluates every combination of some settings",
    "predict": "tells which classes pictures belong to",
    "evaluate": "attacks finished runs and measures their filters",
    "report": "makes one HTML page about a run or a sweep",
    "reproduce": "makes the paper's tables and figures, with the paper's numbers",
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        lines = [
            f"  {command:{max(map(len, COMMANDS))}}  {help}" for command, help in COMMANDS.items()
        ]
        print("\n".join(["usage: keras-lc COMMAND [-h] [OPTIONS]", "", *lines]))
        return
    if name not in COMMANDS:
        raise SystemExit(f"The command must be one of {', '.join(COMMANDS)}. Received: {name}")
    del sys.argv[1]
    start(name)


if __name__ == "__main__":
    main()
