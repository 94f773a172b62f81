"""`training.LAMB` is the paper's algorithm, with timm's treatment of biases."""

import keras
import numpy as np
import pytest

from keras_lc.training import LAMB

STEPS = 20
SHAPES = [(3, 3, 4, 6), (5, 3), (7,)]


def numbers(shape, seed, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=shape).astype("float32")


def gradients(scale=1.0):
    return [
        [numbers(shape, 10 * t + i, scale) for i, shape in enumerate(SHAPES)] for t in range(STEPS)
    ]


def by_keras(optimizer, sequence):
    variables = [keras.Variable(numbers(shape, 99 + i)) for i, shape in enumerate(SHAPES)]
    for step in sequence:
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
    return [keras.ops.convert_to_numpy(v.value) for v in variables]


def by_numpy(sequence, rate, decay, clip, beta_1=0.9, beta_2=0.999, epsilon=1e-6):
    """Algorithm 2 of the paper, in float64."""
    weights = [numbers(shape, 99 + i).astype("float64") for i, shape in enumerate(SHAPES)]
    m, v = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for t, step in enumerate(sequence, start=1):
        step = [g.astype("float64") for g in step]
        norm = np.sqrt(sum((g**2).sum() for g in step))
        if clip and norm > clip:
            step = [g * clip / norm for g in step]
        for i, g in enumerate(step):
            m[i] = beta_1 * m[i] + (1 - beta_1) * g
            v[i] = beta_2 * v[i] + (1 - beta_2) * g**2
            u = m[i] / (1 - beta_1**t) / (np.sqrt(v[i] / (1 - beta_2**t)) + epsilon)
            if g.ndim > 1:
                u += decay * weights[i]
                u *= np.linalg.norm(weights[i]) / np.linalg.norm(u)
            weights[i] -= (rate(t - 1) if callable(rate) else rate) * u
    return weights


@pytest.mark.parametrize("decay", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("scale", [1e-3, 1.0], ids=["unclipped", "clipped"])
def test_follows_the_papers_algorithm(decay, scale):
    got = by_keras(LAMB(5e-3, weight_decay=decay), gradients(scale))
    for a, b in zip(got, by_numpy(gradients(scale), 5e-3, decay, clip=1.0), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)


def test_follows_a_schedule():
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, STEPS)
    got = by_keras(LAMB(schedule, global_clipnorm=None), gradients())
    cosine = lambda t: 5e-3 * (1 + np.cos(np.pi * t / STEPS)) / 2  # noqa: E731
    for a, b in zip(got, by_numpy(gradients(), cosine, 0.02, clip=None), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)


def test_keras_lamb_differs_with_weight_decay():
    """Why this optimizer exists: if Keras' own becomes equal, it can go."""
    got = by_keras(keras.optimizers.Lamb(5e-3, weight_decay=0.5), gradients(1e-3))
    expected = by_numpy(gradients(1e-3), 5e-3, 0.5, clip=None)
    assert np.abs(got[0] - expected[0]).max() > 1e-3


@pytest.mark.parametrize("shape", [(3, 2), (3,)])
def test_zero_variables_and_zero_gradients_stay_finite(shape):
    variable = keras.Variable(np.zeros(shape, "float32"))
    optimizer = LAMB(0.1)
    optimizer.apply([keras.ops.zeros(shape)], [variable])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), 0)
    optimizer.apply([keras.ops.ones(shape)], [variable])
    assert (keras.ops.convert_to_numpy(variable.value) < 0).all()


def test_saved_run_continues_as_the_uninterrupted_one(tmp_path):
    x = numbers((64, 4), seed=0)
    y = x.sum(1, keepdims=True)

    def model():
        keras.utils.set_random_seed(1)
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        net.compile(LAMB(keras.optimizers.schedules.CosineDecay(0.05, 8), beta_2=0.99), "mse")
        return net

    whole, half = model(), model()
    whole.fit(x, y, epochs=4, shuffle=False, verbose=0)
    half.fit(x, y, epochs=2, shuffle=False, verbose=0)
    half.save(tmp_path / "half.keras")
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    assert type(resumed.optimizer) is LAMB and resumed.optimizer.beta_2 == 0.99
    resumed.fit(x, y, epochs=4, initial_epoch=2, shuffle=False, verbose=0)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta_1": 1.0}, "`beta_1` must be at least 0 and below 1.*beta_1=1.0"),
        ({"beta_2": -0.1}, "`beta_2` must be .*beta_2=-0.1"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0.*weight_decay=-1.0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LAMB(**arguments)


def test_an_excluded_variable_is_scaled_and_does_not_decay():
    gradient = [keras.ops.convert_to_tensor(numbers((5, 3), 0))]
    ends = []
    for optimizer in (LAMB(0.1, weight_decay=0.0), LAMB(0.1, weight_decay=10.0)):
        variable = keras.Variable(numbers((5, 3), 1), name="kernel")
        optimizer.exclude_from_weight_decay(var_names=["kernel"])
        optimizer.apply(gradient, [variable])
        ends.append(keras.ops.convert_to_numpy(variable.value))
    np.testing.assert_array_equal(*ends)
