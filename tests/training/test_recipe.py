import dataclasses

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.training import (
    CIFAR,
    DEIT,
    IMAGENET_A2,
    LAMB,
    SGD,
    SGD90,
    AdamW,
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
        "target_threshold": 0.2, "schedule": "cosine", "drop_epochs": None,
        "final_learning_rate": 0.0, "decay_vectors": False,
    }  # fmt: skip


def test_sgd90_is_the_parameter_free_papers():
    """The command in the README of naver-ai/PfLayer, with timm's values where it gives none."""
    assert dataclasses.asdict(SGD90) == {
        "algorithm": "sgd", "learning_rate": 0.2, "momentum": 0.9, "weight_decay": 1e-4,
        "batch_size": 4 * 256, "label_smoothing": 0.0, "epochs": 90, "warmup_epochs": 3,
        "target_threshold": None, "schedule": "steps", "drop_epochs": 30,
        "final_learning_rate": 0.0, "decay_vectors": False,
    }  # fmt: skip


def test_deits_is_that_of_its_paper():
    """Touvron et al., 2021, Table 9: 5e-4 at a batch of 512. The end is that of the public code."""
    assert dataclasses.asdict(DEIT) == {
        "algorithm": "adamw", "learning_rate": 5e-4 * 1024 / 512, "momentum": 0.9,
        "weight_decay": 0.05, "batch_size": 1024, "label_smoothing": 0.1, "epochs": 300,
        "warmup_epochs": 5, "target_threshold": None, "schedule": "cosine", "drop_epochs": None,
        "final_learning_rate": 1e-5, "decay_vectors": False,
    }  # fmt: skip


@pytest.mark.parametrize("steps", [90, 900])
def test_learning_rate_falls_in_steps_at_the_same_shares_of_any_run(steps):
    places = np.arange(steps)
    expected = 0.2 * 0.1 ** (3 * places // steps) * np.minimum(places * 30 / steps, 1)
    np.testing.assert_allclose(rates(SGD90, steps)[:-1], expected, rtol=1e-5)


def test_cosine_ends_at_the_final_learning_rate():
    got = rates(dataclasses.replace(DEIT, warmup_epochs=0), 50)
    cosine = (1 + np.cos(np.pi * np.arange(51) / 50)) / 2
    np.testing.assert_allclose(got, 1e-5 + (1e-3 - 1e-5) * cosine, rtol=1e-5)


@pytest.mark.parametrize("recipe", [SGD90, DEIT])
@pytest.mark.parametrize("decays", [False, True])
def test_vectors_and_position_embeddings_decay_only_if_asked_for(recipe, decays):
    """Without a gradient, only the decay moves a variable."""
    inputs = keras.Input((4, 4, 2))
    x = keras_lc.layers.PositionEmbedding("ones")(inputs)
    x = keras.layers.LayerNormalization(beta_initializer="ones")(x)
    outputs = keras.layers.Dense(3, bias_initializer="ones", kernel_initializer="ones")(x)
    variables = keras.Model(inputs, outputs).trainable_variables
    recipe = dataclasses.replace(recipe, decay_vectors=decays, warmup_epochs=0)
    recipe.optimizer(10).apply([keras.ops.zeros(v.shape) for v in variables], variables)
    moved = {v.name for v in variables if (keras.ops.convert_to_numpy(v) != 1).any()}
    assert moved == ({"kernel", "bias", "gamma", "beta", "embedding"} if decays else {"kernel"})


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


def test_adamw_has_the_recipes_values():
    optimizer = DEIT.optimizer(100)
    assert type(optimizer) is AdamW
    assert (optimizer.name, optimizer.beta_1, optimizer.weight_decay) == ("adamw", 0.9, 0.05)


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
        ({"algorithm": "adam"}, "`algorithm` must be 'sgd', 'lamb' or 'adamw'.*'adam'"),
        ({"warmup_epochs": 75}, "`warmup_epochs` must be .* below `epochs`.*warmup_epochs=75"),
        ({"warmup_epochs": -1}, "`warmup_epochs` must be at least 0.*warmup_epochs=-1"),
        ({"schedule": "linear"}, "`schedule` must be 'cosine' or 'steps'.*schedule='linear'"),
        ({"schedule": "steps"}, "`drop_epochs` must be a number above 0.*drop_epochs=None"),
        ({"drop_epochs": 30}, "`drop_epochs` must be .* None with .*drop_epochs=30"),
        ({"schedule": "steps", "drop_epochs": 0}, "`drop_epochs` must be .*drop_epochs=0"),
        ({"final_learning_rate": 1.0}, "`final_learning_rate` must be from 0 .*=1.0"),
        ({"target_threshold": 0.2}, "different losses.*target_threshold=0.2"),
    ],
)
def test_values_that_do_not_go_together_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CIFAR, **change)


def test_a_run_of_no_steps_is_refused():
    with pytest.raises(ValueError, match=r"`steps` must be at least 1.*steps=0"):
        Recipe(0.1, 0.9, 0.0, 8, 0.0).optimizer(0)
