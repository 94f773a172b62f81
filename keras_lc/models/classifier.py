"""The model that all builders return. Its `fit` follows a recipe if it was not compiled."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import keras

from keras_lc.class_names import ModelWithClassNames
from keras_lc.images import check_counts, check_images, class_numbers
from keras_lc.keras_internals import forget_restored_epoch
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.training.batches import FollowEpochs, ShuffledBatches
from keras_lc.training.fit_checks import (
    check_callbacks,
    check_continued,
    check_epochs,
    check_is_data_set,
    count_steps,
    inner_optimizer,
    split,
    warn_of_other_optimizers,
    warn_of_scaled_images,
)
from keras_lc.training.planned_steps import PlannedSteps
from keras_lc.training.recipe import CIFAR, Recipe
from keras_lc.types import Array

# Marks an optimizer that `fit` made. Its schedule has ended when `fit` returns, so the next call
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
        its = self._inherited()
        self.seed = resolve_seed(its.get("seed") if seed is None else seed)
        self.recipe = its.get("recipe", CIFAR) if recipe is None else recipe

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

    def _for_copies(self):
        return super()._for_copies() | {"seed": self.seed, "recipe": self.recipe}

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

        The default recipe is the papers': `keras_lc.training.CIFAR` for small images,
        `keras_lc.training.IMAGENET_A2` for full-size convolutional networks, and
        `keras_lc.training.DEIT` for transformers. The recipe sets the optimizer, the
        loss and the schedule. The data must bring Mixup and similar augmentation. To change the
        recipe, set `model.recipe`.

        The recipe is scaled to the number of epochs and steps: its schedule ends with this call,
        and each call starts the recipe again. If training takes another number of steps than
        planned, a warning says so. With arrays, each pass takes the images in a new order, which
        is the same under every backend, and drops the last partial batch. After `compile()` this
        is Keras' `fit`.

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
        if not self.compiled or inner_optimizer(self).name == _RECIPE_OPTIMIZER:
            is_continued = bool(self.compiled and initial_epoch)
            check_epochs(epochs, initial_epoch, is_continued)
            check_callbacks(callbacks)
            if y is None:
                check_is_data_set(x)
            else:
                y = keras.ops.convert_to_numpy(y)
                if sample_weight is not None:
                    sample_weight = keras.ops.convert_to_numpy(sample_weight)
                check_images(x, self.input_shape[1:])
                check_counts(x, y)
                class_numbers(y, self.output_shape[-1])
                if any(layer.name == "normalization" for layer in self.layers):
                    warn_of_scaled_images(x)
                if validation_split and validation_data is None:
                    x, y, sample_weight, validation_data = split(
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
            steps = count_steps(x, steps_per_epoch, epochs - initial_epoch)
            if is_continued:
                check_continued(inner_optimizer(self), epochs, steps)
            else:
                self._compile_recipe((epochs - initial_epoch) * steps)
            first_epoch = 0 if is_continued else initial_epoch
            own_callbacks.append(PlannedSteps(steps, first_epoch, epochs))
            # `BackupAndRestore` sets it, and Keras would keep it for the next `fit`.
            forget_restored_epoch(self)
        if hasattr(x, "start_epoch"):
            own_callbacks.append(FollowEpochs(x, initial_epoch))
        if own_callbacks:
            # Keras adds no callbacks to a `CallbackList`, so it is turned into a list here.
            callbacks = [*keras.tree.flatten(callbacks or []), *own_callbacks]
        warn_of_other_optimizers(self)
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
