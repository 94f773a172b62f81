"""Images per second of the input pipeline alone, and of training with it.

    KERAS_BACKEND=jax python -m benchmarks.input_pipeline --data-dir cifar10-jpeg

Input is no bottleneck where the first number is several times the second. Writes JSON to
benchmarks/results/.
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
    data_dir: pathlib.Path | None = None
    name: str = "compact-x128"
    batch_size: int = 256
    epochs: int = 3
    """Epochs of training; the first compiles, and is not counted."""
    images: int | None = None
    """Train on that many images only."""
    output: pathlib.Path = RESULTS


def main(arguments):
    data = keras_lc.data.load(arguments.dataset, arguments.data_dir)
    x, y = data.x_train[: arguments.images], data.y_train[: arguments.images]
    batches = keras_lc.training.ShuffledBatches(x, y, batch_size=arguments.batch_size, seed=0)
    images = arguments.batch_size * batches.num_batches

    begin = time.perf_counter()
    for i in range(batches.num_batches):
        batches[i]
    alone = images / (time.perf_counter() - begin)

    model = networks.make(arguments.name)
    clock = _Epochs()
    model.fit(
        x, y, batch_size=arguments.batch_size, epochs=arguments.epochs, callbacks=[clock], verbose=0
    )
    training = images * (arguments.epochs - 1) / sum(clock.seconds[1:])

    step = training_step(networks.make(arguments.name), arguments.batch_size)
    for _ in range(3):
        step()
    begin = time.perf_counter()
    for _ in range(10):
        step()
    one_batch = 10 * arguments.batch_size / (time.perf_counter() - begin)
    rows = {"input alone": alone, "training": training, "steps on one batch": one_batch}
    for name, value in rows.items():
        print(f"{name:20} {value:12,.0f} images/s")
    rows["training / steps"] = training / one_batch
    rows["compile seconds"] = clock.seconds[0] - statistics.median(clock.seconds[1:])
    print(f"{'training / steps':20} {rows['training / steps']:12.2f}")
    print(f"{'compiling':20} {rows['compile seconds']:12.1f} s")
    print(write("benchmarks.input_pipeline", arguments, rows, arguments.output))


class _Epochs(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._begin)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
