"""Grad-CAM: shows which parts of an image a class depends on."""

import numbers

import keras
import numpy as np
from keras import ops

from keras_lc.analysis.gradients import input_gradient, last_layer
from keras_lc.surgery.replace import graph_of, replace
from keras_lc.types import Array


def grad_cam(
    model: keras.Model,
    x: Array,
    classes: Array | None = None,
    layer: str | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """Returns a map for each image. It shows how much each position supports a class.

    The map is the weighted sum of the feature map's channels, with negative values set to 0. The
    weight of a channel is the mean gradient of the class score over all positions. The score is
    the value before a softmax.

    Args:
        model: A Functional or Sequential model from images to class scores.
        x: Array of images, in the form that the model takes.
        classes: Integer, or one integer for each image: the class to explain. Defaults to `None`:
            the class that the model predicts.
        layer: String, the name of a layer. Its output is the feature map. Defaults to `None`: the
            last layer with rows and columns.
        batch_size: Integer.

    Returns:
        A float32 array `(images, height, width)`, with the feature map's height and width.

    Raises:
        ValueError: If an argument has a value that is not allowed, or the model has no such
            feature map.

    Example:

    >>> model = keras_lc.CIFARResNet(depth=8)
    >>> keras_lc.analysis.grad_cam(model, np.zeros((2, 32, 32, 3))).shape
    (2, 8, 8)

    Reference:

    - [Grad-CAM](https://arxiv.org/abs/1610.02391)
    """
    if graph_of(model) is None:
        raise ValueError(
            "`model` must be built and have a graph of layers: Grad-CAM needs a Functional or "
            f"Sequential model. Received: model '{model.name}' ({type(model).__name__})"
        )
    # A copy, because Keras stores all calls of a layer in the layer.
    scores = replace(model, _without_activation(last_layer(model)))
    feature_map = _feature_map(scores, layer)
    to_map = keras.Model(scores.inputs, feature_map)
    try:
        from_map = keras.Model(feature_map, scores.outputs[0])
    except ValueError as error:
        raise ValueError(
            "`layer` must be on all paths to the class scores. Received: "
            f"layer={layer!r}. Keras says: {error}"
        ) from error
    maps = to_map.predict(x, batch_size=batch_size, verbose=0).astype("float32")
    if classes is None:
        classes = np.argmax(from_map.predict(maps, batch_size=batch_size, verbose=0), axis=-1)
    classes = _check_classes(classes, len(maps), from_map.output_shape[-1])
    gradient = input_gradient(from_map, _sum_of_scores)
    channel_axis = -1 if _data_format(scores) == "channels_last" else 1
    places = (1, 2) if channel_axis == -1 else (2, 3)
    found = []
    for begin in range(0, len(maps), batch_size):
        batch = maps[begin : begin + batch_size]
        slopes = gradient(batch, classes[begin : begin + batch_size]).astype("float32")
        weights = slopes.mean(places, keepdims=True)
        found.append(np.maximum((weights * batch).sum(channel_axis), 0))
    return np.concatenate(found)


def _without_activation(last):
    def substitute(layer):
        if layer is not last:
            return None
        if isinstance(layer, keras.layers.Softmax):
            return []
        if getattr(layer, "activation", None) in (None, keras.activations.linear):
            return None
        return [type(layer).from_config({**layer.get_config(), "activation": None})]

    return substitute


def _feature_map(model, name):
    if name is not None:
        found = model.get_layer(name).output
        if len(found.shape) != 4:
            raise ValueError(
                "`layer` must have an output with rows and columns. Received: "
                f"layer={name!r} with an output of shape {tuple(found.shape)}"
            )
        return found
    for layer in reversed(model.layers):
        output = getattr(layer, "output", None)
        is_map = isinstance(output, keras.KerasTensor) and len(output.shape) == 4
        if is_map and not isinstance(layer, keras.layers.InputLayer):
            return output
    raise ValueError(
        f"Model '{model.name}' has no layer with a feature map (an output with rows and columns)."
    )


def _data_format(model):
    """Returns the data format of the last layer that has one, usually the global pooling."""
    formats = [getattr(layer, "data_format", None) for layer in model.layers]
    return next(filter(None, reversed(formats)), keras.config.image_data_format())


def _sum_of_scores(outputs, classes):
    outputs = ops.cast(outputs, "float32")
    return ops.sum(outputs * ops.one_hot(classes, outputs.shape[-1], dtype="float32"))


def _check_classes(classes, images, scores):
    if isinstance(classes, numbers.Integral):
        classes = np.full(images, classes)
    classes = np.asarray(classes)
    fits = classes.shape == (images,) and np.issubdtype(classes.dtype, np.integer)
    if not fits or classes.min() < 0 or classes.max() >= scores:
        raise ValueError(
            f"`classes` must be an integer from 0 to {scores - 1}, or one for each of the {images} "
            f"images. Received: classes={classes!r}"
        )
    return classes.astype("int32")
