"""SGD as PyTorch defines it."""

import collections
import contextlib
from typing import Any

import keras
from keras import ops

from keras_lc.keras_internals import is_decayed, place_of
from keras_lc.training.decay_exclusions import DecayExclusions
from keras_lc.training.rate_factors import RateFactors
from keras_lc.types import LearningRate, Tensor

# Keras chooses a backend's implementation only for its exact class. `type(...)` is that
# implementation: under PyTorch it updates all variables in a few fused calls. No object is
# constructed, because its variables would start JAX, and then JAX can no longer join several hosts.
_BackendSGD = type(keras.optimizers.SGD.__new__(keras.optimizers.SGD))


@keras.saving.register_keras_serializable(package="keras_lc")
class SGD(DecayExclusions, RateFactors, _BackendSGD):
    """Stochastic gradient descent with PyTorch's semantics.

    It equals `torch.optim.SGD` step by step. It differs from `keras.optimizers.SGD` in two ways:

    - The weight decay is added to the gradient before the momentum: `g + weight_decay · w`.
      Keras shrinks the variable directly, which is about ten times weaker at a momentum of 0.9.
    - The velocity contains gradients, and is multiplied by the current learning rate. Keras
      multiplies each gradient first, so old gradients keep old learning rates in a schedule.

    Args:
        learning_rate: Float, or `keras.optimizers.schedules.LearningRateSchedule`.
        momentum: Float between 0 and 1.
        nesterov: Boolean, whether to apply Nesterov's momentum.
        weight_decay: Float or `None`. It acts on every trainable variable, also on biases and
            batch normalization, as in PyTorch. Call `exclude_from_weight_decay` to exclude some.
        name: String.
        **kwargs: As in `keras.optimizers.SGD`: `clipnorm`, `use_ema` … Also `rate_factors`: dict
            from paths of variables (`variable.path`) to factors of their learning rate.

    Example:

    >>> optimizer = keras_lc.training.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.01)

    Reference:

    - [torch.optim.SGD](https://pytorch.org/docs/stable/generated/torch.optim.SGD.html)
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        # Without a name, Keras numbers the optimizers of a process and uses it for the variables.
        name: str = "sgd",
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            momentum=float(momentum),
            nesterov=nesterov,
            weight_decay=weight_decay,
            name=name,
            **kwargs,
        )
        if nesterov and not momentum:
            raise ValueError("`nesterov=True` needs a positive `momentum`. Received: momentum=0")

    def _apply_weight_decay(self, variables):
        """Does nothing, because the gradient already contains the decay."""

    def _decay_of(self, variable):
        return self.weight_decay if is_decayed(self, variable) else 0

    def update_step(self, gradient: Tensor, variable: Tensor, learning_rate: Tensor) -> None:
        with _after(gradient):
            self._update(gradient, variable, learning_rate)

    def _update(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        update = ops.cast(gradient, dtype)
        if self.weight_decay and self._decay_of(variable):
            update = ops.add(update, ops.multiply(variable, ops.cast(self.weight_decay, dtype)))
        if self.momentum:
            velocity = self.momentums[place_of(self, variable)]
            momentum = ops.cast(self.momentum, dtype)
            self.assign(velocity, ops.add(ops.multiply(velocity, momentum), update))
            if self.nesterov:
                update = ops.add(update, ops.multiply(velocity, momentum))
            else:
                update = velocity
        self.assign_sub(variable, ops.multiply(update, self._rate_of(variable, learning_rate)))

    def _parallel_update_step(self, grads, variables, learning_rate):
        """PyTorch's multi-tensor form of `update_step`. Only that backend calls it."""
        import torch

        values = [variable.value for variable in variables]
        updates = list(grads)
        if self.weight_decay:
            decayed = [i for i, v in enumerate(variables) if self._decay_of(v)]
            with_decay = torch._foreach_add(
                [updates[i] for i in decayed],
                [values[i] for i in decayed],
                alpha=self.weight_decay,
            )
            for i, update in zip(decayed, with_decay, strict=True):
                updates[i] = update
        if self.momentum:
            velocities = [self.momentums[place_of(self, v)].value for v in variables]
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, updates)
            if self.nesterov:
                updates = torch._foreach_add(updates, velocities, alpha=self.momentum)
            else:
                updates = velocities
        by_factor = collections.defaultdict(list)
        for i, variable in enumerate(variables):
            by_factor[self._factor_of(variable)].append(i)
        for factor, places in by_factor.items():
            torch._foreach_add_(
                [values[i] for i in places],
                [updates[i] for i in places],
                alpha=-float(learning_rate) * factor,
            )


def _after(gradient):
    """Returns a context in which operations wait for the gradient.

    TensorFlow would compute independent values, such as `velocity * momentum`, at the beginning
    of a step, and keep them in memory when memory is scarce. Other backends do not need this.
    """
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.control_dependencies([gradient])
