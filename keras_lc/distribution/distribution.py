"""Training on one device; what training on many changes stands in the subclasses."""

import contextlib

import keras
import numpy as np

from keras_lc.distribution.batches import EvaluationBatches, PartOfBatches
from keras_lc.keras_internals import flat_layers
from keras_lc.seeds import fingerprint
from keras_lc.types import Array


class Distribution:
    """Where a model is trained: one device, or several that act as one.

    Made by `keras_lc.distribution.distribute`. Batch sizes are those of all devices together, and
    an epoch's losses and metrics are those of all images, the same in every process.

    Attributes:
        replicas: Integer, the equal parts into which a batch is cut, so what it must divide by.
        processes: Integer, the number of processes that train together.
        process: Integer, the index of this one. The first writes the files.
    """

    replicas = 1
    processes = 1
    process = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.process == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which models are built, loaded and compiled."""
        return contextlib.nullcontext()

    def prepare(self, model: keras.Model) -> None:
        """Makes `model.fit` and `model.evaluate` train and evaluate on all devices.

        Call it once a model is built or loaded, and before `fit`, in every process.

        Args:
            model: A `keras.Model`, made within `scope()`.

        Raises:
            ValueError: If the processes' models differ, in their bases or in anything else.
        """
        if self.processes > 1:
            self._check_equal(model)

    def batch_size(self, batch_size: int, images: int) -> int:
        """Returns the size of the batches of a training set, or refuses it.

        Args:
            batch_size: Integer, the images of one step, of all devices together.
            images: Integer, the images of the training set. Where that is less than a batch,
                the batch is as much of it as divides.

        Raises:
            ValueError: If the batch cannot be cut into equal parts for all replicas.
        """
        if batch_size < 1 or batch_size % self.replicas:
            raise ValueError(
                f"`batch_size` is that of all {self.replicas} replicas together, and must be a "
                f"positive multiple of their number. Received: batch_size={batch_size}"
            )
        if images < self.replicas:
            raise ValueError(
                f"A batch needs an image for each of {self.replicas} replicas, and the training "
                f"set has {images}."
            )
        return min(batch_size, images // self.replicas * self.replicas)

    def training_batches(self, batches: keras.utils.PyDataset) -> keras.utils.PyDataset:
        """Returns what this process' `fit` takes of batches that divide by `replicas`.

        Args:
            batches: `keras.utils.PyDataset`, such as `keras_lc.training.ShuffledBatches`: the
                same in every process. Other data sets (`tf.data`) need no such help: feed each
                process batches of its own, of `batch_size // processes` images.
        """
        if self.processes == 1:
            return batches
        return PartOfBatches(batches, self.processes, self.process)

    def evaluation_batches(
        self, x: Array, y: Array, batch_size: int, weight: float | None = None
    ) -> EvaluationBatches:
        """Returns what this process' `evaluate` takes, of any number of images.

        With metrics that were compiled as `weighted_metrics`, the results are exact: what fills
        up the last batch has weight 0. See `EvaluationBatches` for the arguments.
        """
        return EvaluationBatches(
            x, y, batch_size, self.replicas, self.processes, self.process, weight
        )

    def count_correct(self, model: keras.Model, x: Array, y: Array, batch_size: int) -> int:
        """Returns how many images a model classifies correctly, exactly.

        Args:
            model: A model compiled with `weighted_metrics=["accuracy"]`, which was prepared.
            x, y: Arrays of images and of integer labels, the same in every process.
            batch_size: Integer, of all devices together.
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
        # Halves, since JAX has no 64-bit integers unless it is told to.
        all_of_them = self._gather(np.array(mine, "uint64").view("uint32"))
        differ = np.any(all_of_them != all_of_them[0], axis=0).reshape(-1, 2).any(axis=1)
        if differ.any():
            names = [path for path, other in zip(variables, differ, strict=True) if other]
            raise ValueError(
                f"The {self.processes} processes have different models: {len(names)} of "
                f"{len(variables)} variables differ, the first of them {names[:3]}. Give each "
                "process the same seed and arguments, and the same checkpoint when resuming."
            )


def batch_statistics(model: keras.Model) -> list[keras.Variable]:
    """Returns the moving means and variances of a model's batch normalization."""
    return [
        variable
        for layer in flat_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
