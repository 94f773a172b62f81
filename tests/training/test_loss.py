import keras
import numpy as np
import pytest
import torch

from keras_lc.training import BinarisedCrossentropy, SmoothedCrossentropy

LOGITS = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
LABELS = np.array([0, 1, 2, 3, 4, 0])


def expected(smoothing):
    loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
    return loss(torch.from_numpy(LOGITS), torch.from_numpy(LABELS)).item()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS[:, None], np.eye(5, dtype="float32")[LABELS]],
    ids=["integers", "column", "one-hot"],
)
def test_smoothed_crossentropy_is_that_of_torch(labels, smoothing):
    loss = SmoothedCrossentropy(smoothing)
    np.testing.assert_allclose(float(loss(labels, LOGITS)), expected(smoothing), rtol=1e-5)


def test_takes_probabilities_too():
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    loss = SmoothedCrossentropy(0.1, from_logits=False)
    np.testing.assert_allclose(float(loss(LABELS, probabilities)), expected(0.1), rtol=1e-5)


def test_config_round_trip():
    loss = SmoothedCrossentropy(0.2, from_logits=False)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert (copy.label_smoothing, copy.from_logits) == (0.2, False)


def test_smoothing_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"`label_smoothing` must be between 0 and 1.*1\.5"):
        SmoothedCrossentropy(1.5)


SHARES = np.array(
    [[1, 0, 0, 0, 0], [0, 0.3, 0, 0.7, 0], [0, 0, 0.15, 0, 0.85], [0, 0.2, 0, 0.8, 0]], "float32"
)


@pytest.mark.parametrize(
    ("threshold", "present"),
    [
        (0.0, [[1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 1], [0, 1, 0, 1, 0]]),
        (0.2, [[1, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]),
    ],
)
def test_every_class_above_the_threshold_counts_fully(threshold, present):
    present, logits = np.array(present, float), LOGITS[:4].astype(float)
    probability = 1 / (1 + np.exp(-logits))
    expected = -np.mean(present * np.log(probability) + (1 - present) * np.log(1 - probability))
    loss = BinarisedCrossentropy(threshold)
    np.testing.assert_allclose(float(loss(SHARES, LOGITS[:4])), expected, rtol=1e-5)
    loss = BinarisedCrossentropy(threshold, from_logits=False)
    got = float(loss(SHARES, probability.astype("float32")))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_binarised_config_round_trip():
    loss = BinarisedCrossentropy(0.2, from_logits=False)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert (copy.threshold, copy.from_logits) == (0.2, False)


@pytest.mark.parametrize("threshold", [-0.1, 1.0])
def test_a_threshold_outside_0_to_1_is_refused(threshold):
    with pytest.raises(ValueError, match=f"`threshold` must be at least 0.*{threshold}"):
        BinarisedCrossentropy(threshold)


@pytest.mark.parametrize("labels", [np.array([0, 3, 2, 4]), np.array([[0], [3], [2], [4]])])
def test_integer_labels_are_classes_that_are_fully_present(labels):
    loss = BinarisedCrossentropy(0.2)
    expected = float(loss(np.eye(5, dtype="float32")[labels.ravel()], LOGITS[:4]))
    np.testing.assert_allclose(float(loss(labels, LOGITS[:4])), expected, rtol=1e-6)


@pytest.mark.parametrize("loss", [SmoothedCrossentropy(), BinarisedCrossentropy()])
def test_shares_of_other_classes_are_refused(loss):
    with pytest.raises(ValueError, match=r"shares of the 4 classes.*shape \(2, 3\)"):
        loss(np.eye(3)[:2], np.zeros((2, 4)))
