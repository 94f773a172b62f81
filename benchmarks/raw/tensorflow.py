"""The network and its recipe in plain TensorFlow, as experts write it: one graph."""

import numpy as np
import tensorflow as tf

from benchmarks.raw import network


class ResNet(tf.Module):
    def __init__(self, depth, width):
        super().__init__()
        self.blocks = network.blocks(depth, width)
        self.weights, self.statistics = {}, {}
        self.generator = np.random.default_rng(0)
        self._convolution("stem", 3, 3, width)
        for i, block in enumerate(self.blocks):
            self._convolution(f"{i}_1", 3, block.inputs, block.outputs)
            self._convolution(f"{i}_2", 3, block.outputs, block.outputs)
            if block.has_convolution_in_shortcut:
                self._convolution(f"{i}_shortcut", 1, block.inputs, block.outputs)
        self.weights["classifier"] = tf.Variable(tf.zeros((4 * width, 10)))
        self.weights["classifier_bias"] = tf.Variable(tf.zeros(10))

    def _convolution(self, name, size, inputs, outputs):
        scale = 1 / np.sqrt(size * size * inputs)
        kernel = self.generator.uniform(-scale, scale, (size, size, inputs, outputs))
        self.weights[name] = tf.Variable(kernel.astype("float32"))
        self.weights[f"{name}_gamma"] = tf.Variable(tf.ones(outputs))
        self.weights[f"{name}_beta"] = tf.Variable(tf.zeros(outputs))
        self.statistics[name] = (
            tf.Variable(tf.zeros(outputs), trainable=False),
            tf.Variable(tf.ones(outputs), trainable=False),
        )

    def unit(self, x, name, stride, training):
        kernel = self.weights[name]
        pad = kernel.shape[0] // 2
        x = tf.nn.conv2d(x, kernel, stride, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        moving = self.statistics[name]
        gamma, beta = self.weights[f"{name}_gamma"], self.weights[f"{name}_beta"]
        if not training:
            return tf.compat.v1.nn.fused_batch_norm(
                x, gamma, beta, *moving, epsilon=1e-5, is_training=False
            )[0]
        y, *batch = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-5)
        for old, new in zip(moving, batch, strict=True):
            old.assign(0.9 * old + 0.1 * new)
        return y

    def __call__(self, images, training):
        """`images`: `(batch, height, width, 3)`, uint8."""
        x = (tf.cast(images, "float32") - network.MEAN) / network.STD
        x = tf.nn.relu(self.unit(x, "stem", 1, training))
        for i, block in enumerate(self.blocks):
            shortcut = x
            y = tf.nn.relu(self.unit(x, f"{i}_1", block.stride, training))
            y = self.unit(y, f"{i}_2", 1, training)
            if block.has_convolution_in_shortcut:
                shortcut = self.unit(x, f"{i}_shortcut", block.stride, training)
            x = tf.nn.relu(y + shortcut)
        x = tf.reduce_mean(x, (1, 2))
        return x @ self.weights["classifier"] + self.weights["classifier_bias"]


def crop_and_flip(images):
    """Pads with zeros, crops each image at its own random position, and flips it at random."""
    batch, height, width, _ = images.shape
    pad = network.PADDING
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
    top = tf.random.uniform((batch, 1), 0, 2 * pad + 1, "int32")
    left = tf.random.uniform((batch, 1), 0, 2 * pad + 1, "int32")
    columns = tf.range(width)
    flip = tf.random.uniform((batch, 1)) < 0.5
    columns = left + tf.where(flip, width - 1 - columns, columns)
    x = tf.gather(padded, top + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(x, columns, axis=2, batch_dims=1)


def steps(depth, width, images, labels):
    """Returns a training step and an inference step as functions without arguments."""
    model = ResNet(depth, width)
    weights = list(model.weights.values())
    velocities = [tf.Variable(tf.zeros_like(weight)) for weight in weights]

    @tf.function
    def update(images, labels):
        targets = tf.one_hot(labels, 10) * (1 - network.SMOOTHING) + network.SMOOTHING / 10
        with tf.GradientTape() as tape:
            logits = model(crop_and_flip(images), training=True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        for gradient, weight, velocity in zip(
            tape.gradient(loss, weights), weights, velocities, strict=True
        ):
            gradient += network.WEIGHT_DECAY * weight
            velocity.assign(network.MOMENTUM * velocity + gradient)
            weight.assign_sub(network.LEARNING_RATE * (gradient + network.MOMENTUM * velocity))
        return loss

    logits_of = tf.function(lambda images: model(images, training=False))
    return (
        lambda: float(update(tf.constant(images), tf.constant(labels))),
        lambda: logits_of(tf.constant(images)).numpy(),
    )
