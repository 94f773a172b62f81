"""The checks of the arguments of `fit` for a model that follows its recipe."""

import math
import numbers
import warnings
from typing import Any

import keras
import numpy as np

from keras_lc.images import is_array
from keras_lc.keras_internals import flat_layers, schedule_of
from keras_lc.training.schedules import planned_steps
from keras_lc.types import Array

# They change a constant learning rate, or need averages of the weights.
_OF_OTHER_OPTIMIZERS = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
)


def inner_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a model, without Keras' wrapper that scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def check_epochs(epochs: object, initial_epoch: object, is_continued: bool) -> None:
    """Checks the numbers of epochs. A run to continue may already be finished."""
    least = {"epochs": 1, "initial_epoch": 0}
    for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
        if not _is_integer(value) or value < least[name]:
            raise ValueError(
                f"`{name}` must be an integer of at least {least[name]}. Received: {name}={value!r}"
            )
    if epochs <= initial_epoch and not is_continued:
        raise ValueError(
            "`epochs` is the last epoch and must be more than `initial_epoch`. "
            f"Received: epochs={epochs}, initial_epoch={initial_epoch}"
        )


def check_callbacks(callbacks: Any) -> None:
    """Refuses callbacks that need another optimizer or schedule than the recipe's."""
    for callback in keras.tree.flatten(callbacks or []):
        if isinstance(callback, keras.callbacks.CallbackList):
            check_callbacks(callback.callbacks)
        elif isinstance(callback, _OF_OTHER_OPTIMIZERS):
            raise ValueError(
                "The recipe of this model sets the optimizer and the learning rate. With it, "
                f"{type(callback).__name__} does not work. Remove the callback, or first call "
                "`compile()` with your own optimizer."
            )
        elif isinstance(callback, keras.callbacks.BackupAndRestore) and (
            callback.save_freq != "epoch"
        ):
            raise ValueError(
                "After a backup within an epoch, Keras would repeat the steps of that epoch. The "
                "recipe's schedule does not allow for repeated steps. Use "
                "BackupAndRestore(…, save_freq='epoch'), or call `compile()` first. "
                f"Received: save_freq={callback.save_freq!r}"
            )


def check_is_data_set(x: object) -> None:
    """Refuses what gives no batches of images and labels."""
    if is_array(x):
        raise ValueError("`y` must be given if `x` is an array. Received: y=None")
    if (
        isinstance(x, dict | list | tuple | str)
        or hasattr(x, "shape")
        or not hasattr(x, "__iter__")
    ):
        raise ValueError(
            "`x` must be an array of images, with labels in `y`, or a data set that gives batches "
            "of both: tf.data.Dataset, keras.utils.PyDataset, torch.utils.data.DataLoader or a "
            f"generator. Received: {type(x).__name__}"
        )


def check_continued(optimizer: keras.optimizers.Optimizer, epochs: int, steps: int) -> None:
    """Checks that a run goes on with the number of steps that its schedule was made for."""
    begun_for = planned_steps(schedule_of(optimizer))
    if begun_for not in (None, epochs * steps):
        raise ValueError(
            f"With `initial_epoch`, `fit` continues a run. This one was begun for {begun_for} "
            f"steps, and its schedule ends after them. Received: epochs={epochs} of {steps} "
            f"steps, {epochs * steps} in all. Pass the same `epochs` and data as in the first "
            "call. To start the recipe again, leave out `initial_epoch`. To choose the schedule "
            "yourself, call `compile()`."
        )


def count_steps(data: Any, steps_per_epoch: object, epochs: int) -> int:
    """Returns the number of batches of an epoch. Refuses data too short for all the epochs."""
    length = _length(data)
    kind = type(data).__name__
    if length == 0:
        raise ValueError(f"`x` must have at least one batch. Received: a {kind} without batches")
    if steps_per_epoch is None:
        if length is None:
            raise ValueError(
                "The recipe's learning rate depends on the number of steps, but the length of this "
                f"{kind} is unknown or infinite. Pass `steps_per_epoch=`, the number of batches in "
                "one epoch, or call `compile()` first."
            )
        return length
    if not _is_integer(steps_per_epoch) or steps_per_epoch < 1:
        raise ValueError(
            "`steps_per_epoch` must be an integer of at least 1, or None. "
            f"Received: steps_per_epoch={steps_per_epoch!r}"
        )
    # If an epoch ends in the middle of a data set, Keras continues there in the next epoch. It
    # ends an epoch early if the data ends.
    if length is not None and length % steps_per_epoch and length < epochs * steps_per_epoch:
        raise ValueError(
            f"This {kind} ends after {length} batches, in the middle of an epoch of "
            f"{steps_per_epoch}. Leave out `steps_per_epoch`, pass one that divides {length}, or "
            "pass a data set that does not end, for example with tf.data's `.repeat()`. "
            f"Received: steps_per_epoch={steps_per_epoch}"
        )
    return steps_per_epoch


def split(
    x: Array, y: Array, sample_weight: Array | None, validation_split: float
) -> tuple[Array, Array, Array | None, tuple[Array, ...]]:
    """Takes the last part of the arrays for validation, before shuffling, as Keras does."""
    if not 0 < validation_split < 1:
        raise ValueError(
            "`validation_split` must be between 0 and 1. "
            f"Received: validation_split={validation_split}"
        )
    n = math.floor(len(x) * (1 - validation_split))
    if not 0 < n < len(x):
        raise ValueError(
            "`validation_split` must leave at least one image for training and one for "
            f"validation. Received: validation_split={validation_split}, {len(x)} images"
        )
    if sample_weight is None:
        return x[:n], y[:n], None, (x[n:], y[n:])
    return x[:n], y[:n], sample_weight[:n], (x[n:], y[n:], sample_weight[n:])


def warn_of_scaled_images(x: Array) -> None:
    """Warns if no value of the first images is above 1."""
    some = keras.ops.convert_to_numpy(x[:256])
    if np.issubdtype(some.dtype, np.floating) and some.max() <= 1:
        warnings.warn(
            "The images have values up to 1. This model expects pixel values from 0 to 255 and "
            "normalizes them itself. Multiply the images by 255, or build the model with "
            "`include_preprocessing=False`.",
            stacklevel=3,
        )


def warn_of_other_optimizers(model: keras.Model) -> None:
    """Warns if compact layers of a model will not learn what full layers learn."""
    optimizer = inner_optimizer(model)
    linear = isinstance(optimizer, keras.optimizers.SGD) and not (
        optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue
    )
    if not linear and any(
        getattr(layer, "is_factored", False) for layer in flat_layers(model) if layer.built
    ):
        # Python shows the same warning from the same line only once.
        warnings.warn(
            f"{type(optimizer).__name__} is not linear in the gradient (or clips it). With it, "
            "compact layers do not learn the same as full layers. Both learn the same with "
            "`keras_lc.training.SGD`.",
            stacklevel=3,
        )


def _length(data):
    """Returns the number of batches of a data set, or `None` if it is unknown or infinite."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches
    if hasattr(data, "cardinality"):
        length = int(data.cardinality())
        return length if length >= 0 else None
    try:
        return len(data)
    except TypeError:  # a generator, or a DataLoader over an iterable data set
        return None


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
