"""`training.StepDecay` is the steps of the parameter-free paper's runs with timm."""

import keras
import numpy as np
import pytest

from keras_lc.training import SGD, StepDecay
from keras_lc.training.schedules import planned_steps


def test_rate_rises_for_the_warmup_and_falls_to_a_tenth_after_each_third():
    """90 epochs of 10 steps: 3 of warmup, drops after 30 and 60, counted from the start."""
    schedule = StepDecay(0.2, total_steps=900, drop_share=1 / 3, warmup_steps=30)
    got = [float(schedule(step)) for step in range(900)]
    steps = np.arange(900)
    expected = 0.2 * 0.1 ** (steps // 300) * np.minimum(steps / 30, 1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(
    ("total", "share", "places"),
    [(3, 1 / 3, [1, 2]), (100, 0.3, [30, 60, 90]), (10, 0.5, [5]), (10, 2.0, []), (1, 1 / 3, [])],
)
def test_drops_are_at_whole_steps_of_the_run(total, share, places):
    schedule = StepDecay(1.0, total, share, drop_factor=0.5)
    rates = [float(schedule(step)) for step in range(total)]
    assert [step for step in range(1, total) if rates[step] < rates[step - 1]] == places


@pytest.mark.once
def test_a_long_run_drops_at_the_exact_step():
    schedule = StepDecay(1.0, total_steps=90 * 1251, drop_share=1 / 3)
    assert float(schedule(30 * 1251 - 1)) == 1 and float(schedule(30 * 1251)) < 0.11


def test_a_saved_model_goes_on_at_its_place_in_the_schedule(tmp_path):
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    y = x.sum(1, keepdims=True)

    def model():
        keras.utils.set_random_seed(1)
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        net.compile(SGD(StepDecay(0.1, 8, 1 / 4, warmup_steps=1), 0.9, nesterov=True), "mse")
        return net

    whole, half = model(), model()
    whole.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0)
    half.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    half.save(tmp_path / "half.keras")
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    resumed.fit(x, y, batch_size=8, epochs=4, initial_epoch=2, shuffle=False, verbose=0)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.once
def test_the_run_that_a_schedule_was_made_for_is_known():
    assert planned_steps(StepDecay(0.1, 12, 0.5, warmup_steps=4)) == 12
    cosine = keras.optimizers.schedules.CosineDecay(0.0, 8, warmup_target=0.1, warmup_steps=4)
    assert planned_steps(cosine) == 12
    assert planned_steps(0.1) is None


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drop_share": 0}, "`drop_share` must be above 0.*drop_share=0"),
        ({"warmup_steps": 11}, "`warmup_steps` must be from 0 to `total_steps`.*warmup_steps=11"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        StepDecay(**{"learning_rate": 0.1, "total_steps": 10, "drop_share": 0.5, **arguments})
