"""Choosing the engine that trains on several devices, each backend's own."""

import os

import keras

from keras_lc.distribution.distribution import Distribution
from keras_lc.distribution.jax_mesh import JaxMesh
from keras_lc.distribution.tensorflow_mirrored import TensorFlowMirrored
from keras_lc.distribution.torch_processes import TorchProcesses

_KINDS = ("none", "data", "model")


def distribute(kind: str = "data") -> Distribution:
    """Sets up training on all devices there are. Call it first, before any model is built.

    Each backend does it with its own engine:

    - JAX: `keras.distribution.DataParallel`, over all devices of all processes. Several hosts:
      start the program on each, with `KERAS_DISTRIBUTION_JOB_ADDRESSES` (`host:port` of the
      first), `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`.
      `kind="model"` is `keras.distribution.ModelParallel`: each device of a process holds a part
      of every basis, cut along its filters, and of the combination to match.
    - TensorFlow: `tf.distribute.MirroredStrategy`, over all devices of one process.
    - PyTorch: `torch.nn.parallel.DistributedDataParallel`, a process a device; start the program
      with `torchrun`.

    Statistics of batch normalization are those of the whole batch under JAX, and those of each
    replica's part of it, averaged over replicas, under the others.

    Args:
        kind: `"none"`, `"data"` (each device a part of every batch) or `"model"` (each device a
            part of every basis).

    Returns:
        A `Distribution`.

    Raises:
        ValueError: If the backend has no such engine, or the program was not started as it
            needs.

    Example:

    ```python
    devices = keras_lc.distribution.distribute("data")
    with devices.scope():
        model = keras_lc.ResNetLC(depth=20, expansion=8, seed=1)
        model.compile("sgd", loss, weighted_metrics=["accuracy"])
    devices.prepare(model)
    batches = keras_lc.training.ShuffledBatches(x, y, devices.batch_size(256, len(x)))
    model.fit(
        devices.training_batches(batches),
        validation_data=devices.evaluation_batches(x_test, y_test, 500),
        shuffle=False,
        verbose="auto" if devices.is_first else 0,
    )
    ```
    """
    if kind not in _KINDS:
        raise ValueError(f"`kind` must be one of {_KINDS}. Received: kind={kind!r}")
    backend = keras.backend.backend()
    if kind == "none":
        if backend == "torch" and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ValueError(
                f"torchrun started {os.environ['WORLD_SIZE']} processes, each of which would "
                "train a model of its own. Received: kind='none'; use kind='data'."
            )
        return Distribution()
    engines = {"jax": JaxMesh, "tensorflow": TensorFlowMirrored, "torch": TorchProcesses}
    if backend not in engines:
        raise ValueError(
            f"Training on several devices needs one of the backends {tuple(engines)}. "
            f"Received: kind={kind!r} under {backend}"
        )
    if kind == "model" and backend != "jax":
        raise ValueError(
            "Keras can cut a model into parts under JAX only: set KERAS_BACKEND=jax. "
            f"Received: kind='model' under {backend}; use kind='data' for parts of batches."
        )
    return engines[backend](kind)
