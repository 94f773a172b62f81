"""`training.SGD` equals `torch.optim.SGD`, step by step."""

import keras
import numpy as np
import pytest
import torch

from keras_lc.training import LAMB, SGD

STEPS = 40


def gradients(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(STEPS, *shape)).astype("float32")


def run_keras(optimizer, start, sequence):
    variable = keras.Variable(start, name="weight")
    path = []
    for gradient in sequence:
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        path.append(keras.ops.convert_to_numpy(variable.value).copy())
    return np.array(path)


def run_torch(start, sequence, cosine, **arguments):
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.SGD([parameter], lr=0.05, **arguments)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    path = []
    for gradient in sequence:
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        if cosine:
            schedule.step()
        path.append(parameter.detach().numpy().copy())
    return np.array(path)


@pytest.mark.parametrize("cosine", [False, True], ids=["constant", "cosine"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_every_step_equals_torchs(momentum, nesterov, weight_decay, cosine):
    start = gradients((5, 3), seed=1)[0]
    rate = keras.optimizers.schedules.CosineDecay(0.05, STEPS) if cosine else 0.05
    optimizer = SGD(rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    got = run_keras(optimizer, start, gradients((5, 3)))
    expected = run_torch(
        start,
        gradients((5, 3)),
        cosine,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)


def test_keras_sgd_differs_under_a_schedule():
    """Why this optimizer exists: if Keras' own becomes equal, it can go."""
    start = gradients((5, 3), seed=1)[0]
    rate = keras.optimizers.schedules.CosineDecay(0.05, STEPS)
    stock = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.1)
    got = run_keras(stock, start, gradients((5, 3)))
    expected = run_torch(
        start, gradients((5, 3)), True, momentum=0.9, nesterov=True, weight_decay=0.1
    )
    assert np.abs(got[-1] - expected[-1]).max() > 0.05


def two_variables():
    return [keras.Variable(np.ones(3, "float32"), name=name) for name in ("kernel", "bias")]


def step_without_gradient(optimizer, variables):
    zeros = [keras.ops.zeros(3) for _ in variables]
    optimizer.apply(zeros, variables)
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]


@pytest.mark.parametrize("how", ["var_names", "var_list"])
def test_excluded_variables_do_not_decay(how):
    variables = two_variables()
    optimizer = SGD(0.5, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(**{how: ["bias"] if how == "var_names" else [variables[1]]})
    kernel, bias = step_without_gradient(optimizer, variables)
    np.testing.assert_allclose(kernel, 0.95, rtol=1e-6)
    np.testing.assert_array_equal(bias, 1)


@pytest.mark.once
def test_config_keeps_arguments_and_exclusions():
    optimizer = SGD(0.5, momentum=0.9, nesterov=True, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(copy) is SGD
    assert (copy.momentum, copy.nesterov, copy.weight_decay) == (0.9, True, 0.1)
    kernel, bias = step_without_gradient(copy, two_variables())
    np.testing.assert_allclose(kernel, 1 - 0.5 * 0.19, rtol=1e-6)  # nesterov: g + 0.9 g
    np.testing.assert_array_equal(bias, 1)


@pytest.mark.parametrize("optimizer", [SGD, LAMB])
@pytest.mark.parametrize("nested", [False, True])
def test_a_loaded_run_decays_no_variable_that_was_excluded(optimizer, nested, tmp_path):
    def dense(name):
        return keras.layers.Dense(3, name=name)

    hidden = keras.Sequential([keras.Input((3,)), dense("dense")]) if nested else dense("other")
    net = keras.Sequential([keras.Input((3,)), hidden, dense("dense")])
    chosen = optimizer(0.5, weight_decay=0.1)
    chosen.exclude_from_weight_decay(var_list=[net.layers[-1].kernel])
    net.compile(chosen, "mse")
    x = np.zeros((4, 3), "float32")
    net.fit(x, x, verbose=0)
    kept, decayed = net.layers[-1].kernel, net.layers[0].trainable_variables[0]
    # No input, so no gradient but that of the decay.
    start = [keras.ops.convert_to_numpy(v.value) for v in (kept, decayed)]
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    loaded.fit(x, x, verbose=0)
    kept, decayed = loaded.layers[-1].kernel, loaded.layers[0].trainable_variables[0]
    end = [keras.ops.convert_to_numpy(v.value) for v in (kept, decayed)]
    np.testing.assert_array_equal(end[0], start[0])
    assert np.abs(end[1]).max() < 0.999 * np.abs(start[1]).max()


@pytest.mark.once
def test_a_second_exclusion_takes_the_place_of_the_first():
    optimizer = SGD(0.5, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    for one in (optimizer, copy):
        kernel, bias = step_without_gradient(one, two_variables())
        assert kernel[0] < 1 and bias[0] == 1


def test_saved_run_continues_as_the_uninterrupted_one(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x.sum(1, keepdims=True)

    def model():
        keras.utils.set_random_seed(1)
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        rate = keras.optimizers.schedules.CosineDecay(0.05, 8)
        net.compile(SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.1), "mse")
        return net

    whole, half = model(), model()
    whole.fit(x, y, epochs=4, shuffle=False, verbose=0)
    half.fit(x, y, epochs=2, shuffle=False, verbose=0)
    half.save(tmp_path / "half.keras")
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    resumed.fit(x, y, epochs=4, initial_epoch=2, shuffle=False, verbose=0)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_mixed_precision_trains_float32_variables():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    finally:
        keras.config.set_dtype_policy("float32")
    net.compile(SGD(0.1, momentum=0.9, weight_decay=0.1), "mse")
    before = net.get_weights()[0]
    net.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
    assert net.weights[0].dtype == "float32"
    assert np.abs(net.get_weights()[0] - before).max() > 0


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="`nesterov=True` needs a positive `momentum`"):
        SGD(0.1, nesterov=True)
