"""Variables without weight decay, remembered by saved optimizers."""

from collections.abc import Sequence
from typing import Any

import keras


class DecayExclusions:
    """Mixin of optimizers whose `exclude_from_weight_decay` survives saving.

    Keras forgets the exclusions, so that a run that is resumed would decay what was excluded. Here
    the names and the paths of the variables are part of the config.
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
        # As Keras: a second call takes the place of the first.
        self._no_decay_paths = [variable.path for variable in var_list or []]
        self._no_decay_names = list(var_names or [])

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built and self._no_decay_paths:
            # Those that were excluded are in a model that is built, or loaded, since.
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
            # A loaded Sequential model is no longer part of the paths, or has become one.
            ends = [p for p in by_path if p.endswith(f"/{path}") or path.endswith(f"/{p}")]
            if len(ends) != 1:
                raise ValueError(
                    f"The optimizer was saved with '{path}' excluded from weight decay, and finds "
                    f"{len(ends)} variables of that path among {list(by_path)}."
                )
            yield by_path[ends[0]]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self._no_decay_names:
            config["no_decay_names"] = self._no_decay_names
        if self._no_decay_paths:
            config["no_decay_paths"] = self._no_decay_paths
        return config
