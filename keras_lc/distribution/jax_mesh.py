"""JAX: one program over all devices of all processes, by `keras.distribution`."""

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
                "kind='model' cuts a model into parts for the devices of one process, and "
                f"{_PROCESSES} is {self.processes}: no process could write the whole model to a "
                "file. Start one process, or use kind='data'."
            )
        if kind == "model":
            engine = _basis_parallel()
        else:
            # Of all processes, and each feeds its own part: Keras cannot cut up a PyDataset.
            engine = keras.distribution.DataParallel(auto_shard_dataset=False)
        self.replicas = engine.num_model_replicas
        # For good: what is built, loaded, trained and evaluated must all find it.
        keras.distribution.set_distribution(engine)

    def _gather(self, numbers):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(numbers))


def _basis_parallel():
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ("batch", "model"), devices)
    layouts = keras.distribution.LayoutMap(mesh)
    # By the names that our layers give: LCConv2D and FrozenConv2D, and LCBlock's two layers.
    layouts[r"(.*/)?basis(/kernel)?"] = (None, None, None, "model")
    layouts[r"(.*/)?combination"] = ("model", None)
    layouts[r"(.*/)?combination/kernel"] = (None, None, "model", None)
    return _WhereItDivides(layout_map=layouts, batch_dim_name="batch")


class _WhereItDivides(keras.distribution.ModelParallel):
    """Leaves a variable whole, on every device, that has no equal parts: JAX would refuse it."""

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
