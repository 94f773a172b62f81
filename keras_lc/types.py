"""Type names for arguments that Keras does not annotate."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras

#: A NumPy array, or a tensor of any backend.
Array: TypeAlias = Any
#: A tensor of the current backend, or a symbolic tensor.
Tensor: TypeAlias = Any
#: The stored values of one layer. Keras passes it to `save_own_variables` and
#: `load_own_variables`.
Store: TypeAlias = Any

#: The shape of a tensor. `None` is an axis of any size.
Shape: TypeAlias = Sequence[int | None]
#: The size of a kernel or a stride: one number, or one number for each axis.
Size: TypeAlias = int | Sequence[int]

Activation: TypeAlias = str | Callable[..., Any] | None
Initializer: TypeAlias = str | dict[str, Any] | keras.initializers.Initializer | None
Regularizer: TypeAlias = str | dict[str, Any] | keras.regularizers.Regularizer | None
Constraint: TypeAlias = str | dict[str, Any] | keras.constraints.Constraint | None
LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
