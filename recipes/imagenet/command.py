"""Train a network of the papers on ImageNet, or on images in the same format.

    python -m recipes.imagenet --preset r18d-lcx8 --data-dir ~/imagenet --output runs/r18d-lcx8

Recipes: a2 is the LC paper's (Appendix A), of "ResNet strikes back". sgd90 is the parameter-free
paper's for ResNets: SGD, 90 epochs, steps; sgd90_cutmix adds CutMix. deit is its recipe for
transformers; deit_cutmix and deit_light have less augmentation. Without --recipe, a preset has
the recipe of its published top-1 / top-5 accuracy, in percent:
"""

import os
import pathlib

from ..common import checks
from ..common.command_line import described
from .arguments import check, parse
from .presets import table


def main() -> None:
    arguments = parse(f"{described(__doc__)}\n{table()}")
    with checks.in_one_line():
        check(arguments)
        checks.check_backend(arguments.backend)
        # TensorFlow reads the images under every backend.
        needed = ["tensorflow", "PIL"]
        if arguments.augmentation in ("a2", "deit"):
            needed.append("keras_cv")
        checks.check_packages(needed, f"--augmentation {arguments.augmentation}")
        checks.check_data("imagenet", arguments.data_dir)
        if arguments.preview:
            checks.check_writable(arguments.preview.parent, "--preview")
        else:
            checks.check_plots()
            checks.check_writable(arguments.output or pathlib.Path("runs"))
        checks.check_export(arguments)
    # Before the first import of keras: a process can use one backend only.
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    from .run import run

    run(arguments)
