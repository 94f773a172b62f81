"""What all builders share: images in, logits out, and the papers' recipe in `fit`."""

import math
import warnings

import keras
import numpy as np

from keras_lc.layers.random_basis import FanInUniform, derive_seed, resolve_seed
from keras_lc.layers.random_crop_flip import RandomCropFlip
from keras_lc.training.batches import ShuffledBatches
from keras_lc.training.recipe import CIFAR

# Channel statistics of CIFAR-10's training images, in pixel values.
CIFAR10_MEAN = (125.30691805, 122.95039414, 113.86538318)
CIFAR10_STD = (62.99321928, 62.08870764, 66.70489964)
# ImageNet's, as torchvision and timm have them.
IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)


# Marks an optimizer that `fit` made: its learning rate has come down to 0 when `fit` returns, so
# the next call must make another. As a name it is kept by saving and by `clone_model`.
_RECIPE_OPTIMIZER = "recipe_sgd"


@keras.saving.register_keras_serializable(package="keras_lc")
class Classifier(keras.Model):
    """A functional `keras.Model` that classifies images, with a default recipe in `fit`.

    Args:
        *args, **kwargs: `inputs`, `outputs`, `name` and `trainable`, as of `keras.Model`.
        seed: Integer, the seed of the order in which `fit` takes the images. `None` draws one.
    """

    recipe = CIFAR

    # Keras clones and loads a functional subclass as such if its constructor looks like this.
    def __init__(self, *args, seed=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.seed = resolve_seed(seed)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}

    def save(self, filepath, *args, **kwargs):
        """As `keras.Model.save`, for `.keras` files only."""
        if str(filepath).endswith((".h5", ".hdf5")):
            # Keras would write one, and no longer find this class when it reads it.
            raise ValueError(
                f"A whole {type(self).__name__} cannot be loaded from Keras' old HDF5 format: save "
                "it as a `.keras` file, or its weights alone with "
                f"`save_weights('….weights.h5')`. Received: filepath={str(filepath)!r}"
            )
        return super().save(filepath, *args, **kwargs)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        **kwargs,
    ):
        """Trains as `keras.Model.fit`; a model never compiled follows the paper's recipe.

        The recipe is scaled to the number of epochs and steps: the learning rate comes down to 0
        at the end of this call, and each call starts anew. With arrays, every epoch takes the
        images in a new order, the same under every backend, and drops the last partial batch.
        After `compile()` this is Keras' `fit`.

        Args:
            x: Array of images with values in [0, 255], or any data set that Keras takes:
                `tf.data.Dataset`, `keras.utils.PyDataset`, `torch.utils.data.DataLoader`.
            y: Array of integer labels `(n,)` or one-hot labels `(n, classes)`, with arrays.
            batch_size: Integer, with arrays. Defaults to the recipe's.
            epochs: Integer.
            steps_per_epoch: Integer, required for data sets of unknown length.
            initial_epoch: Integer. Where it is not 0, the run of a model that was saved within
                its recipe is continued; `epochs` and steps must be those that it was begun with.
            verbose, callbacks, validation_split, validation_data, shuffle, class_weight,
            sample_weight, **kwargs: As in `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: If images or labels do not fit the model, the number of steps cannot be
                known, or a run is continued that was begun for another number of steps.
        """
        if not self.compiled or _inner_optimizer(self).name == _RECIPE_OPTIMIZER:
            if y is None and _is_array(x):
                raise ValueError("`y` must be given where `x` is an array. Received: y=None")
            if y is not None:
                y = keras.ops.convert_to_numpy(y)
                if sample_weight is not None:
                    sample_weight = keras.ops.convert_to_numpy(sample_weight)
                _check_images_and_labels(x, y, self.input_shape, self.output_shape[-1])
                if any(layer.name == "normalization" for layer in self.layers):
                    _warn_of_scaled_images(x)
                if validation_split and validation_data is None:
                    x, y, sample_weight, validation_data = _split(
                        x, y, sample_weight, validation_split
                    )
                x = ShuffledBatches(
                    x,
                    y,
                    batch_size=min(batch_size or self.recipe.batch_size, len(x)),
                    sample_weight=sample_weight,
                    seed=derive_seed(self.seed, "batches"),
                    first_epoch=initial_epoch,
                    shuffle=shuffle,
                )
                # As Keras does it, which is not told the size of these batches.
                kwargs.setdefault("validation_batch_size", x.batch_size)
                y = sample_weight = batch_size = None
                validation_split = 0.0
                # Else Keras would shuffle the batches, with a generator of its own.
                shuffle = False
            # Other data sets shuffle themselves; Keras would warn that it cannot.
            shuffle = shuffle and isinstance(x, keras.utils.PyDataset)
            steps = steps_per_epoch or _count_steps(x)
            if self.compiled and initial_epoch:
                _check_continued(_inner_optimizer(self), epochs, steps)
            else:
                self._compile_recipe((epochs - initial_epoch) * steps)
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


