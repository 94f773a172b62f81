"""Measure the speed of networks with parameter-free layers, the claim of their paper.

    KERAS_BACKEND=tensorflow python -m benchmarks.parameter_free

ResNet-50, ViT-S and PiT-S take turns with their versions whose spatial layers are pools. Inference
is timed for single images and for a batch, training for the batch. Writes JSON to
benchmarks/results/, with the trained numbers and the multiplications of each network.
"""

import dataclasses
import math
import pathlib
import sys

import tyro

import keras_lc
from benchmarks.measure import RESULTS, images_and_labels, take_turns, training_step, write
from keras_lc.analysis import count_multiplications

#: By name: the builder, its size, and the spatial operator.
_NETWORKS = {
    "r50": (keras_lc.ResNet, 50, "learned"),
    "r50-max": (keras_lc.ResNet, 50, "max"),
    "r50-hybrid": (keras_lc.ResNet, 50, "hybrid"),
    "vit-s": (keras_lc.ViT, "small", "learned"),
    "vit-s-max": (keras_lc.ViT, "small", "max"),
    "pit-s": (keras_lc.PiT, "small", "learned"),
    "pit-s-max": (keras_lc.PiT, "small", "max"),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to time."""

    networks: tuple[str, ...] = tuple(_NETWORKS)
    """Networks to time. All are compared with the first."""
    batch_sizes: tuple[int, ...] = (1, 8)
    """Images in a batch at inference."""
    train_batch_size: int = 8
    """Images in a training step. 0 leaves out training."""
    image_size: int = 224
    """Height and width of the images in pixels."""
    rounds: int = 9
    """Number of times that each step is timed."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""


def main(arguments):
    unknown = [name for name in arguments.networks if name not in _NETWORKS]
    if unknown:
        sys.exit(f"--networks must be of {', '.join(_NETWORKS)}. Received: {', '.join(unknown)}")
    shape = (arguments.image_size, arguments.image_size, 3)
    models = {}
    for name in arguments.networks:
        builder, size, spatial = _NETWORKS[name]
        models[name] = builder(size, spatial=spatial, input_shape=shape, seed=0)
    rows = {
        name: {
            "trained_numbers": sum(math.prod(v.shape) for v in model.trainable_variables),
            "multiplications": count_multiplications(model),
        }
        for name, model in models.items()
    }

    def time(what, steps):
        for name, row in take_turns(steps, arguments.rounds).items():
            rows[name][what] = row

    for batch_size in arguments.batch_sizes:
        images, _ = images_and_labels((batch_size, *shape))
        time(
            f"inference, batch {batch_size}",
            {
                name: lambda model=model, images=images: model.predict_on_batch(images)
                for name, model in models.items()
            },
        )
    if arguments.train_batch_size:
        time(
            f"training, batch {arguments.train_batch_size}",
            {
                name: training_step(model, arguments.train_batch_size)
                for name, model in models.items()
            },
        )
    print_table(rows)
    print(write("benchmarks.parameter_free", arguments, rows, arguments.output))


def print_table(rows):
    for name, row in rows.items():
        size = f"{row['trained_numbers'] / 1e6:5.1f} M  {row['multiplications'] / 1e9:5.2f} G"
        times = (
            f"{what} {times['seconds']:.3f} s ({times['ratio']:.2f})"
            for what, times in row.items()
            if isinstance(times, dict)
        )
        print(f"{name:12}{size}", *times, sep="   ")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
