"""Makes the spatial operator of a run from its settings. Imports Keras."""

import dataclasses
import sys

import keras_lc

from . import own
from .checks import in_one_line
from .settings import BASES, settings_of


def operator(arguments) -> keras_lc.spatial.SpatialOperator:
    """Returns the operator of some settings, with the settings that it takes.

    Raises:
        ValueError: If the settings name a class of the user's own that cannot be made.
    """
    if own.is_own(arguments.spatial):
        return own.make("--spatial", arguments.spatial, keras_lc.spatial.SpatialOperator)
    plain = keras_lc.spatial.get(arguments.spatial)
    takes = {field.name for field in dataclasses.fields(plain)}
    values = {
        setting.argument or name: getattr(arguments, name)
        for name, setting in settings_of(arguments).items()
        if setting.of is not None
    }
    if "basis" in takes:
        values["basis"] = basis(arguments.basis)
    return dataclasses.replace(
        plain,
        **{
            name: None if value == "none" else value
            for name, value in values.items()
            if name in takes
        },
    )


def basis(text: str) -> keras_lc.bases.Basis:
    """Returns the basis with a name and options: `"sparse,taps=2"`, `"my_module:MyBasis"`."""
    included = {name: type(keras_lc.bases.get(name)) for name in BASES}
    return own.make("--basis", text, keras_lc.bases.Basis, included)


if __name__ == "__main__":
    # A sweep checks the classes of its cells in this process, so that it needs no Keras itself.
    with in_one_line():
        for word in sys.argv[1:]:
            option, _, text = word.partition("=")
            is_basis = option == "--bases"
            base = keras_lc.bases.Basis if is_basis else keras_lc.spatial.SpatialOperator
            own.make(option, text, base)
