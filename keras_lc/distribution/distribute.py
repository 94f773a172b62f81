"""Chooses the backend's engine for training on several devices."""

import os

import keras

from keras_lc.distribution.distribution import Distribution
from keras_lc.distribution.jax_mesh import JaxMesh
from keras_lc.distribution.tensorflow_mirrored import TensorFlowMirrored
from keras_lc.distribution.torch_processes import TorchProcesses

_KINDS = ("none", "data", "model")


def distribute(kind: str = "data") -> Distribution:
    """Sets up training on all available devices. Call it before any model is built.

    Each backend uses its own engine:

    - JAX: `keras.distribution.DataParallel`, over all devices of all processes. For several
      hosts, start the program on each host with `KERAS_DISTRIBUTION_JOB_ADDRESSES` (`host:port`
      of the first host), `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`.
      `kind="model"` uses `keras.distribution.ModelParallel`: each device of one process holds
      some filters of every basis, and the part of the combination for these filters.
    - TensorFlow: `tf.distribute.MirroredStrategy`, over all devices of one process.
    - PyTorch: `torch.nn.parallel.DistributedDataParallel`, with one process per device. Start the
      program with `torchrun`.

    Under JAX, batch normalization uses the statistics of the whole batch. Under the other
    backends, each replica uses the statistics of its part of the batch, and the moving statistics
    are averaged over all replicas.

    Args:
        kind: `"none"`, `"data"` (each device gets a part of every batch) or `"model"` (each
            device holds a part of every basis).

    Returns:
        A `Distribution`.

    Raises:
        ValueError: If the backend has no such engine, or the program was not started in the
            required way.

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
                f"torchrun started {os.environ['WORLD_SIZE']} processes, so `kind` must be 'data': "
                "otherwise each process would train its own model. Received: kind='none'"
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
            "Keras can split a model only under JAX: set KERAS_BACKEND=jax. Or pass kind='data' to "
            f"split the batches. Received: kind='model' under {backend}"
        )
    return engines[backend](kind)
