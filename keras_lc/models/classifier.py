"""The parts that all builders share: image input, classifier, and the paper's recipe in `fit`."""

import dataclasses
import math
import numbers
import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_lc.class_names import ModelWithClassNames
from keras_lc.images import check_counts, check_images, class_numbers, is_array
from keras_lc.keras_internals import flat_layers, forget_restored_epoch, schedule_of
from keras_lc.layers.axes import channel_axis, standardize_data_format
from keras_lc.layers.initializers import FanInUniform
from keras_lc.layers.per_image.random_crop_flip import RandomCropFlip
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.training.batches import FollowEpochs, ShuffledBatches
from keras_lc.training.recipe import CIFAR, Recipe
from keras_lc.types import Activation, Array, Shape

# Channel statistics of CIFAR-10's training images, in pixel values.
CIFAR10_MEAN = (125.30691805, 122.95039414, 113.86538318)
CIFAR10_STD = (62.99321928, 62.08870764, 66.70489964)
# ImageNet's, as torchvision and timm have them.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)

# Marks an optimizer that `fit` made. Its learning rate is 0 when `fit` returns, so the next call
# must make a new one. The mark is a name, because saving and `clone_model` keep names.
_RECIPE_OPTIMIZER = "recipe"


@keras.saving.register_keras_serializable(package="keras_lc")
class Classifier(ModelWithClassNames):
    """A functional `keras.Model` that classifies images, with a default recipe in `fit`.

    Args:
        *args, **kwargs: `inputs`, `outputs`, `name` and `trainable`, as for `keras.Model`.
        class_names: Sequence of strings, the name of each class, or `None`.
        seed: Integer, the seed for the order of the images in `fit`. `None` draws a seed.
        recipe: `keras_lc.training.Recipe`, or a dict of its fields. `fit` follows it if the model
            was not compiled. Defaults to `keras_lc.training.CIFAR`.

    Attributes:
        class_names: The names of the classes, a tuple of strings or `None`. You can set them:
            `model.class_names = dataset.class_names`. Files and copies keep them.
        recipe: The recipe. You can set another one: `model.recipe = dataclasses.replace(
            keras_lc.training.CIFAR, learning_rate=0.1)`. Files and copies keep it.
    """

    # Keras clones and loads a functional subclass only if its constructor has this signature.
    def __init__(
        self,
        *args: Any,
        seed: int | None = None,
        recipe: Recipe | dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        # If the outputs come from another model's graph, take the settings of that model.
        its_seed, its_recipe = getattr(self.outputs[0], "classifier_settings", (None, CIFAR))
        self.seed = resolve_seed(its_seed if seed is None else seed)
        self.recipe = its_recipe if recipe is None else recipe

    @property
    def recipe(self) -> Recipe:
        return self._recipe

    @recipe.setter
    def recipe(self, recipe: Recipe | dict[str, Any]) -> None:
        if isinstance(recipe, dict):
            recipe = Recipe(**recipe)
        if not isinstance(recipe, Recipe):
            raise TypeError(
                "`recipe` must be a `keras_lc.training.Recipe`, for example "
                f"`keras_lc.training.CIFAR`. Received: recipe={recipe!r}"
            )
        self._recipe = recipe

    def get_config(self) -> dict[str, Any]:
        recipe = dataclasses.asdict(self.recipe)
        return {**super().get_config(), "seed": self.seed, "recipe": recipe}

    def _run_through_graph(self, *args, **kwargs):
        # `keras.models.clone_model` passes only these outputs and the name to the copy.
        outputs = super()._run_through_graph(*args, **kwargs)
        if isinstance(outputs, keras.KerasTensor):
            outputs.classifier_settings = (self.seed, self.recipe)
        return outputs

    def save(self, filepath: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Saves the model as `keras.Model.save` does, but only to `.keras` files."""
        if str(filepath).endswith((".h5", ".hdf5")):
            # Keras would write the file, but could not find this class when it loads the file.
            raise ValueError(
                f"Keras cannot load a {type(self).__name__} from its old HDF5 format. To keep the "
                "model, save it as a `.keras` file. To keep only the weights, call "
                f"`save_weights('….weights.h5')`. Received: filepath={str(filepath)!r}"
            )
        return super().save(filepath, *args, **kwargs)

    def fit(
        self,
        x: Any = None,
        y: Array | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Array | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the model like `keras.Model.fit`. A model without `compile()` follows its recipe.

        The default recipe is the paper's: `keras_lc.training.CIFAR` for small images, and
        `keras_lc.training.IMAGENET_A2` for full-size networks. The recipe sets the optimizer, the
        loss and the schedule. The data must bring Mixup and similar augmentation. To change the
        recipe, set `model.recipe`.

        The recipe is scaled to the number of epochs and steps: the learning rate reaches 0 at the
        end of this call, and each call starts the recipe again. If training takes another number
        of steps than planned, a warning says so. With arrays, each pass takes the images in a new
        order, which is the same under every backend, and drops the last partial batch.
        After `compile()` this is Keras' `fit`.

        Args:
            x: Array of images with values in [0, 255], or any data set that Keras takes:
                `tf.data.Dataset`, `keras.utils.PyDataset`, `torch.utils.data.DataLoader`.
            y: Array of integer labels `(n,)` or one-hot labels `(n, classes)`. Only for arrays.
            batch_size: Integer. Only for arrays. Defaults to the recipe's batch size, or to the
                number of images if that is smaller.
            epochs: Integer.
            steps_per_epoch: Integer. Required for data sets of unknown length. Arrays are
                repeated as often as necessary, each time in a new order, and an epoch can begin
                or end within a pass. A data set must not end in the middle of an epoch.
            initial_epoch: Integer. If it is not 0, `fit` continues a model that was saved during
                its recipe. `epochs` and the number of steps must then be those of the first call.
            verbose, callbacks, validation_split, validation_data, shuffle, class_weight,
            sample_weight, **kwargs: As in `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: If images or labels do not fit the model. If the number of steps is
                unknown, or is not that of the run to continue. If a callback sets the learning
                rate, because the recipe sets it.
        """
        own_callbacks = []
        if not self.compiled or _inner_optimizer(self).name == _RECIPE_OPTIMIZER:
            is_continued = bool(self.compiled and initial_epoch)
            _check_epochs(epochs, initial_epoch, is_continued)
            _check_callbacks(callbacks)
            if y is None:
                _check_is_data_set(x)
            else:
                y = keras.ops.convert_to_numpy(y)
                if sample_weight is not None:
                    sample_weight = keras.ops.convert_to_numpy(sample_weight)
                check_images(x, self.input_shape[1:])
                check_counts(x, y)
                class_numbers(y, self.output_shape[-1])
                if any(layer.name == "normalization" for layer in self.layers):
                    _warn_of_scaled_images(x)
                if validation_split and validation_data is None:
                    x, y, sample_weight, validation_data = _split(
                        x, y, sample_weight, validation_split
                    )
                x = ShuffledBatches(
                    x,
                    y,
                    batch_size=(
                        min(self.recipe.batch_size, len(x)) if batch_size is None else batch_size
                    ),
                    sample_weight=sample_weight,
                    seed=derive_seed(self.seed, "batches"),
                    first_epoch=initial_epoch,
                    shuffle=shuffle,
                    steps_per_epoch=steps_per_epoch,
                )
                # As Keras does. Here Keras does not know the batch size.
                kwargs.setdefault("validation_batch_size", x.batch_size)
                y = sample_weight = batch_size = steps_per_epoch = None
                validation_split = 0.0
                # Otherwise Keras would shuffle the batches with its own random generator.
                shuffle = False
            # Other data sets shuffle themselves. Keras would warn that it cannot shuffle them.
            shuffle = shuffle and isinstance(x, keras.utils.PyDataset)
            steps = _count_steps(x, steps_per_epoch, epochs - initial_epoch)
            if is_continued:
                _check_continued(_inner_optimizer(self), epochs, steps)
            else:
                self._compile_recipe((epochs - initial_epoch) * steps)
            first_epoch = 0 if is_continued else initial_epoch
            own_callbacks.append(_PlannedSteps(steps, first_epoch, epochs))
            # `BackupAndRestore` sets it, and Keras would keep it for the next `fit`.
            forget_restored_epoch(self)
        if hasattr(x, "start_epoch"):
            own_callbacks.append(FollowEpochs(x, initial_epoch))
        if own_callbacks:
            # Keras adds no callbacks to a `CallbackList`, so it is turned into a list here.
            callbacks = [*keras.tree.flatten(callbacks or []), *own_callbacks]
        _warn_of_other_optimizers(self)
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            class_weight=class_weight,
            sample_weight=sample_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            **kwargs,
        )

    def _compile_recipe(self, steps):
        activation = getattr(self.layers[-1], "activation", None)
        self.recipe.compile(
            self,
            steps,
            from_logits=activation in (None, keras.activations.linear),
            optimizer_name=_RECIPE_OPTIMIZER,
        )


class _PlannedSteps(keras.callbacks.Callback):
    """Checks that training takes the number of steps that the recipe's schedule was made for.

    Args:
        steps: Integer, the steps of an epoch.
        first_epoch: Integer, the first epoch of the schedule.
        epochs: Integer, the last epoch of the schedule.
    """

    # Keras does not need to wait for it after each step, and may call it in another order.
    async_safe = True

    def __init__(self, steps, first_epoch, epochs):
        super().__init__()
        self._steps = steps
        self._first_epoch = first_epoch
        self._epochs = epochs
        self._taken = None
        self._batches = []

    def on_epoch_begin(self, epoch, logs=None):
        if self._taken is None:
            self._taken = (epoch - self._first_epoch) * self._steps
            self._check_begin(epoch)

    def on_train_batch_end(self, batch, logs=None):
        # The optimizer's count is not used: under TensorFlow it includes a step without data.
        self._batches.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        self._taken += max(self._batches, default=-1) + 1
        self._batches.clear()

    def on_train_end(self, logs=None):
        planned = (self._epochs - self._first_epoch) * self._steps
        if not self.model.stop_training and self._taken not in (None, planned):
            warnings.warn(
                f"The recipe was made for {planned} steps, and {self._taken} were taken. So the "
                "learning rate is not 0 at the end. The data must give "
                f"{self._steps} batches in each epoch.",
                stacklevel=2,
            )

    def _check_begin(self, epoch):
        found = int(self.model.optimizer.iterations)
        scaled = _inner_optimizer(self.model) is not self.model.optimizer
        # Keras skips a step if its gradients are too large for half precision.
        if found > self._taken or (found < self._taken and not scaled):
            raise ValueError(
                f"Epoch {epoch + 1} begins at step {self._taken} of its recipe, but this model has "
                f"taken {found} steps. Continue a run only from the end of an epoch, and with the "
                "same data, `batch_size` and `steps_per_epoch` as before."
            )


def image_input(
    input_shape: Shape,
    include_preprocessing: bool,
    mean: float | Sequence[float] | np.ndarray | None,
    std: float | Sequence[float] | np.ndarray | None,
    augmentation: str | keras.layers.Layer | None,
    seed: int,
    data_format: str,
    low_resolution: bool = True,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Returns the input tensor of a network and the input of its first layer.

    If `mean` and `std` are `None`, `low_resolution` chooses the statistics: CIFAR-10's if it is
    true, ImageNet's if not.
    """
    data_format = standardize_data_format(data_format)
    _check_input_shape(input_shape, data_format)
    inputs = keras.Input(shape=input_shape, name="images")
    x = inputs
    # Not in half precision: a pixel value has more digits than bfloat16.
    if augmentation == "crop_flip":
        x = RandomCropFlip(
            data_format=data_format,
            seed=derive_seed(seed, "augmentation") % 2**31,
            dtype=_full_precision(),
            name="random_crop_flip",
        )(x)
    elif isinstance(augmentation, keras.layers.Layer):
        x = augmentation(x)
    elif augmentation is not None:
        raise ValueError(
            "`augmentation` must be 'crop_flip', None or a Keras layer. "
            f"Received: augmentation={augmentation!r}"
        )
    if include_preprocessing:
        channels = (None, *input_shape)[channel_axis(data_format)]
        mean, std = _channel_statistics(mean, std, channels, low_resolution)
        x = keras.layers.Normalization(
            axis=channel_axis(data_format),
            mean=mean,
            variance=[s**2 for s in std],
            dtype=_full_precision(),
            name="normalization",
        )(x)
    return inputs, x


def _check_input_shape(input_shape, data_format):
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 3:
        raise ValueError(
            "`input_shape` must have 3 axes: the image without the batch. "
            f"Received: input_shape={input_shape!r}"
        )
    is_last = data_format == "channels_last"
    opposite, middle, channels = input_shape if is_last else reversed(input_shape)
    if channels is None or _are_reversed(opposite, middle, channels):
        # Otherwise the network would use the rows as channels without any message.
        axes = "height, width, channels" if is_last else "channels, height, width"
        raise ValueError(
            f"`input_shape` must be ({axes}) with data_format={data_format!r}, and the number of "
            f"channels must be known. Received: input_shape={tuple(input_shape)}"
        )


def _are_reversed(opposite, middle, channels):
    """Returns whether the channel axis looks like a side of the image.

    This is so if the opposite axis has 1 to 4 entries, and the two others are of similar length.
    Few rows with many channels are legal: a signal, a small board.
    """
    of_colours = (1, 2, 3, 4)
    if opposite not in of_colours or middle is None or channels in of_colours:
        return False
    return max(middle, channels) <= 2 * min(middle, channels)


def classifier_head(
    x: keras.KerasTensor,
    classes: int,
    activation: Activation,
    seed: int,
    data_format: str,
    hidden: tuple[int, str] | None = None,
) -> keras.KerasTensor:
    """Returns the outputs: global average pooling, an optional hidden layer and a linear layer.

    `hidden` is a pair of the number of units and their activation, or `None`.
    """
    if classes < 1:
        raise ValueError(f"`classes` must be at least 1. Received: classes={classes}")
    x = keras.layers.GlobalAveragePooling2D(data_format=data_format, name="pool")(x)
    if hidden is not None:
        units, hidden_activation = hidden
        x = keras.layers.Dense(
            units,
            activation=hidden_activation,
            kernel_initializer=FanInUniform(derive_seed(seed, "hidden")),
            bias_initializer=FanInUniform(derive_seed(seed, "hidden_bias"), fan_in=x.shape[-1]),
            name="hidden",
        )(x)
    features = x.shape[-1]
    return keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=FanInUniform(derive_seed(seed, "classifier")),
        bias_initializer=FanInUniform(derive_seed(seed, "classifier_bias"), fan_in=features),
        # In half precision, logits would lose the small differences that the loss depends on.
        dtype=_full_precision(),
        name="classifier",
    )(x)


def _full_precision():
    """Returns the current dtype policy, or float32 if the policy computes in half precision."""
    policy = keras.config.dtype_policy()
    return "float32" if policy.compute_dtype in ("float16", "bfloat16") else policy


def _channel_statistics(mean, std, channels, low_resolution):
    if mean is None and std is None:
        if channels == 3:
            if low_resolution:
                return CIFAR10_MEAN, CIFAR10_STD
            return IMAGENET_MEAN, IMAGENET_STD
        return (127.5,) * channels, (127.5,) * channels
    statistics = []
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            raise ValueError(
                f"`mean` and `std` go together: pass both or none. Received: mean={mean}, std={std}"
            )
        values = np.atleast_1d(np.asarray(values, "float64"))
        if values.shape not in ((1,), (channels,)):
            raise ValueError(
                f"`{name}` must be a number or one number for each of the {channels} channels. "
                f"Received: {name}={values.tolist()}"
            )
        statistics.append(tuple(np.broadcast_to(values, channels).tolist()))
    mean, std = statistics
    if min(std) <= 0:
        raise ValueError(f"`std` must be positive. Received: std={std}")
    if max(std) <= 1:
        raise ValueError(
            "`mean` and `std` must be in pixel values, from 0 to 255. If they are for images "
            f"scaled to [0, 1], multiply them by 255. Received: mean={mean}, std={std}"
        )
    return mean, std


def _inner_optimizer(model):
    """Returns the optimizer of a model, without Keras' wrapper that scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def _check_continued(optimizer, epochs, steps):
    schedule = schedule_of(optimizer)
    if not isinstance(schedule, keras.optimizers.schedules.CosineDecay):
        return
    begun_for = schedule.decay_steps + schedule.warmup_steps
    if begun_for != epochs * steps:
        raise ValueError(
            f"With `initial_epoch`, `fit` continues a run. This one was begun for {begun_for} "
            f"steps: its learning rate is 0 after them. Received: epochs={epochs} of {steps} "
            f"steps, {epochs * steps} in all. Pass the same `epochs` and data as in the first "
            "call. To start the recipe again, leave out `initial_epoch`. To choose the schedule "
            "yourself, call `compile()`."
        )


def _check_epochs(epochs, initial_epoch, is_continued):
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


def _is_integer(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_callbacks(callbacks):
    for callback in keras.tree.flatten(callbacks or []):
        if isinstance(callback, keras.callbacks.CallbackList):
            _check_callbacks(callback.callbacks)
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


# They change a constant learning rate, or need averages of the weights.
_OF_OTHER_OPTIMIZERS = (
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.SwapEMAWeights,
)


def _check_is_data_set(x):
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


def _warn_of_scaled_images(x):
    some = keras.ops.convert_to_numpy(x[:256])
    if np.issubdtype(some.dtype, np.floating) and some.max() <= 1:
        warnings.warn(
            "The images have values up to 1. This model expects pixel values from 0 to 255 and "
            "normalizes them itself. Multiply the images by 255, or build the model with "
            "`include_preprocessing=False`.",
            stacklevel=3,
        )


def _split(x, y, sample_weight, validation_split):
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


def _warn_of_other_optimizers(model):
    optimizer = _inner_optimizer(model)
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


def _count_steps(data, steps_per_epoch, epochs):
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
