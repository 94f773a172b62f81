"""Makes the spatial operator of a run from its settings. Imports Keras."""

import dataclasses

import keras_lc

from .settings import settings_of


def operator(arguments) -> keras_lc.spatial.SpatialOperator:
    """Returns the operator of some settings, with the settings that it takes."""
    plain = keras_lc.spatial.get(arguments.spatial)
    takes = {field.name for field in dataclasses.fields(plain)}
    values = {
        setting.argument or name: getattr(arguments, name)
        for name, setting in settings_of(arguments).items()
        if setting.of is not None
    }
    return dataclasses.replace(
        plain,
        **{
            name: None if value == "none" else value
            for name, value in values.items()
            if name in takes
        },
    )
