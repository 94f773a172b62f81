"""Names for the types of arguments that Keras leaves open."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras

#: An array of NumPy, or a tensor of any backend.
Array: TypeAlias = Any
#: A tensor of the backend in use, or a symbolic one.
Tensor: TypeAlias = Any
#: The file of one layer, as Keras gives it to `save_own_variables` and `load_own_variables`.
Store: TypeAlias = Any

#: Of a tensor; `None` where an axis is open.
Shape: TypeAlias = Sequence[int | None]
#: Of a kernel or a stride: one number, or one for each side.
Size: TypeAlias = int | Sequence[int]

Activation: TypeAlias = str | Callable[..., Any] | None
Initializer: TypeAlias = str | dict[str, Any] | keras.initializers.Initializer | None
Regularizer: TypeAlias = str | dict[str, Any] | keras.regularizers.Regularizer | None
Constraint: TypeAlias = str | dict[str, Any] | keras.constraints.Constraint | None
LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
