"""The check that training takes the steps that a schedule was made for."""

import warnings

import keras

from keras_lc.training.fit_checks import inner_optimizer


class PlannedSteps(keras.callbacks.Callback):
    """Checks that training takes the number of steps that the recipe's schedule was made for.

    Args:
        steps: Integer, the steps of an epoch.
        first_epoch: Integer, the first epoch of the schedule.
        epochs: Integer, the last epoch of the schedule.
    """

    # Keras does not need to wait for it after each step, and may call it in another order.
    async_safe = True

    def __init__(self, steps: int, first_epoch: int, epochs: int):
        super().__init__()
        self._steps = steps
        self._first_epoch = first_epoch
        self._epochs = epochs
        self._taken = None
        self._batches = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._taken is None:
            self._taken = (epoch - self._first_epoch) * self._steps
            self._check_begin(epoch)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The optimizer's count is not used: under TensorFlow it includes a step without data.
        self._batches.append(batch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._taken += max(self._batches, default=-1) + 1
        self._batches.clear()

    def on_train_end(self, logs: dict | None = None) -> None:
        planned = (self._epochs - self._first_epoch) * self._steps
        if not self.model.stop_training and self._taken not in (None, planned):
            warnings.warn(
                f"The recipe was made for {planned} steps, and {self._taken} were taken. So its "
                "schedule does not end with the run. The data must give "
                f"{self._steps} batches in each epoch.",
                stacklevel=2,
            )

    def _check_begin(self, epoch):
        found = int(self.model.optimizer.iterations)
        scaled = inner_optimizer(self.model) is not self.model.optimizer
        # Keras skips a step if its gradients are too large for half precision.
        if found > self._taken or (found < self._taken and not scaled):
            raise ValueError(
                f"Epoch {epoch + 1} begins at step {self._taken} of its recipe, but this model has "
                f"taken {found} steps. Continue a run only from the end of an epoch, and with the "
                "same data, `batch_size` and `steps_per_epoch` as before."
            )
