"""Optimizers that scale the learning rate of single variables."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_lc.keras_internals import place_of
from keras_lc.training.variable_paths import variables_at
from keras_lc.types import Tensor


class RateFactors:
    """Mixin for optimizers with factors of the learning rate. The factors are saved with them.

    Args:
        rate_factors: Dict from paths of variables (`variable.path`) to numbers of at least 0.
            The learning rate of such a variable is multiplied by its number. Weight decay that is
            a part of the step is scaled with it. All other variables have the factor 1.
    """

    def __init__(self, *args: Any, rate_factors: Mapping[str, float] | None = None, **kwargs: Any):
        for path, factor in (rate_factors or {}).items():
            if not _is_factor(factor):
                raise ValueError(
                    "`rate_factors` must map paths of variables to finite numbers of at least 0. "
                    f"Received: {path!r}: {factor!r}"
                )
        super().__init__(*args, **kwargs)
        self._rate_factors = dict(rate_factors or {})

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            found = variables_at(self._rate_factors, variables, "scaled in its learning rate")
            by_id = {id(variable): self._rate_factors[path] for variable, path in found}
            self._factors = tuple(float(by_id.get(id(variable), 1)) for variable in variables)
        super().build(variables)

    def _factor_of(self, variable: Any) -> float:
        return self._factors[place_of(self, variable)]

    def _rate_of(self, variable: Any, learning_rate: Tensor) -> Tensor:
        """Returns the learning rate of a variable, in its dtype."""
        return ops.cast(learning_rate, variable.dtype) * self._factor_of(variable)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self._rate_factors:
            config["rate_factors"] = dict(self._rate_factors)
        return config


def _is_factor(value):
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and 0 <= value < math.inf
