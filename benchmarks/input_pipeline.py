"""Measure images per second: the input pipeline alone, `fit`, and the steps of `fit` alone.

    KERAS_BACKEND=jax python -m benchmarks.input_pipeline --data-dir cifar10-jpeg

Epochs of `fit` take turns with the same number of steps on one batch. If the first number is
several times the others, input is no bottleneck. The ratio `training / steps` is below 1 because
`fit` does more than its steps. Writes JSON to benchmarks/results/.
"""

import dataclasses
import pathlib
import statistics
import time

import keras
import tyro

import keras_lc
from benchmarks import networks
from benchmarks.measure import RESULTS, training_step, write


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    dataset: str = "cifar10"
    """Name of the data set, as in `recipes.train`."""
    data_dir: pathlib.Path | None = None
    """Image folder, or the original archive."""
    name: str = "compact-x128"
    """Network: plain, compact-x128, full-x128 and so on."""
    batch_size: int = 256
    """Images in one step."""
    epochs: int = 3
    """Number of epochs, after a first epoch that compiles."""
    images: int | None = None
    """Number of training images. Defaults to all."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""


def main(arguments):
    data = keras_lc.data.load(arguments.dataset, arguments.data_dir)
    x, y = data.x_train[: arguments.images], data.y_train[: arguments.images]
    batches = keras_lc.training.ShuffledBatches(x, y, batch_size=arguments.batch_size, seed=0)
    images = arguments.batch_size * batches.num_batches

    begin = time.perf_counter()
    for i in range(batches.num_batches):
        batches[i]
    alone = images / (time.perf_counter() - begin)

    step = training_step(networks.make(arguments.name), arguments.batch_size)
    turns = _Turns(step, batches.num_batches)
    networks.make(arguments.name).fit(
        x,
        y,
        batch_size=arguments.batch_size,
        epochs=arguments.epochs + 1,
        callbacks=[turns],
        verbose=0,
    )
    # The first epoch and the first steps include compiling.
    epochs, steps = turns.epochs[1:], turns.steps[1:]
    rows = {
        "input alone": alone,
        "training": images / statistics.median(epochs),
        "steps on one batch": images / statistics.median(steps),
    }
    for name, value in rows.items():
        print(f"{name:20} {value:12,.0f} images/s")
    ratios = [of_steps / of_epoch for of_epoch, of_steps in zip(epochs, steps, strict=True)]
    rows["training / steps"] = statistics.median(ratios)
    rows["ratios"] = ratios
    rows["compile seconds"] = turns.epochs[0] - statistics.median(epochs)
    print(f"{'training / steps':20} {rows['training / steps']:12.2f}")
    print(f"{'compiling':20} {rows['compile seconds']:12.1f} s")
    print(write("benchmarks.input_pipeline", arguments, rows, arguments.output))


class _Turns(keras.callbacks.Callback):
    """Times each epoch, and then the same number of steps alone."""

    def __init__(self, step, number):
        super().__init__()
        self.epochs, self.steps = [], []
        self._step, self._number = step, number

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(time.perf_counter() - self._begin)
        begin = time.perf_counter()
        for _ in range(self._number):
            self._step()
        self.steps.append(time.perf_counter() - begin)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
