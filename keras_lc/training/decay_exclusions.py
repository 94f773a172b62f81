"""Optimizers that save which variables have no weight decay."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_lc.training.variable_paths import variables_at


class DecayExclusions:
    """Mixin for optimizers that keep `exclude_from_weight_decay` when they are saved.

    Keras forgets the exclusions, so a resumed run would decay the excluded variables. Here the
    names and the paths of the variables are part of the config.
    """

    def __init__(
        self,
        *args: Any,
        no_decay_names: Sequence[str] = (),
        no_decay_paths: Sequence[str] = (),
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self._no_decay_paths = list(no_decay_paths)
        self._no_decay_names = list(no_decay_names)
        if self._no_decay_names:
            super().exclude_from_weight_decay(var_names=self._no_decay_names)

    def exclude_from_weight_decay(
        self,
        var_list: Sequence[keras.Variable] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        super().exclude_from_weight_decay(var_list=var_list, var_names=var_names)
        # As in Keras, a second call replaces the first.
        self._no_decay_paths = [variable.path for variable in var_list or []]
        self._no_decay_names = list(var_names or [])

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built and self._no_decay_paths:
            # Only now are all variables of the model known.
            found = variables_at(self._no_decay_paths, variables, "excluded from weight decay")
            super().exclude_from_weight_decay(
                var_list=[variable for variable, _ in found], var_names=self._no_decay_names
            )
        super().build(variables)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self._no_decay_names:
            config["no_decay_names"] = self._no_decay_names
        if self._no_decay_paths:
            config["no_decay_paths"] = self._no_decay_paths
        return config
