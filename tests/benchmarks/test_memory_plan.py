"""The arithmetic of `benchmarks.memory_plan`, on a network small enough for a hand."""

import json

import keras
import numpy as np
import pytest

from benchmarks import memory_plan, networks
from benchmarks.memory_plan import FORMS, training_memory

pytestmark = pytest.mark.once

BATCH = 2
DENSE = 4 * 10 + 10
#: Bytes of a float32 feature map of the network below: 4 bytes · 2 images · pixels · channels.
NORMALIZED, MAP = 4 * 2 * 8 * 8 * 3, 4 * 2 * 8 * 8 * 4


@pytest.fixture(scope="module")
def plain():
    """Two convolutions of 4 filters; kernels of 3·9·4 = 108 and 4·9·4 = 144 numbers."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Normalization(mean=0, variance=1)(inputs)
    for i in range(2):
        x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = keras.layers.ReLU(name=f"relu{i}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="classifier")(x))


@pytest.mark.parametrize(
    ("name", "trained", "frozen"),
    [
        ("plain", 108 + 144, 0),
        # A basis of 4 · 2 = 8 filters and 8 · 4 numbers that mix them, per layer.
        ("full-x2", 2 * 32, 27 * 8 + 36 * 8),
        ("learnable-x2", 2 * 32 + 27 * 8 + 36 * 8, 0),
        ("two-layer-x2", 2 * 32, 27 * 8 + 36 * 8),
        ("two-layer-learnable-x2", 2 * 32 + 27 * 8 + 36 * 8, 0),
        # 40 filters, of which 27 and 36 suffice.
        ("compact-x10", 27 * 4 + 36 * 4, 27 * 27 + 36 * 36),
    ],
)
def test_state_is_that_of_the_variables(name, trained, frozen, plain):
    plan = training_memory(plain, name, BATCH, slots=2)
    assert plan["parameters"] == plan["gradients"] == 4 * (trained + DENSE)
    assert plan["frozen"] == 4 * frozen
    assert plan["optimizer"] == 2 * plan["parameters"]


def test_feature_maps_are_those_that_gradients_need(plain):
    """What each convolution and the linear layer see; what each ReLU gave."""
    pooled = 4 * 2 * 4
    plan = training_memory(plain, "plain", BATCH)
    assert plan["activations"] == NORMALIZED + 2 * MAP + pooled
    half = training_memory(plain, "plain", BATCH, activation_bytes=2)
    assert half["activations"] == plan["activations"] / 2


def test_full_form_holds_the_product_and_two_layers_a_wide_map(plain):
    one, full, two = (
        training_memory(plain, name, BATCH)["activations"]
        for name in ("plain", "full-x16", "two-layer-x16")
    )
    assert full - one == 4 * (108 + 144)
    assert two - one == 2 * 16 * MAP


@pytest.mark.parametrize(
    "name", ["plain", "full-x4", "learnable-x4", "compact-x16", "two-layer-x4"]
)
@pytest.mark.parametrize("network", ["cifar", "resnet"])
def test_state_is_that_of_the_networks_that_are_measured(name, network):
    depth, width = (8, 4) if network == "cifar" else (18, 4)
    plain, real = (
        networks.make(form, depth, width, 32, network, "d" if network == "resnet" else None)
        for form in ("plain", name)
    )
    plan = training_memory(plain, name, BATCH)
    for key, variables in (
        ("parameters", real.trainable_weights),
        ("frozen", real.non_trainable_weights),
    ):
        assert plan[key] == 4 * sum(int(np.prod(v.shape)) for v in variables), key


@pytest.mark.parametrize("name", ["plain-x2", "full", "wide-x2"])
def test_unknown_names_are_refused(name, plain):
    with pytest.raises(ValueError, match=name):
        training_memory(plain, name, BATCH)


def test_depthwise_spatial_layers_count_as_they_are():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.DepthwiseConv2D(3, use_bias=False)(inputs)
    plain = keras.Model(inputs, keras.layers.Conv2D(4, 1, use_bias=False)(x))
    assert training_memory(plain, "full-x8", BATCH)["parameters"] == 4 * (9 * 4 + 16)


def test_command_writes_what_fits(tmp_path):
    arguments = memory_plan.Arguments(
        network="cifar", depth=8, width=4, image_size=32, expansions=(128,), batch_sizes=(2, 4),
        device_memory_gib=0.004, output=tmp_path,
    )  # fmt: skip
    memory_plan.main(arguments)
    (path,) = tmp_path.iterdir()
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) == 2 * len(FORMS)
    assert rows["plain, batch 2"]["fits"] and not rows["two-layer-x128, batch 4"]["fits"]
