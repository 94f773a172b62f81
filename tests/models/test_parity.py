"""A whole network trains as the same network written with torch.nn."""

import dataclasses

import keras
import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

import keras_lc
from tests.models import torch_twin

STEPS, BATCH = 20, 64
# A fifth of the recipe's: there the network amplifies rounding tenfold every few steps, between
# two runs of torch alone too.
LEARNING_RATE = 2e-3


@pytest.fixture(scope="module")
def images_and_labels():
    """Crops of two photographs; the label says which one, and from which fifth of it.

    Natural images: in a drawing, whole areas of equal pixels sit on one kink of a ReLU, and
    float32 rounding moves them over it together.
    """
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    generator = np.random.default_rng(0)
    images, labels = [], []
    for i in range(STEPS * BATCH):
        photo = photos[i % 2]
        row, column = (generator.integers(0, size - 32) for size in photo.shape[:2])
        images.append(photo[row : row + 32, column : column + 32])
        labels.append(i % 2 * 5 + 5 * column // photo.shape[1])
    return np.array(images), np.array(labels, "int32")


def losses_of_torch(twin, images, labels):
    optimizer = torch.optim.SGD(
        twin.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=1e-2
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    loss_function = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    losses = []
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        x = torch.from_numpy(images[batch].transpose(0, 3, 1, 2).astype("float32"))
        loss = loss_function(twin((x - 127.5) / 64), torch.from_numpy(labels[batch]).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


class BatchLosses(keras.callbacks.Callback):
    """The loss of each batch; Keras' logs hold the mean of an epoch's batches so far."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.losses, self.stop_after = [], stop_after

    def on_train_batch_end(self, batch, logs=None):
        epoch = self.losses[len(self.losses) - batch :]
        self.losses.append((batch + 1) * logs["loss"] - sum(epoch))
        self.model.stop_training = len(self.losses) == self.stop_after


def test_20_steps_of_resnet_lc_equal_two_convolution_blocks_in_torch(images_and_labels):
    images, labels = images_and_labels
    model = keras_lc.ResNetLC(
        depth=8, width=8, expansion=2, seed=1, mean=127.5, std=64, augmentation=None
    )
    twin = torch_twin.ResNetLC(depth=8, width=8, expansion=2)
    twin.copy_weights(model)
    expected = losses_of_torch(twin, images, labels)
    model.recipe = dataclasses.replace(model.recipe, learning_rate=LEARNING_RATE)
    record = BatchLosses()
    model.fit(images, labels, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[record])
    np.testing.assert_allclose(record.losses[:2], expected[:2], rtol=5e-6)
    np.testing.assert_allclose(record.losses, expected, rtol=2e-4)
    assert expected[-1] < expected[0] - 0.1  # it has learned something, so the steps did matter


# The mean of the three backends, which lie within 2.3e-4 of each other.
FIRST_50_LOSSES = """
2.31406 2.29855 2.29388 2.29612 2.30691 2.31931 2.30620 2.30275 2.29015 2.27947
2.29498 2.27640 2.27016 2.29247 2.27482 2.26173 2.29338 2.25478 2.23499 2.26830
2.24297 2.26497 2.23975 2.25985 2.25986 2.26842 2.23983 2.23844 2.24709 2.21608
2.24087 2.23570 2.23653 2.26441 2.20012 2.22365 2.22386 2.22136 2.22230 2.23036
2.25478 2.21216 2.25653 2.21746 2.23980 2.22494 2.26969 2.22375 2.23311 2.24725
"""


def test_first_50_losses_on_digits_are_those_of_the_other_backends():
    """From the seed alone: filters, initial weights, batches, crops and flips."""
    digits = keras_lc.data.load("digits", progress=False)
    model = keras_lc.ResNetLC(depth=8, width=8, expansion=8, input_shape=digits.image_shape, seed=5)
    model.recipe = dataclasses.replace(model.recipe, learning_rate=LEARNING_RATE)
    record = BatchLosses(stop_after=50)
    model.fit(
        digits.x_train, digits.y_train, batch_size=128, epochs=5, verbose=0, callbacks=[record]
    )
    expected = np.array(FIRST_50_LOSSES.split(), "float64")
    np.testing.assert_allclose(record.losses, expected, atol=1e-3)
