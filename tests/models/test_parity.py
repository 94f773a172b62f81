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

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append((batch + 1) * logs["loss"] - sum(self.losses))


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
