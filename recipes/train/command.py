"""Train a network of the LC paper on small images.

    python -m recipes.train --dataset digits --epochs 30 --batch-size 64

The recipe is the paper's (Appendix A): SGD with Nesterov's momentum, a cosine to 0 over all
steps, weight decay 1e-2, label smoothing 0.1. Expected on CIFAR-10, ResNet-LC-20-16x128, frozen,
75 epochs: 91.9 % (Table 1).
"""

import os
import pathlib

from ..common import checks
from ..common.command_line import described
from ..common.settings import Settings, check, parse


def main() -> None:
    arguments = parse(Settings, described(__doc__))
    with checks.in_one_line():
        check(arguments)
        checks.check_backend(arguments.backend)
        checks.check_plots()
        checks.check_data(arguments.dataset, arguments.data_dir, arguments.download)
        checks.check_writable(arguments.output or pathlib.Path("runs"))
        if arguments.export:
            checks.check_export(arguments.export_format)
    # Before the first import of keras: a process has one backend.
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    from .run import run

    run(arguments)
