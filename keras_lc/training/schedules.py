"""Learning-rate schedules of the recipes."""

from typing import Any

import keras
from keras import ops

from keras_lc.types import Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that falls in steps, after a linear warmup from 0.

    Args:
        learning_rate: Float, the highest learning rate.
        total_steps: Integer, the number of steps of the run.
        drop_share: Float above 0, the share of the run between two drops: 1/3 for drops after
            each third of it.
        drop_factor: Float, the factor of each drop.
        warmup_steps: Integer, the number of steps in which the learning rate rises. The drops are
            counted from the start of the run, and not from the end of the warmup.

    Example:

    >>> schedule = keras_lc.training.StepDecay(0.2, total_steps=90, drop_share=1 / 3)
    >>> [round(float(schedule(step)), 6) for step in (0, 29, 30, 60, 89)]
    [0.2, 0.2, 0.02, 0.002, 0.002]
    """

    def __init__(
        self,
        learning_rate: float,
        total_steps: int,
        drop_share: float,
        drop_factor: float = 0.1,
        warmup_steps: int = 0,
    ):
        super().__init__()
        if not drop_share > 0:
            raise ValueError(f"`drop_share` must be above 0. Received: drop_share={drop_share}")
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(
                "`warmup_steps` must be from 0 to `total_steps`. Received: "
                f"warmup_steps={warmup_steps}, total_steps={total_steps}"
            )
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.drop_share = drop_share
        self.drop_factor = drop_factor
        self.warmup_steps = warmup_steps
        # In whole steps here, because float32 cannot divide the steps of a long run exactly.
        drops = range(1, int(1 / drop_share) + 1)
        places = [round(total_steps * drop_share * number) for number in drops]
        self._places = [place for place in places if place < total_steps]

    def __call__(self, step: int | Tensor) -> Tensor:
        rate = ops.cast(self.learning_rate, "float32")
        for place in self._places:
            rate = ops.where(step >= place, rate * self.drop_factor, rate)
        if not self.warmup_steps:
            return rate
        rising = ops.cast(step, "float32") / self.warmup_steps
        return rate * ops.minimum(rising, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "drop_share": self.drop_share,
            "drop_factor": self.drop_factor,
            "warmup_steps": self.warmup_steps,
        }


def planned_steps(schedule: Any) -> int | None:
    """Returns the steps of the run that a schedule of a recipe was made for, otherwise `None`."""
    if isinstance(schedule, StepDecay):
        return schedule.total_steps
    if isinstance(schedule, keras.optimizers.schedules.CosineDecay):
        return schedule.decay_steps + schedule.warmup_steps
    return None