def image_input(
    input_shape,
    include_preprocessing,
    mean,
    std,
    augmentation,
    seed,
    data_format,
    low_resolution=True,
):
    """Returns the input tensor of a network and what its first layer sees.

    `low_resolution` says whose statistics stand for a `mean` and `std` of `None`: CIFAR-10's, or
    else ImageNet's.
    """
    if not isinstance(input_shape, tuple | list) or len(input_shape) != 3:
        raise ValueError(
            "`input_shape` must have 3 axes, without the batch. "
            f"Received: input_shape={input_shape!r}"
        )
    if data_format == "channels_first" and input_shape[0] not in (1, 3) and input_shape[2] == 3:
        # Else the network would take the rows for channels, and say nothing.
        raise ValueError(
            "`input_shape` must be (channels, height, width) with "
            f"data_format='channels_first'. Received: input_shape={tuple(input_shape)}"
        )
    inputs = keras.Input(shape=input_shape, name="images")
    x = inputs
    # Never in half precision: a pixel value has more digits than bfloat16.
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
        channels = input_shape[-1 if data_format == "channels_last" else 0]
        mean, std = _channel_statistics(mean, std, channels, low_resolution)
        x = keras.layers.Normalization(
            axis=-1 if data_format == "channels_last" else 1,
            mean=mean,
            variance=[s**2 for s in std],
            dtype=_full_precision(),
            name="normalization",
        )(x)
    return inputs, x


def classifier_head(x, classes, activation, seed, data_format, hidden=None):
    """Returns the outputs: global average pooling, a `hidden` layer if any, and a linear layer.

    `hidden` is a pair: the number of units and their activation.
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
        # Logits of half precision would lose the differences that the loss is about.
        dtype=_full_precision(),
        name="classifier",
    )(x)


def _full_precision():
    """Returns the dtype policy in force, or float32 where that computes in half precision."""
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
            raise ValueError(f"`mean` and `std` go together. Received: mean={mean}, std={std}")
        values = np.atleast_1d(np.asarray(values, "float64"))
        if values.shape not in ((1,), (channels,)):
            raise ValueError(
                f"`{name}` must be a number or one for each of the {channels} channels. "
                f"Received: {name}={values.tolist()}"
            )
        statistics.append(tuple(np.broadcast_to(values, channels).tolist()))
    mean, std = statistics
    if min(std) <= 0:
        raise ValueError(f"`std` must be positive. Received: std={std}")
    if max(std) <= 1:
        raise ValueError(
            "`mean` and `std` are in pixel values, from 0 to 255; multiply statistics of images "
            f"scaled to [0, 1] by 255. Received: mean={mean}, std={std}"
        )
    return mean, std


def _inner_optimizer(model):
    """The optimizer of a model, also where Keras scales the loss around it."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def _check_continued(optimizer, epochs, steps):
    schedule = optimizer._learning_rate
    if not isinstance(schedule, keras.optimizers.schedules.CosineDecay):
        return
    begun_for = schedule.decay_steps + schedule.warmup_steps
    if begun_for != epochs * steps:
        raise ValueError(
            f"With `initial_epoch`, a run is continued that was begun for {begun_for} steps, in "
            f"which its learning rate comes down to 0. Received: epochs={epochs} of {steps} "
            f"steps, {epochs * steps} in all. Pass what it was begun with; without "
            "`initial_epoch` the recipe starts anew, and after `compile()` it is up to you."
        )


