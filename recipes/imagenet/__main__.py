"""Train a network of the papers on ImageNet, or on pictures stored like it.

    python -m recipes.imagenet --preset r18d-lcx8 --data-dir ~/imagenet --output runs/r18d-lcx8

The recipe is the LC paper's (Appendix A): A2 of "ResNet strikes back". Presets, with their
published top-1 / top-5 accuracy in percent:
"""

import os

from recipes.imagenet.arguments import parse
from recipes.imagenet.presets import table


def main() -> None:
    arguments = parse(f"{__doc__}\n{table()}")
    # Before the first import of keras: a process has one backend.
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    from recipes.imagenet.run import run

    run(arguments)


if __name__ == "__main__":
    main()
