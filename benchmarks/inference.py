"""Measure the seconds of a batch at inference: plain, LC, folded, folded with normalization.

    KERAS_BACKEND=jax python -m benchmarks.inference

Writes JSON to benchmarks/results/.
"""

import dataclasses
import pathlib

import tyro

from benchmarks import networks
from benchmarks.measure import RESULTS, images_and_labels, take_turns, write


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to time."""

    expansion: int = 128
    """Random filters per output channel."""
    batch_size: int = 256
    """Images in one step."""
    depth: int = 20
    """Number of layers of the ResNet."""
    width: int = 16
    """Channels of the first stage."""
    rounds: int = 21
    """Number of times that each step is timed."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""


def main(arguments):
    images, _ = images_and_labels((arguments.batch_size, 32, 32, 3))
    forms = ("full", "compact", "folded", "folded+bn")
    names = ["plain", *(f"{form}-x{arguments.expansion}" for form in forms)]
    models = {name: networks.make(name, arguments.depth, arguments.width) for name in names}
    rows = take_turns(
        {
            name: lambda model=model: model.predict_on_batch(images)
            for name, model in models.items()
        },
        arguments.rounds,
    )
    for name, row in rows.items():
        print(f"{name:16} {row['seconds']:8.4f} s  {row['ratio']:6.3f} x")
    print(write("benchmarks.inference", arguments, rows, arguments.output))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
