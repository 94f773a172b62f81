"""Where the channels and the sides of images stand in a tensor."""

import keras


def standardize_data_format(data_format: str | None) -> str:
    """Returns `data_format`, or Keras' setting for `None`, and refuses all others."""
    standard = data_format or keras.config.image_data_format()
    if standard not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last' or 'channels_first'. "
            f"Received: data_format={data_format!r}"
        )
    return standard


def channel_axis(data_format: str) -> int:
    """Returns the axis of the channels."""
    return -1 if data_format == "channels_last" else 1


def side_axes(data_format: str, sides: int = 2) -> tuple[int, ...]:
    """Returns the axes of the sides: of rows and columns, if there are two."""
    first = 1 if data_format == "channels_last" else 2
    return tuple(range(first, first + sides))
