"""The best model of a run, beside its last."""

import math
import os
import warnings
from typing import Any

import keras

from keras_lc.paths import user_path
from keras_lc.training.resume import read_state, save_with_state, take_part_in_saving


class BestModel(keras.callbacks.Callback):
    """Keeps the model of the epoch in which a validated figure was largest.

    `keras.callbacks.ModelCheckpoint(save_best_only=True)` writes over the file in place, so that
    a kill can leave half of one, and knows nothing of the epochs before a run was resumed.

    Args:
        path: Path of the `.keras` file.
        monitor: String, a key of the history. The first of equal epochs is kept.
        history: Dict of lists, the history before this part of the run, such as
            `ResumableRun.history`.
        write: Boolean; see `ResumableRun`.
        run: String, `ResumableRun.id`, which the file carries.

    Attributes:
        best: Float, the largest figure so far, or `None`.

    Raises:
        ValueError: If there is a best epoch in `history`, and the file is damaged, of another run,
            or not of that epoch.

    Example:

    ```python
    run = keras_lc.training.ResumableRun("runs/1")
    model, epoch = run.restore() or (keras_lc.ResNetLC(depth=20, expansion=8, seed=1), 0)
    best = keras_lc.training.BestModel("runs/1/best.keras", history=run.history, run=run.id)
    # Before the checkpoint, which marks the epoch as done.
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
        # NaN is larger than nothing.
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
            raise ValueError(f"{self.path} is gone, the best model so far: begin anew.")
        state = read_state(self.path) or {}
        # Better than the history where a kill came between it and the checkpoint of its epoch,
        # which will be trained again.
        if state.get("run") != self.run or state.get("value", -math.inf) < self.best:
            raise ValueError(
                f"{self.path} is not the best model of this run, whose {self.monitor} was "
                f"{self.best:.4g}: put that back, or begin anew."
            )

    def _miss(self, epoch, names):
        """Raises, unless it is an epoch without validation, and others will have one."""
        message = (
            f"`monitor` must be one of {names}, which an epoch ends with. "
            f"Received: monitor={self.monitor!r}"
        )
        validated = any(name.startswith("val_") for name in names)
        more_to_come = epoch + 1 < (self.params or {}).get("epochs", 0)
        known = self.best is not None
        if validated or not self.monitor.startswith("val_") or not (known or more_to_come):
            raise ValueError(message)
        if not known:
            # Once; no error, since of `validation_freq` a callback is not told.
            warnings.warn(f"Epoch {epoch + 1} ended without a validation. {message}", stacklevel=2)
