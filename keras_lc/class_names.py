"""The names of a model's classes. Copies and files of the model keep them."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_lc.keras_internals import saved_as_functional


class ModelWithClassNames(keras.Model):
    """A functional `keras.Model` that knows the names of its classes.

    Args:
        *args, **kwargs: `inputs`, `outputs`, `name` and `trainable`, as for `keras.Model`.
        class_names: Sequence of strings, one for each output number, or `None`.

    Attributes:
        class_names: Tuple of strings, or `None`. You can set it.
    """

    # Keras clones and loads a functional subclass only if its constructor has this signature.
    def __init__(self, *args: Any, class_names: Sequence[str] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        its_names = self._inherited().get("class_names")
        self.class_names = its_names if class_names is None else class_names

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return None if self._class_names is None else tuple(self._class_names)

    @class_names.setter
    def class_names(self, class_names: Sequence[str] | None) -> None:
        self._class_names = _checked(class_names, self)

    def get_config(self) -> dict[str, Any]:
        names = None if self.class_names is None else list(self.class_names)
        return {**super().get_config(), "class_names": names}

    def _run_through_graph(self, *args, **kwargs):
        # `keras.models.clone_model` passes only these outputs and the name to the copy.
        outputs = super()._run_through_graph(*args, **kwargs)
        if isinstance(outputs, keras.KerasTensor):
            outputs.settings_of_model = self._for_copies()
        return outputs

    def _for_copies(self):
        """Returns the settings that a copy takes over."""
        return {"class_names": self.class_names}

    def _inherited(self):
        """Returns the settings of the model whose graph made the outputs, if there is one."""
        return getattr(self.outputs[0], "settings_of_model", {})


@saved_as_functional
@keras.saving.register_keras_serializable(package="keras_lc", name="PlainModelWithClassNames")
class _Plain(ModelWithClassNames):
    """A model whose file also loads without `keras_lc`, then as a plain `keras.Model`."""

    def get_config(self):
        config = super().get_config()
        # Keras passes unknown keys of a model's config to its constructor. It does not look at
        # unknown keys of a layer.
        config["layers"][-1]["class_names"] = config.pop("class_names")
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        names = config["layers"][-1].get("class_names")
        return super().from_config({**config, "class_names": names}, custom_objects)

    def __reduce__(self):
        # Pickle would not find this class under the name of Keras' class.
        load, arguments = super().__reduce__()
        return getattr(keras.Model, load.__name__), arguments


def functional(
    inputs: Any, outputs: Any, name: str, class_names: Sequence[str] | None
) -> keras.Model:
    """Returns a `keras.Model`. Its file needs `keras_lc` only for the class names, if any."""
    if class_names is None:
        return keras.Model(inputs, outputs, name=name)
    return _Plain(inputs, outputs, name=name, class_names=class_names)


def class_names_of(model: keras.Model) -> tuple[str, ...] | None:
    """Returns the names of a model's classes, or `None`.

    Any Keras model can have the attribute `class_names`.

    Raises:
        TypeError, ValueError: If the names are no strings, or do not fit the outputs.
    """
    return _checked(getattr(model, "class_names", None), model)


def _checked(names, model):
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TypeError(
            f"`class_names` must be a sequence of strings or None. Received: class_names={names!r}"
        )
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong:
        raise TypeError(
            f"`class_names` must contain only strings, none of them empty. Received: {wrong[0]!r}"
        )
    shapes = [tuple(output.shape) for output in model.outputs]
    if len(shapes) != 1 or shapes[0][-1] != len(names):
        raise ValueError(
            "`class_names` must have one name for each number in the model's output, which must "
            f"be one tensor. Received: {len(names)} names for outputs of shape "
            f"{', '.join(map(str, shapes))}"
        )
    return tuple(names)
