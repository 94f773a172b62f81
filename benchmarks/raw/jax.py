"""The network and its recipe in plain JAX, as experts write it: one jitted step."""

import functools

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from benchmarks.raw import network


def initial(depth, width):
    """Returns the trained weights and the moving statistics."""
    generator = np.random.default_rng(0)
    weights, statistics = {}, {}

    def convolution(name, size, inputs, outputs):
        scale = 1 / np.sqrt(size * size * inputs)
        weights[name] = jnp.asarray(
            generator.uniform(-scale, scale, (size, size, inputs, outputs)), "float32"
        )
        weights[f"{name}_gamma"], weights[f"{name}_beta"] = jnp.ones(outputs), jnp.zeros(outputs)
        statistics[name] = (jnp.zeros(outputs), jnp.ones(outputs))

    convolution("stem", 3, 3, width)
    for i, block in enumerate(network.blocks(depth, width)):
        convolution(f"{i}_1", 3, block.inputs, block.outputs)
        convolution(f"{i}_2", 3, block.outputs, block.outputs)
        if block.has_convolution_in_shortcut:
            convolution(f"{i}_shortcut", 1, block.inputs, block.outputs)
    weights["classifier"] = jnp.zeros((4 * width, 10))
    weights["classifier_bias"] = jnp.zeros(10)
    return weights, statistics


def forward(weights, statistics, images, depth, width, training):
    """`images`: `(batch, height, width, 3)`, uint8. Returns logits and new statistics."""
    statistics = dict(statistics)

    def unit(x, name, stride=1):
        kernel = weights[name]
        pad = kernel.shape[0] // 2
        x = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(pad, pad)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if training:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            old = statistics[name]
            statistics[name] = (0.9 * old[0] + 0.1 * mean, 0.9 * old[1] + 0.1 * variance)
        else:
            mean, variance = statistics[name]
        scale = weights[f"{name}_gamma"] * lax.rsqrt(variance + 1e-5)
        return (x - mean) * scale + weights[f"{name}_beta"]

    x = (images.astype("float32") - jnp.asarray(network.MEAN)) / jnp.asarray(network.STD)
    x = jax.nn.relu(unit(x, "stem"))
    for i, block in enumerate(network.blocks(depth, width)):
        shortcut = x
        y = jax.nn.relu(unit(x, f"{i}_1", block.stride))
        y = unit(y, f"{i}_2")
        if block.has_convolution_in_shortcut:
            shortcut = unit(x, f"{i}_shortcut", block.stride)
        x = jax.nn.relu(y + shortcut)
    logits = x.mean((1, 2)) @ weights["classifier"] + weights["classifier_bias"]
    return logits, statistics


def crop_and_flip(images, key):
    """Pads with zeros, crops each image at its own random position, and flips it at random."""
    place, side = jax.random.split(key)
    pad = network.PADDING
    places = jax.random.randint(place, (len(images), 2), 0, 2 * pad + 1)
    flips = jax.random.bernoulli(side, shape=(len(images),))
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def one(image, place, flip):
        image = lax.dynamic_slice(image, (place[0], place[1], 0), images.shape[1:])
        return jnp.where(flip, image[:, ::-1], image)

    return jax.vmap(one)(padded, places, flips)


def steps(depth, width, images, labels):
    """Returns a training step and an inference step as functions without arguments."""

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(weights, velocities, statistics, key, images, labels):
        key, own = jax.random.split(key)
        x = crop_and_flip(images, own)

        def loss_of(weights):
            logits, new = forward(weights, statistics, x, depth, width, training=True)
            targets = jax.nn.one_hot(labels, 10) * (1 - network.SMOOTHING) + network.SMOOTHING / 10
            return -(targets * jax.nn.log_softmax(logits)).sum(1).mean(), new

        (loss, new), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights)
        gradients = jax.tree.map(lambda g, w: g + network.WEIGHT_DECAY * w, gradients, weights)
        velocities = jax.tree.map(lambda v, g: network.MOMENTUM * v + g, velocities, gradients)
        weights = jax.tree.map(
            lambda w, v, g: w - network.LEARNING_RATE * (g + network.MOMENTUM * v),
            weights,
            velocities,
            gradients,
        )
        return weights, velocities, new, key, loss

    @jax.jit
    def logits_of(weights, statistics, images):
        return forward(weights, statistics, images, depth, width, training=False)[0]

    weights, statistics = initial(depth, width)
    state = [weights, jax.tree.map(jnp.zeros_like, weights), statistics, jax.random.key(0)]

    def train():
        *state[:], loss = update(*state, images, labels)
        return float(loss)

    def infer():
        return np.asarray(logits_of(state[0], state[2], images))

    return train, infer
