"""`training.AdamW` is that of its paper, and saves what does not decay."""

import keras
import numpy as np

from keras_lc.training import AdamW

STEPS = 10
SHAPES = {"kernel": (5, 3), "bias": (2, 3), "gamma": (7,)}


def numbers(shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def by_numpy(rate, decay, excluded=(), beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Algorithm 2 of the paper, in float64; PyTorch decays before the step too."""
    ends = []
    for place, (name, shape) in enumerate(SHAPES.items()):
        w, m, v = numbers(shape, 99 + place).astype("float64"), 0.0, 0.0
        for t in range(1, STEPS + 1):
            g = numbers(shape, 10 * t + place).astype("float64")
            m = beta_1 * m + (1 - beta_1) * g
            v = beta_2 * v + (1 - beta_2) * g**2
            w = w - rate * (0 if name in excluded else decay) * w
            w = w - rate * m / (1 - beta_1**t) / (np.sqrt(v / (1 - beta_2**t)) + epsilon)
        ends.append(w)
    return ends


def by_keras(optimizer):
    variables = [
        keras.Variable(numbers(shape, 99 + place), name=name)
        for place, (name, shape) in enumerate(SHAPES.items())
    ]
    for t in range(1, STEPS + 1):
        steps = [numbers(shape, 10 * t + place) for place, shape in enumerate(SHAPES.values())]
        optimizer.apply([keras.ops.convert_to_tensor(step) for step in steps], variables)
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


def test_follows_the_papers_algorithm():
    for a, b in zip(by_keras(AdamW(1e-2, 0.5)), by_numpy(1e-2, 0.5), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)


def test_a_restored_optimizer_still_knows_what_does_not_decay():
    optimizer = AdamW(1e-2, 0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma"])
    restored = AdamW.from_config(optimizer.get_config())
    expected = by_numpy(1e-2, 0.5, excluded=("bias", "gamma"))
    for a, b in zip(by_keras(restored), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)
