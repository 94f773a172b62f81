import hashlib

import numpy as np
import pytest

from keras_lc.training import ShuffledBatches

pytestmark = pytest.mark.once

X, Y = np.arange(10)[:, None] * np.ones((1, 3)), np.arange(10)


def epoch(batches):
    return np.concatenate([batches[i][1] for i in range(len(batches))])


def test_an_epoch_takes_each_image_at_most_once_with_its_label():
    batches = ShuffledBatches(X, Y, batch_size=3, seed=0)
    assert len(batches) == 3
    images, labels = (
        np.concatenate(parts) for parts in zip(*map(batches.__getitem__, range(3)), strict=True)
    )
    assert len(set(labels)) == 9
    np.testing.assert_array_equal(images[:, 0], labels)


def test_every_epoch_has_another_order():
    batches = ShuffledBatches(X, Y, batch_size=10, seed=0)
    first = epoch(batches)
    batches.start_epoch(1)
    assert not np.array_equal(first, epoch(batches))


def test_resumed_epochs_have_the_order_that_they_would_have_had():
    batches = ShuffledBatches(X, Y, batch_size=5, seed=4)
    batches.start_epoch(3)
    resumed = ShuffledBatches(X, Y, batch_size=5, seed=4, first_epoch=3)
    np.testing.assert_array_equal(epoch(resumed), epoch(batches))


def test_epochs_are_counted_as_keras_tells_of_them():
    batches = ShuffledBatches(X, Y, batch_size=5, seed=4, first_epoch=2)
    for number in (2, 3, 4):
        batches.on_epoch_end()  # once before the first epoch too
        expected = ShuffledBatches(X, Y, batch_size=5, seed=4, first_epoch=number)
        np.testing.assert_array_equal(epoch(batches), epoch(expected))


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_epochs_of_any_steps_are_parts_of_one_stream_of_passes(steps):
    passes = [
        epoch(ShuffledBatches(X, Y, batch_size=3, seed=4, first_epoch=number))
        for number in range(12)
    ]
    batches = ShuffledBatches(X, Y, batch_size=3, seed=4, steps_per_epoch=steps)
    assert len(batches) == steps
    stream = []
    for number in range(5):
        batches.start_epoch(number)
        stream.append(epoch(batches))
    stream = np.concatenate(stream)
    np.testing.assert_array_equal(stream, np.concatenate(passes)[: len(stream)])


@pytest.mark.parametrize("steps", [0, -1, 2.0, True])
def test_steps_per_epoch_must_be_a_count(steps):
    with pytest.raises(ValueError, match=f"`steps_per_epoch` must be .*Received: .*={steps}"):
        ShuffledBatches(X, Y, batch_size=5, steps_per_epoch=steps)


def test_order_is_the_same_everywhere():
    order = epoch(ShuffledBatches(np.zeros(1000), np.arange(1000), batch_size=1000, seed=7))
    digest = hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "b83a5996e88845fc"


def test_all_places_are_equally_likely():
    batches = ShuffledBatches(np.zeros(50), np.arange(50), batch_size=50, seed=1)
    total = np.zeros(50)
    for number in range(400):
        batches.start_epoch(number)
        total += np.argsort(epoch(batches))
    # Each mean place is 24.5 with a standard error of 14.4/√400 = 0.72.
    assert np.abs(total / 400 - 24.5).max() < 4 * 0.72


def test_shuffle_false_keeps_the_order():
    np.testing.assert_array_equal(epoch(ShuffledBatches(X, Y, batch_size=5, shuffle=False)), Y)


def test_sample_weights_come_along():
    batches = ShuffledBatches(X, Y, batch_size=4, sample_weight=Y * 2.0, seed=0)
    _, labels, weights = batches[1]
    np.testing.assert_array_equal(weights, labels * 2.0)


@pytest.mark.parametrize("batch_size", [0, 11, 2.5])
def test_batch_size_must_fit(batch_size):
    with pytest.raises(ValueError, match=f"from 1 to the number of images, 10.*={batch_size}"):
        ShuffledBatches(X, Y, batch_size=batch_size)
