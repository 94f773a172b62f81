"""Train a network of the LC paper on small images.

    python -m recipes.train --dataset digits --epochs 30 --batch-size 64

It uses the paper's recipe (Appendix A): SGD with Nesterov momentum, a learning rate that falls
to 0 along a cosine, weight decay 1e-2, label smoothing 0.1. The paper reports 91.9 % for
ResNet-LC-20-16x128, frozen, on CIFAR-10 after 75 epochs (Table 1).

From pretrained weights (torchvision's or timm's, or a .keras file of an earlier run):

    python -m recipes.train --network mobilenet_v2 --spatial learned --weights mobilenet_v2.pth \\
        --head-epochs 2 --epochs 10 --dataset photos --data-dir photos
"""

import os
import pathlib

from ..common import checks
from ..common.command_line import described
from ..common.settings import Settings, check, parse
from .checks import check_transfer


def main() -> None:
    arguments = parse(Settings, described(__doc__))
    with checks.in_one_line():
        check(arguments)
        check_transfer(arguments)
        checks.check_backend(arguments.backend)
        checks.check_plots()
        checks.check_data(arguments.dataset, arguments.data_dir, arguments.download)
        checks.check_writable(arguments.output or pathlib.Path("runs"))
        checks.check_export(arguments)
    # Before the first import of keras: a process can use one backend only.
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    from .run import run

    run(arguments)
