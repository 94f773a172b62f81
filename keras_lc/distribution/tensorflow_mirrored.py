"""TensorFlow: a replica of the model on every device of one process, by `MirroredStrategy`."""

import json
import os

from keras_lc.distribution.distribution import Distribution


class TensorFlowMirrored(Distribution):
    def __init__(self, kind):
        import tensorflow as tf

        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        if sum(len(tasks) for tasks in cluster.values()) > 1:
            raise ValueError(
                "Keras 3 cannot `fit` under TensorFlow's strategies for several hosts "
                "(keras-team/keras#20585), and TF_CONFIG names more than one. Use JAX "
                "(KERAS_BACKEND=jax, KERAS_DISTRIBUTION_*) or PyTorch (torchrun), or unset "
                "TF_CONFIG."
            )
        kinds = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        # By name: without, CPUs are not taken for devices to mirror on.
        devices = [device.name for device in tf.config.list_logical_devices(kinds)]
        self._strategy = tf.distribute.MirroredStrategy(devices)
        self.replicas = self._strategy.num_replicas_in_sync

    def scope(self):
        return self._strategy.scope()
