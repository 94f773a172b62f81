"""Optimizers that save which variables have no weight decay."""

from collections.abc import Sequence
from typing import Any

import keras


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
            super().exclude_from_weight_decay(
                var_list=list(self._found(variables)), var_names=self._no_decay_names
            )
        super().build(variables)

    def _found(self, variables):
        by_path = {variable.path: variable for variable in variables}
        for path in self._no_decay_paths:
            if path in by_path:
                yield from (variable for variable in variables if variable.path == path)
                continue
            # When a Sequential model is loaded, its name can leave or join the paths.
            ends = [p for p in by_path if p.endswith(f"/{path}") or path.endswith(f"/{p}")]
            if len(ends) != 1:
                raise ValueError(
                    f"The optimizer was saved with '{path}' excluded from weight decay. The model "
                    f"must have one variable with that path. Received: {len(ends)} such variables "
                    f"in {list(by_path)}"
                )
            yield by_path[ends[0]]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self._no_decay_names:
            config["no_decay_names"] = self._no_decay_names
        if self._no_decay_paths:
            config["no_decay_paths"] = self._no_decay_paths
        return config
