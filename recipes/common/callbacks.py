"""Callbacks that measure the speed of a training run and handle Ctrl-C."""

import signal
import statistics
import time

import keras

from .files import DamagedFile, read_json, write_json


class TrainingTime(keras.callbacks.Callback):
    """Measures the seconds of training in each epoch of this process, without validation.

    It also writes the seconds of each whole epoch to `seconds.json`. This file covers all parts of
    a run that was stopped and resumed.

    Args:
        folder: Path of the run's folder.
        first_epoch: Integer, the number of the first epoch in this process.
        write: Boolean, whether this process writes files.
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
        # Before the checkpoint: the file may be one epoch ahead of it, but never behind.
        self.epochs.append(time.perf_counter() - self._epoch_begin)
        if self._write:
            write_json(self._file, self.epochs)

    def on_test_begin(self, logs=None):
        # Validation runs inside the epoch, after the training that is timed.
        if self._begin is not None:
            self.seconds.append(time.perf_counter() - self._begin)
            self._begin = None

    @property
    def total(self):
        """Seconds of all epochs; `None` if the seconds of some epochs are unknown."""
        return None if None in self.epochs else sum(self.epochs)

    @property
    def median(self):
        # The first epoch includes compiling.
        return statistics.median(self.seconds[1:] or self.seconds)

    @property
    def compiling(self):
        """Seconds that this process' first epoch took longer than the median of the others."""
        if len(self.seconds) < 2:
            return None
        return max(0.0, self.seconds[0] - self.median)


def _seconds(path, epochs):
    """The seconds of the first epochs; `None` for each if the file does not hold all of them."""
    try:
        seconds = (read_json(path, of=list) or [])[:epochs]
    except DamagedFile:
        seconds = []
    known = len(seconds) == epochs and all(isinstance(value, float) for value in seconds)
    return seconds if known else [None] * epochs


class InterruptBetweenBatches(keras.callbacks.Callback):
    """Raises `KeyboardInterrupt` between two batches after Ctrl-C; at once after a second Ctrl-C.

    Python raises it at any place. During JAX's garbage collection, the exception would get lost.
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
