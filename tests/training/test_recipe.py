import dataclasses

import keras
import numpy as np
import pytest

from keras_lc.training import (
    CIFAR,
    IMAGENET_A2,
    LAMB,
    SGD,
    BinarisedCrossentropy,
    Recipe,
    SmoothedCrossentropy,
)

pytestmark = pytest.mark.once


def rates(recipe, steps):
    schedule = recipe.optimizer(steps)._learning_rate
    return [float(schedule(step)) for step in range(steps + 1)]


def test_imagenets_is_the_papers():
    """LC paper, Appendix A; the threshold is that of the recipe's runs with timm."""
    assert dataclasses.asdict(IMAGENET_A2) == {
        "algorithm": "lamb", "learning_rate": 5e-3, "momentum": 0.9, "weight_decay": 0.02,
        "batch_size": 2048, "label_smoothing": 0.0, "epochs": 300, "warmup_epochs": 5,
        "target_threshold": 0.2,
    }  # fmt: skip


def test_learning_rate_rises_for_the_warmup_and_then_falls_along_a_cosine():
    recipe = dataclasses.replace(IMAGENET_A2, epochs=12, warmup_epochs=2)
    steps = np.arange(121)
    cosine = (1 + np.cos(np.pi * (steps - 20) / 100)) / 2
    expected = 5e-3 * np.where(steps < 20, steps / 20, cosine)
    np.testing.assert_allclose(rates(recipe, 120), expected, rtol=1e-5, atol=1e-9)


def test_without_a_warmup_the_cosine_begins_at_once():
    expected = 1e-2 * (1 + np.cos(np.pi * np.arange(51) / 50)) / 2
    np.testing.assert_allclose(rates(CIFAR, 50), expected, rtol=1e-5, atol=1e-9)


def test_lamb_has_the_recipes_values():
    optimizer = IMAGENET_A2.optimizer(100)
    assert type(optimizer) is LAMB
    assert (optimizer.name, optimizer.beta_1, optimizer.weight_decay) == ("lamb", 0.9, 0.02)


def test_sgd_has_the_recipes_values():
    optimizer = CIFAR.optimizer(100)
    assert type(optimizer) is SGD
    assert (optimizer.name, optimizer.momentum, optimizer.nesterov) == ("sgd", 0.9, True)


def test_compiles_with_the_recipes_loss():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    IMAGENET_A2.compile(model, steps=10, from_logits=False)
    assert type(model.loss) is BinarisedCrossentropy
    assert (model.loss.threshold, model.loss.from_logits) == (0.2, False)
    CIFAR.compile(model, steps=10)
    assert type(model.loss) is SmoothedCrossentropy
    assert model.loss.label_smoothing == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "adam"}, "`algorithm` must be 'sgd' or 'lamb'.*algorithm='adam'"),
        ({"warmup_epochs": 75}, "`warmup_epochs` must be .* below `epochs`.*warmup_epochs=75"),
        ({"warmup_epochs": -1}, "`warmup_epochs` must be at least 0.*warmup_epochs=-1"),
        ({"target_threshold": 0.2}, "different losses.*target_threshold=0.2"),
    ],
)
def test_values_that_do_not_go_together_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CIFAR, **change)


def test_a_run_of_no_steps_is_refused():
    with pytest.raises(ValueError, match=r"`steps` must be at least 1.*steps=0"):
        Recipe(0.1, 0.9, 0.0, 8, 0.0).optimizer(0)
