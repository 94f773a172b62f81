"""Measure the bytes of checkpoints, and the seconds to build, save and load networks.

    KERAS_BACKEND=jax python -m benchmarks.files

It varies expansion, width and depth. Each network is built in its own process, because its
triangular factors stay in memory. Writes JSON to benchmarks/results/.
"""

import dataclasses
import json
import pathlib
import tempfile
import time

import keras
import numpy as np
import tyro

from benchmarks import networks
from benchmarks.measure import RESULTS, in_child, training_step, write

_NETWORKS = [
    ("plain", 20, 16),
    *((f"{form}-x{e}", 20, 16) for form in ("full", "compact") for e in (1, 8, 32, 128)),
    *((name, 20, width) for name in ("plain", "full-x32", "compact-x32") for width in (32, 64)),
    *((name, depth, 16) for name in ("plain", "full-x32", "compact-x32") for depth in (32, 56)),
]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""
    child: tuple[str, int, int] | None = None
    """Measure only this network (name, depth, width), and print JSON."""


def main(arguments):
    if arguments.child:
        print(json.dumps(measure(*arguments.child)))
        return
    rows = {}
    for network in _NETWORKS:
        name = "{} (depth {}, width {})".format(*network)
        rows[name] = row = in_child("benchmarks.files", "--child", *map(str, network))
        print(
            f"{name:34} {row['checkpoint_bytes']:>12,} bytes = {row['checkpoint_share']:.3f} of "
            f"trained, statistics and optimizer; build {row['build_seconds']:6.2f} s, again "
            f"{row['build_again_seconds']:6.2f} s, save {row['save_seconds']:5.2f} s, load "
            f"{row['load_seconds']:5.2f} s",
            flush=True,
        )
    print(write("benchmarks.files", arguments, rows, arguments.output))


def measure(name, depth, width):
    networks.make("plain", depth=8, width=4)  # the first model of a process takes longer
    begin = time.perf_counter()
    model = networks.make(name, depth, width)
    built = time.perf_counter()
    networks.make(name, depth, width)
    built_again = time.perf_counter()
    training_step(model, batch_size=4)()  # makes the optimizer's variables
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        before_save = time.perf_counter()
        model.save(path)
        saved = time.perf_counter()
        keras.saving.load_model(path)
        loaded = time.perf_counter()
        checkpoint_bytes = path.stat().st_size
        weights = pathlib.Path(folder) / "model.weights.h5"
        model.save_weights(weights)
        weights_bytes = weights.stat().st_size
    statistics = [v for v in model.non_trainable_weights if "moving" in v.name]
    stored = _numbers(model.trainable_weights) + _numbers(statistics)
    optimizer = _numbers(model.optimizer.variables)
    return {
        "checkpoint_bytes": checkpoint_bytes,
        "checkpoint_share": checkpoint_bytes / (4 * (stored + optimizer)),
        "weights_bytes": weights_bytes,
        "trained_and_statistics": stored,
        "optimizer": optimizer,
        "all_weights": _numbers(model.weights),
        "build_seconds": built - begin,
        "build_again_seconds": built_again - built,
        "save_seconds": saved - before_save,
        "load_seconds": loaded - saved,
    }


def _numbers(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
