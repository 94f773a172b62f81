"""Compare the seconds of a step with fast code in the frameworks themselves.

    KERAS_BACKEND=torch python -m benchmarks.frameworks

Network, recipe and batch are the same. Raw PyTorch (eager and compiled), raw JAX and raw TensorFlow
take turns with keras_lc under the selected backend, in training and inference. Frameworks that are
not installed are left out. Writes JSON to benchmarks/results/ and prints a table.
"""

import dataclasses
import importlib
import importlib.util
import os
import pathlib
from typing import Literal

# Several frameworks share one device in this process.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
# Before TensorFlow, which Keras imports: in the other order the process crashes.
if importlib.util.find_spec("torch"):
    import torch  # noqa: F401

import keras
import tyro

from benchmarks import networks
from benchmarks.measure import (
    RESULTS,
    compare,
    images_and_labels,
    time_in_turns,
    training_step,
    write,
)

#: By the name of the row: module, package that it needs, options.
_RAW = {
    "raw torch": ("pytorch", "torch", {}),
    "raw torch compiled": ("pytorch", "torch", {"compiled": True}),
    "raw jax": ("jax", "jax", {}),
    "raw tensorflow": ("tensorflow", "tensorflow", {}),
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to time."""

    batch_size: int = 256
    """Images in one step."""
    depth: int = 20
    """Number of layers of the ResNet."""
    width: int = 16
    """Channels of the first stage."""
    expansion: int = 128
    """Random filters per output channel."""
    rounds: int = 9
    """Number of times that each step is timed."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """mixed_bfloat16 leaves out raw JAX and raw TensorFlow; raw PyTorch uses autocast."""
    raw: tuple[str, ...] = tuple(_RAW)
    """Names of the rows for the frameworks' own code."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""


def main(arguments):
    images, labels = images_and_labels((arguments.batch_size, 32, 32, 3))
    train, infer = {}, {}
    keras.config.set_dtype_policy(arguments.precision)
    mixed = arguments.precision != "float32"
    for name in arguments.raw:
        module, package, options = _RAW[name]
        if mixed:
            options = {**options, "mixed": True}
        if importlib.util.find_spec(package) and (package == "torch" or not mixed):
            raw = importlib.import_module(f"benchmarks.raw.{module}")
            train[name], infer[name] = raw.steps(
                arguments.depth, arguments.width, images, labels, **options
            )
    size = (arguments.depth, arguments.width)
    for form in ("plain", "compact", "full"):
        name = form if form == "plain" else f"{form}-x{arguments.expansion}"
        train[name] = training_step(networks.make(name, *size), arguments.batch_size)
    for form in ("plain", "folded", "folded+bn"):
        name = form if form == "plain" else f"{form}-x{arguments.expansion}"
        model = networks.make(name, *size)
        infer[name] = lambda model=model: model.predict_on_batch(images)

    own = f"raw {keras.backend.backend()}"
    rows = {}
    for what, steps in (("training", train), ("inference", infer)):
        times = time_in_turns(steps, arguments.rounds)
        ratios = {
            base: compare(times, base) for base in ("raw torch", own, "plain") if base in times
        }
        rows[what] = {
            name: {
                "seconds": ratios["plain"][name]["seconds"],
                "seconds_min": min(times[name]),
                "images_per_second": arguments.batch_size / ratios["plain"][name]["seconds"],
                **{f"ratio to {base}": ratios[base][name]["ratio"] for base in ratios},
            }
            for name in times
        }
        print(f"\n{what}, batch {arguments.batch_size}")
        for name, row in rows[what].items():
            print(f"  {name:20}", *(f"{key} {value:.3f}" for key, value in row.items()), sep="  ")
    print(write("benchmarks.frameworks", arguments, rows, arguments.output))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
