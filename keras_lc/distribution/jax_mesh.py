"""JAX: one program over all devices of all processes, with `keras.distribution`."""

import os

import keras
import numpy as np

from keras_lc.distribution.distribution import Distribution

_PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"


class JaxMesh(Distribution):
    def __init__(self, kind: str):
        import jax

        if os.environ.get(_PROCESSES) and not jax.distributed.is_initialized():
            keras.distribution.initialize()
        self.processes, self.process = jax.process_count(), jax.process_index()
        if kind == "model" and self.processes > 1:
            raise ValueError(
                "kind='model' needs a single process, because each process must hold the whole "
                "model to save it. Start one process, or use kind='data'. "
                f"Received: {_PROCESSES}={self.processes}"
            )
        if kind == "model":
            engine = _basis_parallel()
        else:
            # Over all processes. Each feeds its own part, because Keras cannot split a PyDataset.
            engine = keras.distribution.DataParallel(auto_shard_dataset=False)
        self.replicas = engine.num_model_replicas
        # Set permanently: building, loading, training and evaluating must all use it.
        keras.distribution.set_distribution(engine)

    def _gather(self, numbers):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(numbers))


def _basis_parallel():
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ("batch", "model"), devices)
    layouts = keras.distribution.LayoutMap(mesh)
    # Names of variables: of a convolution, and of the two convolutions in a block. These are the
    # last axes of a layout; those before them depend on the dimension, and are not split.
    layouts[r"(.*/)?basis(/kernel)?"] = ("model",)
    layouts[r"(.*/)?combination(/kernel)?"] = ("model", None)
    return _WhereItDivides(layout_map=layouts, batch_dim_name="batch")


class _WhereItDivides(keras.distribution.ModelParallel):
    """Does not split a variable that has no equal parts, because JAX would refuse to."""

    def get_variable_layout(self, variable):
        last = super().get_variable_layout(variable).axes
        shape = variable.shape
        axes = [*[None] * (len(shape) - len(last)), *last]
        parts = [1 if axis is None else self._parts(axis) for axis in axes]
        if len(axes) > len(shape) or any(n % part for n, part in zip(shape, parts, strict=True)):
            axes = [None] * len(shape)
        return keras.distribution.TensorLayout(axes, self.device_mesh)

    def _parts(self, axis):
        return self.device_mesh.shape[self.device_mesh.axis_names.index(axis)]
