"""The gradient with respect to a model's inputs. Keras has no function for it."""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_lc.keras_internals import graph_of, producer


def input_gradient(model: keras.Model, loss: Callable) -> Callable:
    """Returns a function that computes the gradient of the loss with respect to the images.

    The function takes arrays of images and labels.

    Args:
        model: A Keras model. It is called in inference mode.
        loss: Function that takes the model's outputs and the labels and returns a scalar tensor.
    """
    backend = keras.backend.backend()
    if backend not in _GRADIENTS:
        raise ValueError(
            f"Keras' backend '{backend}' has no gradients, but this function needs them. Use one "
            f"of {sorted(_GRADIENTS)}."
        )
    return _GRADIENTS[backend](model, loss)


def _tensorflow_gradient(model, loss):
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def gradient(x, y):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            value = loss(model(x, training=False), y)
        return tape.gradient(value, x)

    return lambda x, y: gradient(tf.constant(x), tf.constant(y)).numpy()


def _jax_gradient(model, loss):
    import jax

    @jax.jit
    @jax.grad
    def gradient(x, y, trained, others):
        outputs, _ = model.stateless_call(trained, others, x, training=False)
        return loss(outputs, y)

    def run(x, y):
        # Passed as arguments. In a closure, they would be compiled as constants.
        trained = [variable.value for variable in model.trainable_variables]
        others = [variable.value for variable in model.non_trainable_variables]
        return np.asarray(gradient(x, y, trained, others))

    return run


def _torch_gradient(model, loss):
    import torch

    def run(x, y):
        with torch.enable_grad():
            x = ops.convert_to_tensor(x).requires_grad_()
            value = loss(model(x, training=False), ops.convert_to_tensor(y))
            return ops.convert_to_numpy(torch.autograd.grad(value, x)[0])

    return run


_GRADIENTS = {"tensorflow": _tensorflow_gradient, "jax": _jax_gradient, "torch": _torch_gradient}


def last_layer(model: keras.Model) -> keras.layers.Layer:
    """Returns the layer that makes a model's output, also if it is in a nested model."""
    last = model
    while (graph := graph_of(last)) is not None:
        last = producer(graph.outputs[0])
    return last
