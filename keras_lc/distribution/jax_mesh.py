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
    # Names of variables: of a convolution, and of the two convolutions in a block.
    layouts[r"(.*/)?basis(/kernel)?"] = (None, None, None, "model")
    layouts[r"(.*/)?combination"] = ("model", None)
    layouts[r"(.*/)?combination/kernel"] = (None, None, "model", None)
    return _WhereItDivides(layout_map=layouts, batch_dim_name="batch")


class _WhereItDivides(keras.distribution.ModelParallel):
    """Does not split a variable that has no equal parts, because JAX would refuse to."""

    def get_variable_layout(self, variable):
        layout = super().get_variable_layout(variable)
        parts = [1 if axis is None else self._parts(axis) for axis in layout.axes]
        if len(parts) == len(variable.shape) and not any(
            size % part for size, part in zip(variable.shape, parts, strict=True)
        ):
            return layout
        return keras.distribution.TensorLayout([None] * len(variable.shape), self.device_mesh)

    def _parts(self, axis):
        return self.device_mesh.shape[self.device_mesh.axis_names.index(axis)]