def _is_array(x):
    return hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__getitem__")


def _check_images_and_labels(x, labels, input_shape, classes):
    expected = tuple(input_shape[1:])
    if not _is_array(x) or not _fits(tuple(x.shape[1:]), expected):
        got = f"shape {tuple(x.shape)}" if _is_array(x) else type(x).__name__
        raise ValueError(f"`x` must be images of shape {(None, *expected)}. Received: {got}")
    if len(x) == 0 or len(labels) != len(x):
        raise ValueError(
            "`x` and `y` must be equally many images and labels, at least one. "
            f"Received: {len(x)} images, {len(labels)} labels"
        )
    if labels.ndim == 2 and labels.shape[1] == classes and classes > 1:
        return
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    number = np.issubdtype(labels.dtype, np.number) or labels.dtype == bool
    if labels.ndim != 1 or not number or not np.array_equal(labels, np.floor(labels)):
        raise ValueError(
            f"`y` must be integers `(n,)` or one-hot `(n, {classes})`. "
            f"Received: shape {labels.shape}, dtype {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`y` must be labels from 0 to {classes - 1} for a model with classes={classes}. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )


def _fits(shape, expected):
    return len(shape) == len(expected) and all(
        size in (None, given) for given, size in zip(shape, expected, strict=True)
    )


def _warn_of_scaled_images(x):
    some = keras.ops.convert_to_numpy(x[:256])
    if np.issubdtype(some.dtype, np.floating) and some.max() <= 1:
        warnings.warn(
            "The images have values up to 1, and this model expects pixel values from 0 to 255, "
            "which it normalises itself. Multiply them by 255, or build the model with "
            "`include_preprocessing=False`.",
            stacklevel=3,
        )


def _split(x, y, sample_weight, validation_split):
    """As Keras: the last share of the arrays, before any shuffling, is for validation."""
    if not 0 < validation_split < 1:
        raise ValueError(
            f"`validation_split` must be between 0 and 1. Received: {validation_split}"
        )
    n = math.floor(len(x) * (1 - validation_split))
    if not 0 < n < len(x):
        raise ValueError(
            f"`validation_split={validation_split}` of {len(x)} images leaves a part empty."
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
        getattr(layer, "is_factored", False) for layer in model._flatten_layers() if layer.built
    ):
        # Python shows a warning of one text and place once.
        warnings.warn(
            f"{type(optimizer).__name__} is not linear in the gradient (or clips it), so that "
            "compact layers learn otherwise than full ones would: a different parameterisation. "
            "They are the same under `keras_lc.training.SGD`.",
            stacklevel=3,
        )


def _count_steps(data):
    """Returns the number of batches of a data set, in one pass over it."""
    if isinstance(data, keras.utils.PyDataset):
        steps = data.num_batches
    elif hasattr(data, "cardinality"):
        steps = int(data.cardinality())  # tf.data: negative where infinite or unknown
    elif hasattr(data, "__len__"):
        try:
            steps = len(data)
        except TypeError:  # a DataLoader over an iterable data set
            steps = None
    else:
        steps = None
    if steps is None or steps < 0:
        raise ValueError(
            "The recipe's learning rate depends on the number of steps, and the length of this "
            f"{type(data).__name__} is unknown or infinite. Pass `steps_per_epoch=`, the number "
            "of batches of one epoch, or call `compile()` first."
        )
    if steps == 0:
        raise ValueError(f"This {type(data).__name__} has no batches.")
    return steps
