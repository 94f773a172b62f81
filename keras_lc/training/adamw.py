"""AdamW that saves which variables have no weight decay."""

from typing import Any

import keras

from keras_lc.training.decay_exclusions import DecayExclusions
from keras_lc.types import LearningRate

# As for `SGD`: under PyTorch, Keras' implementation for it updates all variables together.
_BackendAdamW = type(keras.optimizers.AdamW.__new__(keras.optimizers.AdamW))


@keras.saving.register_keras_serializable(package="keras_lc")
class AdamW(DecayExclusions, _BackendAdamW):
    """Adam with decoupled weight decay, with PyTorch's default values.

    It differs from `keras.optimizers.AdamW` in the default values, and in that files keep
    `exclude_from_weight_decay`.

    Args:
        learning_rate: Float, or `keras.optimizers.schedules.LearningRateSchedule`.
        weight_decay: Float. In each step, a variable shrinks by `learning_rate · weight_decay`.
        beta_1, beta_2: Floats, the decay rates of the gradient's first and second moment.
        epsilon: Float, added to the root of the second moment.
        name: String.
        **kwargs: As in `keras.optimizers.AdamW`: `clipnorm`, `use_ema` …

    Example:

    >>> optimizer = keras_lc.training.AdamW(1e-3, weight_decay=0.05)

    Reference:

    - [Decoupled Weight Decay Regularization](https://arxiv.org/abs/1711.05101)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1e-3,
        weight_decay: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        # Without a name, Keras numbers the optimizers of a process and uses it for the variables.
        name: str = "adamw",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            name=name,
            **kwargs,
        )
