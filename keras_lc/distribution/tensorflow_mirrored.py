"""TensorFlow: a replica of the model on every device of one process (`MirroredStrategy`)."""

import contextlib
import json
import os

import keras

from keras_lc.distribution.distribution import Distribution, batch_statistics


class TensorFlowMirrored(Distribution):
    def __init__(self, kind: str):
        import tensorflow as tf

        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        if sum(len(tasks) for tasks in cluster.values()) > 1:
            raise ValueError(
                "TF_CONFIG names several hosts, but Keras 3 cannot `fit` with TensorFlow's "
                "strategies for several hosts (keras-team/keras#20585). Use JAX "
                "(KERAS_BACKEND=jax, KERAS_DISTRIBUTION_*) or PyTorch (torchrun), or unset "
                "TF_CONFIG."
            )
        kinds = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        # With names. Without them, TensorFlow does not use several CPUs.
        devices = [device.name for device in tf.config.list_logical_devices(kinds)]
        self._strategy = tf.distribute.MirroredStrategy(devices)
        self.replicas = self._strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager:
        return self._strategy.scope()

    def prepare(self, model: keras.Model) -> None:
        super().prepare(model)
        if statistics := batch_statistics(model):
            object.__setattr__(model, "train_step", _with_equal_statistics(model, statistics))
            # An already compiled function would contain the old step.
            model.train_function = None


def _with_equal_statistics(model, statistics):
    """Returns a training step that averages batch normalization's statistics over replicas.

    In Keras, each replica keeps its own statistics. Keras evaluates with all of them, but saves
    only the first.
    """
    import tensorflow as tf

    own_step = model.train_step

    def train_step(data):
        results = own_step(data)
        context = tf.distribute.get_replica_context()
        mean = tf.distribute.ReduceOp.MEAN
        for variable in statistics:
            variable.assign(context.all_reduce(mean, variable.value))
        return results

    return train_step
