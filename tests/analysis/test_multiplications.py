"""The number of multiplications, against PyTorch's own counter."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.analysis import count_multiplications

NETWORKS = {
    "bottlenecks": lambda: keras_lc.ResNet(50, input_shape=(64, 64, 3)),
    "max": lambda: keras_lc.ResNet(50, spatial="max", input_shape=(64, 64, 3)),
    "hybrid": lambda: keras_lc.ResNet(50, spatial="hybrid", input_shape=(64, 64, 3)),
    "channels first": lambda: keras_lc.CIFARResNet(
        depth=8, input_shape=(3, 32, 32), data_format="channels_first"
    ),
    "depthwise": lambda: keras_lc.MobileNetV2(input_shape=(64, 64, 3)),
    "attention": lambda: keras_lc.ViT("tiny", input_shape=(64, 64, 3)),
    "attention and pools": lambda: keras_lc.PiT("tiny", spatial="max", input_shape=(64, 64, 3)),
    "random filters": lambda: keras_lc.CIFARResNet(depth=8, spatial="frozen"),
    "layers between": lambda: keras_lc.CIFARResNet(
        depth=8, spatial=keras_lc.spatial.LC(2, between="relu")
    ),
    "groups": lambda: of_layer(keras.layers.Conv2D(8, 3, strides=2, groups=4)),
    "transposed": lambda: of_layer(keras.layers.Conv2DTranspose(6, 3, strides=2)),
    "model in a model": lambda: of_layer(keras.Sequential([keras.layers.Conv2D(8, 3)])),
}


def of_layer(layer):
    return keras.Sequential([keras.Input((8, 8, 4)), layer])


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the counter is PyTorch's")
@pytest.mark.parametrize("name", NETWORKS)
def test_it_counts_what_pytorch_counts(name):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model = NETWORKS[name]()
    counter = FlopCounterMode(display=False)
    # It knows no multiplications of the fused attention on a CPU.
    with counter, sdpa_kernel(SDPBackend.MATH):
        model(np.zeros((1, *model.input_shape[1:]), "float32"), training=False)
    # PyTorch counts a multiplication and an addition as two.
    assert 2 * count_multiplications(model) == counter.get_total_flops()


@pytest.mark.once
def test_an_lc_network_counts_as_the_network_it_folds_to():
    model = keras_lc.ResNetLC(depth=8, expansion=4)
    assert count_multiplications(model) == count_multiplications(keras_lc.fold(model))


@pytest.mark.once
@pytest.mark.parametrize(
    "model, message",
    [
        (keras.Sequential([keras.layers.Dense(2)]), "functional"),
        (keras.Sequential([keras.Input((None, 8, 3)), keras.layers.Conv2D(2, 3)]), "known size"),
        (of_layer(keras.layers.SeparableConv2D(4, 3)), "not known"),
    ],
)
def test_what_it_cannot_count_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        count_multiplications(model)
