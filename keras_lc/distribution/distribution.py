"""Training on one device. The subclasses train on several devices."""

import contextlib

import keras
import numpy as np

from keras_lc.distribution.batches import EvaluationBatches, PartOfBatches
from keras_lc.keras_internals import flat_layers
from keras_lc.seeds import fingerprint
from keras_lc.types import Array


class Distribution:
    """The devices for training: one device, or several that work together.

    `keras_lc.distribution.distribute` makes it. Batch sizes are for all devices together. The
    losses and metrics of an epoch are for all images, and are the same in every process.

    Attributes:
        replicas: Integer, the number of equal parts of a batch. The batch size must be divisible
            by it.
        processes: Integer, the number of processes that train together.
        process: Integer, the index of this process. The first process writes the files.
    """

    replicas = 1
    processes = 1
    process = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.process == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context for building, loading and compiling models."""
        return contextlib.nullcontext()

    def prepare(self, model: keras.Model) -> None:
        """Makes `model.fit` and `model.evaluate` train and evaluate on all devices.

        Call it in every process, after the model is built or loaded and before `fit`.

        Args:
            model: A `keras.Model`, made within `scope()`.

        Raises:
            ValueError: If the models of the processes differ.
        """
        if self.processes > 1:
            self._check_equal(model)

    def batch_size(self, batch_size: int, images: int) -> int:
        """Returns the batch size for a training set. Refuses sizes that cannot be divided.

        Args:
            batch_size: Integer, the images of one step on all devices together.
            images: Integer, the images of the training set. If it is smaller than a batch, the
                batch size is reduced to a multiple of `replicas`.

        Raises:
            ValueError: If the batch cannot be divided into equal parts for all replicas.
        """
        if batch_size < 1 or batch_size % self.replicas:
            raise ValueError(
                f"`batch_size` is for all {self.replicas} replicas together and must be a positive "
                f"multiple of {self.replicas}. Received: batch_size={batch_size}"
            )
        if images < self.replicas:
            raise ValueError(
                f"A batch needs one image for each of {self.replicas} replicas, but the training "
                f"set has {images}. Use fewer devices, or more images."
            )
        return min(batch_size, images // self.replicas * self.replicas)

    def training_batches(self, batches: keras.utils.PyDataset) -> keras.utils.PyDataset:
        """Returns the batches for the `fit` of this process.

        Args:
            batches: `keras.utils.PyDataset`, such as `keras_lc.training.ShuffledBatches`. It must
                be the same in every process, and its batch size must be divisible by `replicas`.
                For other data sets (`tf.data`), do not call this method: give each process its
                own batches of `batch_size // processes` images.
        """
        if self.processes == 1:
            return batches
        return PartOfBatches(batches, self.processes, self.process)

    def evaluation_batches(
        self, x: Array, y: Array, batch_size: int, weight: float | None = None
    ) -> EvaluationBatches:
        """Returns the batches for the `evaluate` of this process, for any number of images.

        Compile the metrics as `weighted_metrics`. Then the results are exact, because the images
        that fill up the last batch have weight 0. See `EvaluationBatches` for the arguments.
        """
        return EvaluationBatches(
            x, y, batch_size, self.replicas, self.processes, self.process, weight
        )

    def count_correct(self, model: keras.Model, x: Array, y: Array, batch_size: int) -> int:
        """Returns the exact number of images that a model classifies correctly.

        Args:
            model: A prepared model, compiled with `weighted_metrics=["accuracy"]`.
            x, y: Arrays of images and integer labels, the same in every process.
            batch_size: Integer, for all devices together.
        """
        batches = self.evaluation_batches(x, y, batch_size, weight=1.0)
        results = model.evaluate(batches, verbose=0, return_dict=True)
        # Sums of whole numbers up to 2^24 are exact in float32.
        return round(results["accuracy"] * len(x))

    def _gather(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the uint32 numbers of every process, of shape `(processes, len(numbers))`."""
        raise NotImplementedError

    def _check_equal(self, model):
        variables = {v.path: v for v in model.variables}
        optimizer = getattr(model, "optimizer", None)
        variables |= {v.path: v for v in getattr(optimizer, "variables", ())}
        mine = [fingerprint(keras.ops.convert_to_numpy(v.value)) for v in variables.values()]
        # As halves, because JAX has no 64-bit integers by default.
        all_of_them = self._gather(np.array(mine, "uint64").view("uint32"))
        differ = np.any(all_of_them != all_of_them[0], axis=0).reshape(-1, 2).any(axis=1)
        if differ.any():
            names = [path for path, other in zip(variables, differ, strict=True) if other]
            raise ValueError(
                f"The {self.processes} processes have different models: {len(names)} of "
                f"{len(variables)} variables differ, first {names[:3]}. Give each process the same "
                "seed and arguments. If you resume a run, also give them the same checkpoint."
            )


def batch_statistics(model: keras.Model) -> list[keras.Variable]:
    """Returns the moving means and variances of a model's batch normalization."""
    return [
        variable
        for layer in flat_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
