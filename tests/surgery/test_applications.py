"""Freezing, converting and rating the networks of keras.applications and keras-hub."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.analysis import lc_rate
from keras_lc.layers import FrozenConv2D, FrozenDepthwiseConv2D, LCConv2D
from keras_lc.surgery.spatial_convolutions import is_spatial
from tests import oracles

pytestmark = pytest.mark.large

SHAPE = (32, 32, 3)

# Spatial Conv2D and DepthwiseConv2D layers, stem and downsampling included.
APPLICATIONS = {
    "ResNet50": (1 + 16, 0),
    "MobileNetV2": (1, 17),
    "MobileNetV3Large": (1, 15),
    "EfficientNetB0": (1, 16),
    # Its depthwise convolutions are Conv2D layers of as many groups as channels.
    "ConvNeXtTiny": (4 + 18, 0),
    "DenseNet121": (1 + 58, 0),
}
# JAX takes minutes to make the variables of all of them.
NAMES = ["MobileNetV2"] if keras.backend.backend() == "jax" else list(APPLICATIONS)
# The largest, of no kind of layer that the others don't have.
NAMES = [pytest.param(n, marks=[pytest.mark.long] * (n == "DenseNet121")) for n in NAMES]


def build(name):
    return getattr(keras.applications, name)(
        input_shape=SHAPE, weights=None, classes=10, classifier_activation=None
    )


def spatial_layers(model):
    return [layer for layer in model._flatten_layers() if is_spatial(layer)]


@pytest.mark.parametrize("name", NAMES)
def test_application_is_frozen_converted_and_rated(name):
    model = build(name)
    convolutions, depthwise = APPLICATIONS[name]

    frozen = keras_lc.freeze_spatial(model, seed=0)
    kinds = [type(layer) for layer in spatial_layers(frozen)]
    assert kinds.count(FrozenDepthwiseConv2D) == depthwise
    assert kinds.count(FrozenConv2D) == convolutions == len(kinds) - depthwise
    # All is counted but the spatial filters themselves.
    spatial = _count(layer.basis for layer in spatial_layers(frozen))
    assert _count(frozen.trainable_variables) == _count(model.trainable_variables) - spatial

    converted = keras_lc.to_lc(model, expansion=1, seed=0)
    assert [type(x) for x in spatial_layers(converted)].count(LCConv2D) == convolutions
    assert len(lc_rate(model).layers) == convolutions + depthwise

    if keras.backend.backend() != "jax":  # which compiles each operation of an eager call
        for copy in (frozen, converted):
            assert np.isfinite(oracles.numpy(copy(oracles.images(2, *SHAPE)))).all()


def test_keras_hub_backbone_keeps_its_function_as_lc_layers():
    keras_hub = pytest.importorskip("keras_hub", reason="needs keras-hub")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[16],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="bottleneck_block",
        image_shape=SHAPE,
    )
    rate = lc_rate(backbone)
    assert (len(rate.layers), rate.rate) == (4, 1.0)

    frozen = keras_lc.freeze_spatial(backbone, seed=0)
    assert [type(layer) for layer in spatial_layers(frozen)] == [FrozenConv2D] * 4

    converted = keras_lc.to_lc(backbone, expansion=40, seed=0, keep_kernels=True)
    assert [type(layer) for layer in spatial_layers(converted)] == [LCConv2D] * 4
    x = oracles.images(2, *SHAPE)
    oracles.assert_close(converted(x), oracles.numpy(backbone(x)))


def _count(variables):
    return sum(int(np.prod(tuple(variable.shape))) for variable in variables)
