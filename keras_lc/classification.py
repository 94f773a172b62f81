"""Answers by name: which class a picture belongs to."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_lc.class_names import class_names_of
from keras_lc.data import picture
from keras_lc.data.resize import square
from keras_lc.images import is_array
from keras_lc.layers.axes import side_axes
from keras_lc.paths import user_path
from keras_lc.surgery.export import output_name
from keras_lc.surgery.exported import ExportedModel
from keras_lc.types import Array

_BATCH = 32
# The side of `Answer.image` if the model takes pictures of any size.
_THUMBNAIL = 224

Picture = str | os.PathLike[str] | Array


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What a model says about a picture.

    Attributes:
        picture: String, the path of the file, or `"picture 0"` for an array.
        names: Tuple of strings, the most probable classes, the best first.
        probabilities: Tuple of floats, the probability of each of them.
        image: uint8 array, the square of the picture that the model has seen.
    """

    picture: str
    names: tuple[str, ...]
    probabilities: tuple[float, ...]
    image: np.ndarray = dataclasses.field(repr=False)


def classify(
    model: keras.Model | ExportedModel,
    pictures: Picture | Sequence[Picture],
    top: int = 3,
    class_names: Sequence[str] | None = None,
) -> list[Answer]:
    """Tells which classes some pictures belong to.

    Each picture is prepared as `keras_lc.data.load(image_size=…)` does it: turned as a viewer
    shows it, cut to the square in its centre, and resized to the model's image size. A model for
    any size gets whole pictures.

    Args:
        model: A Keras model for images with values in [0, 255], or what `keras_lc.open_exported`
            returns. Its outputs may be logits or probabilities.
        pictures: A file, a folder (all pictures in it, at any depth), an array `(height, width,
            channels)` or `(n, height, width, channels)` with values in [0, 255], or a sequence of
            these.
        top: Integer, the number of classes in an answer.
        class_names: Sequence of strings, the names of the classes. Defaults to those that the
            model knows, otherwise to the numbers of the classes.

    Returns:
        A list with an `Answer` for each picture.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there are no pictures, a file is not a picture, or an argument is wrong.
        ImportError: If Pillow is not installed.

    Example:

    >>> model = keras.saving.load_model("runs/pets/model.keras")  # doctest: +SKIP
    >>> keras_lc.classify(model, "~/Pictures/photo.jpg", top=1)  # doctest: +SKIP
    [Answer(picture='/home/me/Pictures/photo.jpg', names=('cat',), probabilities=(0.98,))]
    """
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise ValueError(f"`top` must be an integer of at least 1. Received: top={top!r}")
    network = _Network(model)
    names = network.class_names if class_names is None else tuple(class_names)
    found = _found(pictures)
    if not found:
        raise ValueError(f"`pictures` must hold at least one picture. Received: {pictures!r}")
    answers = []
    for begin in range(0, len(found), _BATCH):
        some = [(name, _decoded(source, name)) for name, source in found[begin : begin + _BATCH]]
        images = [network.fitted(image, name) for name, image in some]
        rows = network.probabilities(images)
        if names is None:
            names = tuple(map(str, range(rows.shape[-1])))
        if len(names) != rows.shape[-1]:
            raise ValueError(
                f"`class_names` must have a name for each of the {rows.shape[-1]} classes. "
                f"Received: {len(names)} names"
            )
        for (name, whole), row in zip(some, rows, strict=True):
            best = np.argsort(-row, kind="stable")[:top]
            image = square(whole[None], network.side or _THUMBNAIL)[0]
            answers.append(
                Answer(
                    name,
                    tuple(names[number] for number in best),
                    tuple(float(row[number]) for number in best),
                    image,
                )
            )
    return answers


# --- Models ---


class _Network:
    """A Keras model or an exported one."""

    def __init__(self, model):
        if isinstance(model, ExportedModel):
            shape, self._run = model.input_shape, model
            self.class_names, self._output = model.class_names, model.output
        elif isinstance(model, keras.Model):
            shape, self._run = getattr(model, "input_shape", None), _predictor(model)
            self.class_names, self._output = class_names_of(model), output_name(model)
        else:
            raise TypeError(
                "`model` must be a Keras model, or what `keras_lc.open_exported` returns. "
                f"Received: model={model!r}"
            )
        self._set_layout(shape)

    def _set_layout(self, shape):
        formats = ("channels_last", "channels_first")
        for data_format, axis in zip(formats, (-1, 1), strict=True):
            if isinstance(shape, tuple) and len(shape) == 4 and shape[axis] in (1, 3):
                rows, columns = side_axes(data_format)
                if shape[rows] == shape[columns]:
                    self.side, self._channels = shape[rows], shape[axis]
                    self._data_format = data_format
                    return
        raise ValueError(
            "`model` must take square images with 1 or 3 channels. "
            f"Received: a model with the input shape {shape}"
        )

    def fitted(self, image, name):
        """Returns a picture as the model takes it."""
        if self.side is not None:
            image = square(image[None], self.side)[0]
        if image.shape[-1] != self._channels:
            if image.shape[-1] not in (1, 3):
                raise ValueError(f"{name} must have 1 or 3 channels. Received: {image.shape}")
            if self._channels == 3:
                image = np.repeat(image, 3, axis=-1)
            else:
                image = picture.to_gray(image)
        return image if self._data_format == "channels_last" else np.moveaxis(image, -1, 0)

    def probabilities(self, images):
        """Returns the probabilities of each picture."""
        if self.side is None:
            outputs = np.concatenate([self._run(image[None]) for image in images])
        else:
            outputs = self._run(np.stack(images))
        outputs = np.asarray(outputs, "float64")
        if self._output != "logits":
            return outputs
        powers = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


def _predictor(model):
    return lambda images: model.predict(images, batch_size=_BATCH, verbose=0)


# --- Pictures ---


def _found(pictures) -> list[tuple[str, Picture]]:
    """Returns the name of each picture, and its file or array."""
    if is_array(pictures) or isinstance(pictures, str | os.PathLike):
        pictures = [pictures]
    found, arrays = [], 0
    for given in pictures:
        if isinstance(given, str | os.PathLike):
            files = _files(user_path(given))
            found += [(str(file), file) for file in files]
            continue
        if not is_array(given):
            raise TypeError(
                "`pictures` must be files, folders or arrays. Received: " + type(given).__name__
            )
        images = keras.ops.convert_to_numpy(given)
        images = images[None] if images.ndim == 3 else images
        if images.ndim != 4:
            raise ValueError(
                "An array in `pictures` must be (height, width, channels) or (n, height, width, "
                f"channels). Received: shape {images.shape}"
            )
        found += [(f"picture {arrays + number}", image) for number, image in enumerate(images)]
        arrays += len(images)
    return found


def _files(path) -> Iterator[pathlib.Path]:
    if not path.exists():
        raise FileNotFoundError(f"There is no picture '{path}'.")
    if not path.is_dir():
        return [path]
    files = sorted(
        file
        for file in path.rglob("*")
        if file.name.lower().endswith(picture.SUFFIXES)
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not files:
        raise ValueError(
            f"The folder '{path}' must hold a picture. Allowed are {', '.join(picture.SUFFIXES)}"
        )
    return files


def _decoded(source, name):
    if isinstance(source, np.ndarray):
        if not 0 <= source.min() <= source.max() <= 255:
            raise ValueError(
                f"{name} must have values from 0 to 255. "
                f"Received: values from {source.min()} to {source.max()}"
            )
        return np.rint(source).astype("uint8")
    with picture.strict_pillow():
        return picture.decode(str(source), f"The picture {name}")
