import keras
import numpy as np
import pytest
import torch

from keras_lc.training import SmoothedCrossentropy

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
def test_equals_torchs(labels, smoothing):
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
