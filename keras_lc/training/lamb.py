"""LAMB as its paper defines it."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_lc.keras_internals import is_decayed, place_of
from keras_lc.training.decay_exclusions import DecayExclusions
from keras_lc.training.rate_factors import RateFactors
from keras_lc.types import LearningRate, Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class LAMB(DecayExclusions, RateFactors, keras.optimizers.Optimizer):
    """Layer-wise adaptive moments for large batches.

    Each variable takes Adam's step plus the weight decay, scaled to the norm of the variable:
    `w -= learning_rate · ‖w‖ / ‖u‖ · u`, with `u = m̂ / (√v̂ + ε) + weight_decay · w`.
    `keras.optimizers.Lamb` leaves the decay outside of `u`. Biases and batch normalization (all
    variables with one axis) take Adam's step without decay and scaling. timm does the same, and
    the ImageNet recipe was found with timm.

    Args:
        learning_rate: Float, or `keras.optimizers.schedules.LearningRateSchedule`.
        beta_1, beta_2: Floats, the decay rates of the gradient's first and second moment.
        epsilon: Float, added to the root of the second moment.
        weight_decay: Float, at least 0.
        global_clipnorm: Float, the largest norm of all gradients together. Larger gradients are
            clipped. `None` does not clip.
        name: String.
        **kwargs: As in `keras.optimizers.Optimizer`. Also `rate_factors`: dict from paths of
            variables (`variable.path`) to factors of their learning rate.

    Example:

    >>> optimizer = keras_lc.training.LAMB(5e-3, weight_decay=0.02)

    Reference:

    - [Large Batch Optimization for Deep Learning](https://arxiv.org/abs/1904.00962), Algorithm 2
    - [ResNet strikes back](https://arxiv.org/abs/2110.00476), Appendix B
    """

    def __init__(
        self,
        learning_rate: LearningRate = 5e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        weight_decay: float | None = 0.02,
        global_clipnorm: float | None = 1.0,
        name: str = "lamb",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            global_clipnorm=global_clipnorm,
            name=name,
            **kwargs,
        )
        for argument, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= value < 1:
                raise ValueError(
                    f"`{argument}` must be at least 0 and below 1. Received: {argument}={value}"
                )
        if weight_decay is not None and weight_decay < 0:
            raise ValueError(
                f"`weight_decay` must be at least 0. Received: weight_decay={weight_decay}"
            )
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._momentums = [self.add_variable_from_reference(v, "momentum") for v in variables]
        self._velocities = [self.add_variable_from_reference(v, "velocity") for v in variables]

    def _apply_weight_decay(self, variables):
        """Does nothing, because the step already contains the decay."""

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        dtype = variable.dtype
        gradient = ops.cast(gradient, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        place = place_of(self, variable)
        momentum, velocity = self._momentums[place], self._velocities[place]
        self.assign(momentum, self.beta_1 * momentum + (1 - self.beta_1) * gradient)
        self.assign(velocity, self.beta_2 * velocity + (1 - self.beta_2) * ops.square(gradient))
        first = momentum / (1 - ops.power(ops.cast(self.beta_1, dtype), step))
        second = velocity / (1 - ops.power(ops.cast(self.beta_2, dtype), step))
        update = first / (ops.sqrt(second) + self.epsilon)
        if len(variable.shape) > 1:
            if self.weight_decay and is_decayed(self, variable):
                update = update + self.weight_decay * variable
            update = update * _trust(variable, update)
        self.assign_sub(variable, self._rate_of(variable, learning_rate) * update)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon)
        return config


def _trust(variable, update):
    weight, length = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
    known = ops.logical_and(weight > 0, length > 0)
    return ops.where(known, weight / ops.where(known, length, 1), 1)
