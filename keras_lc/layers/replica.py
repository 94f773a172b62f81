"""Which part of a batch a layer sees, where a batch is spread over several replicas of a model."""

import keras


def replica_index():
    """Returns the index of the part of the batch that this call of a layer computes.

    An integer or integer tensor. 0 where the call sees the whole batch: on one device, and under
    JAX always, whose compiled step is one program over all devices. A layer that draws another
    random number for each image goes by it, or every replica would draw the same ones.
    """
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank()
    elif backend == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and tf.distribute.has_strategy():
            return context.replica_id_in_sync_group
    return 0
