"""Factors of the learning rate for single variables."""

import keras
import numpy as np
import pytest

from keras_lc.training import CIFAR, IMAGENET_A2, LAMB, SGD
from tests import oracles


def optimizers(rate, **options):
    return {
        "sgd": SGD(rate, momentum=0.9, nesterov=True, weight_decay=0.1, **options),
        "lamb": LAMB(rate, global_clipnorm=None, **options),
    }


def path_of(optimizer, name):
    """Returns the values of a matrix after three steps, beside another variable."""
    variables = [
        keras.Variable(oracles.images(3, 2, seed=i), name=n) for i, n in enumerate(("slow", "fast"))
    ]
    for step in range(3):
        gradients = [keras.ops.convert_to_tensor(oracles.images(3, 2, seed=9 + step))] * 2
        optimizer.apply(gradients, variables)
    return oracles.numpy(next(variable for variable in variables if variable.name == name))


@pytest.mark.parametrize("algorithm", ["sgd", "lamb"])
def test_a_factor_acts_like_another_learning_rate_for_that_variable_alone(algorithm):
    scaled = lambda: optimizers(0.5, rate_factors={"slow": 0.1})[algorithm]  # noqa: E731
    slow, plain = optimizers(0.05)[algorithm], optimizers(0.5)[algorithm]
    oracles.assert_close(path_of(scaled(), "slow"), path_of(slow, "slow"))
    oracles.assert_close(path_of(scaled(), "fast"), path_of(plain, "fast"))


def model_of(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, name="body"), keras.layers.Dense(3, name="head")]
    )


@pytest.mark.parametrize("recipe", [CIFAR, IMAGENET_A2], ids=["cifar", "imagenet"])
def test_a_loaded_run_continues_with_its_factors(recipe, tmp_path):
    x, y = oracles.images(8, 4), np.arange(8) % 3
    model = model_of(0)
    factors = {variable.path: 0.1 for variable in model.get_layer("body").variables}
    recipe.compile(model, 6, rate_factors=factors)
    fit = dict(batch_size=8, epochs=3, shuffle=False, verbose=0)
    if recipe.target_threshold is not None:
        y = keras.utils.to_categorical(y, 3)
    model.fit(x, y, **fit)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(x, y, **fit)
    for got, expected in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(oracles.numpy(got), oracles.numpy(expected))
    assert loaded.optimizer.get_config()["rate_factors"] == factors


@pytest.mark.once
@pytest.mark.parametrize("factor", [-0.1, float("inf"), float("nan"), "0.1", True])
def test_a_factor_is_a_finite_number_of_at_least_0(factor):
    with pytest.raises(ValueError, match=r"`rate_factors` must map .*Received: 'slow': "):
        SGD(0.1, rate_factors={"slow": factor})


@pytest.mark.once
def test_a_factor_of_no_variable_is_refused():
    model = model_of(0)
    CIFAR.compile(model, 6, rate_factors={"other/kernel": 0.1})
    with pytest.raises(ValueError, match="'other/kernel' scaled in its learning rate"):
        model.optimizer.build(model.trainable_variables)
