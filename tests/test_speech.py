"""A real use in one dimension: who speaks? 640 utterances of a vowel by nine men.

The data set is *Japanese Vowels* (Kudo, Toyama & Shimbo, 1999): 12 coefficients of the spectrum in
25 steps of time. It is in the wheel of aeon, whose files are read here without its code.
"""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.layers import FanInUniform, FrozenConv1D

EPOCHS, BATCH = 10, 32


def read(part):
    """Returns series `(utterances, 25, 12)` and the numbers of their speakers."""
    package = importlib.util.find_spec("aeon")
    places = [] if package is None else package.submodule_search_locations
    files = [
        path
        for place in places
        for path in pathlib.Path(place).glob(f"datasets/data/*/JapaneseVowels_eq_{part}.ts")
    ]
    if not files:
        pytest.skip("needs the data files of aeon: pip install --no-deps aeon")
    lines = [line for line in files[0].read_text().splitlines() if line[:1] not in ("", "@", "#")]
    *series, speakers = zip(*(line.split(":") for line in lines), strict=True)
    values = [[np.array(text.split(","), "float32") for text in channel] for channel in series]
    return np.array(values).transpose(1, 2, 0), np.array(speakers, int) - 1


@pytest.fixture(scope="module")
def utterances():
    (x, speakers), (x_test, test_speakers) = read("TRAIN"), read("TEST")
    assert x.shape == (270, 25, 12) and x_test.shape == (370, 25, 12)
    mean, deviation = x.mean((0, 1)), x.std((0, 1))
    parts = [(x, speakers), (x_test, test_speakers)]
    return [((values - mean) / deviation, labels) for values, labels in parts]


def accuracy(utterances, convolution):
    """Trains a network with two convolutions, and returns its accuracy on other utterances."""
    (x, speakers), test = utterances
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input(x.shape[1:])])
    for seed in (0, 1):
        network.add(convolution(seed))
        network.add(keras.layers.BatchNormalization())
        network.add(keras.layers.ReLU())
    network.add(keras.layers.GlobalAveragePooling1D())
    network.add(keras.layers.Dense(9, kernel_initializer=FanInUniform(2)))
    steps = EPOCHS * -(-len(x) // BATCH)
    network.compile(
        keras_lc.training.SGD(keras.optimizers.schedules.CosineDecay(0.05, steps), 0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    network.fit(x, speakers, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return network.evaluate(*test, batch_size=len(test[0]), verbose=0)[1]


def test_combinations_of_frozen_filters_tell_speakers_apart_as_learned_filters_do(utterances):
    options = dict(padding="same", use_bias=False)
    learned = accuracy(
        utterances,
        lambda seed: keras.layers.Conv1D(32, 5, kernel_initializer=FanInUniform(seed), **options),
    )
    frozen = accuracy(utterances, lambda seed: FrozenConv1D(32, 5, seed=seed, **options))
    combined = accuracy(utterances, lambda seed: keras_lc.LCConv1D(32, 5, seed=seed, **options))
    print(f"learned {learned:.3f}, frozen {frozen:.3f}, combined {combined:.3f}")
    # Chance is 1/9. A third as many numbers are trained as in the network of learned filters.
    assert combined > 0.9 and combined > learned - 0.03 and combined > frozen
