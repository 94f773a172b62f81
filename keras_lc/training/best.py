"""Keeps the best model of a run, in addition to its last."""

import math
import os
import warnings
from typing import Any

import keras

from keras_lc.paths import user_path
from keras_lc.training.resume import read_state, save_with_state, take_part_in_saving


class BestModel(keras.callbacks.Callback):
    """Keeps the model of the epoch with the largest validation metric.

    `keras.callbacks.ModelCheckpoint(save_best_only=True)` overwrites the file in place, so a kill
    can leave half a file. It also does not know the epochs before a run was resumed.

    Args:
        path: Path of the `.keras` file.
        monitor: String, a key of the history. If epochs are equal, the first one is kept.
        history: Dict of lists, the history before this part of the run, such as
            `ResumableRun.history`.
        write: Boolean; see `ResumableRun`.
        run: String, `ResumableRun.id`. The file stores it.

    Attributes:
        best: Float, the largest value so far, or `None`.

    Raises:
        ValueError: If `history` has a best epoch, but the file is missing, damaged, from another
            run, or not from that epoch.

    Example:

    ```python
    run = keras_lc.training.ResumableRun("runs/1")
    model, epoch = run.restore() or (keras_lc.ResNetLC(depth=20, expansion=8, seed=1), 0)
    best = keras_lc.training.BestModel("runs/1/best.keras", history=run.history, run=run.id)
    # `best` comes before `run`, because the checkpoint marks the epoch as done.
    model.fit(
        x, y, epochs=75, initial_epoch=epoch, validation_data=(x_test, y_test),
        callbacks=[best, run],
    )
    ```
    """

    def __init__(
        self,
        path: str | os.PathLike,
        monitor: str = "val_accuracy",
        history: dict | None = None,
        write: bool = True,
        run: str | None = None,
    ):
        super().__init__()
        self.path = user_path(path)
        self.monitor = monitor
        self.write = write
        self.run = run
        known = [value for value in (history or {}).get(monitor, []) if not math.isnan(value)]
        self.best = max(known, default=None)
        if known:
            self._check_file()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.monitor not in (logs or {}):
            self._miss(epoch, sorted(logs or {}))
            return
        value = float(logs[self.monitor])
        # NaN is never the largest value.
        if math.isnan(value) or (self.best is not None and value <= self.best):
            return
        self.best = value
        if not self.write:
            take_part_in_saving(self.model)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {"run": self.run, "monitor": self.monitor, "value": value, "epoch": epoch + 1}
        save_with_state(self.model, self.path, state)

    def _check_file(self):
        if not self.path.exists():
            raise ValueError(
                f"{self.path} is gone. It was the best model of this run. Put it back, or start a "
                "new run."
            )
        state = read_state(self.path) or {}
        # The file may be better than the history: a kill may have come before the checkpoint of
        # its epoch. That epoch will be trained again.
        if state.get("run") != self.run or state.get("value", -math.inf) < self.best:
            raise ValueError(
                f"{self.path} is not the best model of this run. The best {self.monitor} was "
                f"{self.best:.4g}. Put that model back, or start a new run."
            )

    def _miss(self, epoch, names):
        """Raises an error, unless only this epoch has no validation."""
        message = (
            f"`monitor` must be one of {names}, the metrics at the end of an epoch. "
            f"Received: monitor={self.monitor!r}"
        )
        validated = any(name.startswith("val_") for name in names)
        more_to_come = epoch + 1 < (self.params or {}).get("epochs", 0)
        known = self.best is not None
        if validated or not self.monitor.startswith("val_") or not (known or more_to_come):
            raise ValueError(message)
        if not known:
            # Only a warning: Keras does not tell a callback about `validation_freq`.
            warnings.warn(f"Epoch {epoch + 1} ended without a validation. {message}", stacklevel=2)
