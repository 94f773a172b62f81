"""What watches a training run: its speed, and Ctrl-C."""

import signal
import statistics
import time

import keras

from .files import DamagedFile, read_json, write_json


class TrainingTime(keras.callbacks.Callback):
    """Seconds of each epoch's training, without validation, in this process.

    And of each whole epoch, over all parts of a run that was stopped, in `seconds.json`.

    Args:
        folder: Path of the run's folder.
        first_epoch: Integer, the epoch that comes first.
        write: Boolean, whether this is the process that writes files.
    """

    def __init__(self, folder, first_epoch, write=True):
        super().__init__()
        self.seconds = []
        self._begin = None
        self._write = write
        self._file = folder / "seconds.json"
        self.epochs = _seconds(self._file, first_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = self._epoch_begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        # Before the checkpoint: an epoch ahead of it at the most, never behind.
        self.epochs.append(time.perf_counter() - self._epoch_begin)
        if self._write:
            write_json(self._file, self.epochs)

    def on_test_begin(self, logs=None):
        # Validation runs inside the epoch, and ends what is to be timed.
        if self._begin is not None:
            self.seconds.append(time.perf_counter() - self._begin)
            self._begin = None

    @property
    def total(self):
        """Seconds of all epochs; `None` if those of some are not known any more."""
        return None if None in self.epochs else sum(self.epochs)

    @property
    def median(self):
        # The first epoch compiles.
        return statistics.median(self.seconds[1:] or self.seconds)

    @property
    def compiling(self):
        """Seconds by which the first epoch of this process took longer than the others."""
        if len(self.seconds) < 2:
            return None
        return max(0.0, self.seconds[0] - self.median)


def _seconds(path, epochs):
    """The seconds of some epochs, `None` for each where the file does not say them all."""
    try:
        seconds = (read_json(path, of=list) or [])[:epochs]
    except DamagedFile:
        seconds = []
    known = len(seconds) == epochs and all(isinstance(value, float) for value in seconds)
    return seconds if known else [None] * epochs


class InterruptBetweenBatches(keras.callbacks.Callback):
    """Raises `KeyboardInterrupt` between two batches after Ctrl-C; at once after a second one.

    Raised wherever it falls, it can fall into JAX's garbage collection, which swallows it.
    """

    def arm(self):
        self._asked = False
        self._before = signal.signal(signal.SIGINT, self._ask)

    def disarm(self):
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_):
        self.disarm()
        self._asked = True

    def _raise_if_asked(self, *_):
        if self._asked:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self._raise_if_asked()

    def on_train_batch_end(self, batch, logs=None):
        self._raise_if_asked()
