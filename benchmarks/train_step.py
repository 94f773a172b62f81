"""Measure the seconds of a training step, and its ratio to the plain ResNet's step.

    KERAS_BACKEND=jax python -m benchmarks.train_step

Writes JSON to benchmarks/results/. With `--image-size 4 --batch-sizes 1 --two-layer --output /tmp`
it shows the fixed costs of a step, which do not depend on the images: the products for the
kernels, their gradients, and the optimizer.
"""

import dataclasses
import pathlib

import tyro

from benchmarks import networks
from benchmarks.measure import RESULTS, take_turns, training_step, write


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to time."""

    expansions: tuple[int, ...] = (1, 8, 32, 128)
    """Random filters per output channel."""
    two_layer: tuple[int, ...] = (1, 8)
    """Expansions of the two-layer form. It takes `expansion` times the memory."""
    batch_sizes: tuple[int, ...] = (128, 256)
    """Images in one step."""
    depth: int = 20
    """Number of layers of the ResNet."""
    width: int = 16
    """Channels of the first stage."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    rounds: int = 7
    """Number of times that each step is timed."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""


def main(arguments):
    forms = [f"{form}-x{e}" for e in arguments.expansions for form in ("full", "compact")]
    two_layer = [f"two-layer-x{e}" for e in arguments.two_layer]
    rows = {}
    for batch_size in arguments.batch_sizes:
        rows[f"batch {batch_size}"] = timed = {}
        # Separately: a network that takes gigabytes and frees them slows down the next one.
        for names in (forms, *([name] for name in two_layer)):
            models = {
                name: networks.make(name, arguments.depth, arguments.width, arguments.image_size)
                for name in ("plain", *names)
            }
            steps = {name: training_step(model, batch_size) for name, model in models.items()}
            for name, row in take_turns(steps, arguments.rounds).items():
                timed.setdefault(name, row)
        print(f"batch {batch_size}")
        for name, row in timed.items():
            print(f"  {name:16} {row['seconds']:8.4f} s  {row['ratio']:6.2f} x", flush=True)
    print(write("benchmarks.train_step", arguments, rows, arguments.output))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
