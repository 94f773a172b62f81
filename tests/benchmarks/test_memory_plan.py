"""The arithmetic of `benchmarks.memory_plan`, on a network small enough for a hand."""

import json

import keras
import numpy as np
import pytest

from benchmarks import memory_plan, networks
from benchmarks.memory_plan import training_memory

pytestmark = pytest.mark.once

BATCH = 2
#: Bytes of a float32 feature map of the network below: 4 bytes · 2 images · pixels · channels.
IMAGE, NORMALIZED, MAP = 2 * 8 * 8 * 3, 4 * 2 * 8 * 8 * 3, 4 * 2 * 8 * 8 * 4


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


DENSE = 4 * 10 + 10
#: Each kernel turned, and its gradient.
COPIES = 2 * 4 * (108 + 144)


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
def test_variables(name, trained, frozen, plain):
    plan = training_memory(plain, name, BATCH, slots=2)
    assert plan["parameters"] == plan["gradients"] == 4 * (trained + DENSE)
    assert plan["frozen"] == 4 * frozen
    assert plan["optimizer"] == 2 * plan["parameters"]


def test_kept_feature_maps(plain):
    """The images; what each convolution and the linear layer see; what each ReLU gave."""
    plan = training_memory(plain, "plain", BATCH)
    pooled, logits = 4 * 2 * 4, 4 * 2 * 10
    assert plan["activations"] == IMAGE + NORMALIZED + 2 * MAP + pooled + logits


def test_peak_is_where_the_last_relu_goes_back(plain):
    """Between the gradients of its output and of its input, with all that is still kept."""
    logits = 4 * 2 * 10
    moment = IMAGE + NORMALIZED + 2 * MAP + logits + 2 * MAP
    state = 4 * 2 * (108 + 144 + DENSE)
    assert training_memory(plain, "plain", BATCH)["peak"] == state + moment + COPIES


def test_product_of_basis_and_combination_is_held(plain):
    assert training_memory(plain, "plain", BATCH)["workspace"] == COPIES
    full = training_memory(plain, "full-x64", BATCH)["workspace"]
    assert full == 4 * (108 + 144) + COPIES


def test_two_layer_form_keeps_wide_feature_maps(plain):
    one, two = (training_memory(plain, f"{form}-x16", BATCH) for form in ("full", "two-layer"))
    assert two["activations"] - one["activations"] == 2 * 16 * MAP


def test_half_precision_halves_feature_maps_and_rounds_kernels(plain):
    half = training_memory(plain, "plain", BATCH, activation_bytes=2)
    full = training_memory(plain, "plain", BATCH)
    assert half["activations"] - IMAGE == (full["activations"] - IMAGE) / 2
    assert half["workspace"] == 2 * (108 + 144) + COPIES


def test_eager_step_keeps_each_convolutions_input_once_more(plain):
    plan, fused = (training_memory(plain, "plain", BATCH, eager=eager) for eager in (True, False))
    assert plan["activations"] - fused["activations"] == NORMALIZED + MAP


def test_eager_step_holds_what_every_layer_returned_until_the_last_one_did(plain):
    maps = IMAGE + NORMALIZED + 4 * MAP + 4 * 2 * (4 + 10)
    kept_besides = NORMALIZED + MAP
    # Without Nesterov's copies and those of kernels, which are larger than such small maps.
    plan = training_memory(plain, "plain", BATCH, eager=True, kernel_copies=0)
    assert plan["peak"] == 2 * plan["parameters"] + maps + kept_besides


def test_eager_step_keeps_what_pytorch_saves():
    """Within 10 %: what autograd keeps of a network's forward pass, kernels apart."""
    if keras.backend.backend() != "torch":
        pytest.skip("asks PyTorch's autograd")
    import torch

    model = networks.make("plain", 8, 8, 32)
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand(32, 32, 32, 3), training=True)
    maps = [t.untyped_storage().nbytes() for t in saved.values() if 32 in t.shape[:1]]
    plan = training_memory(model, "plain", 32, eager=True)["activations"]
    np.testing.assert_allclose(sum(maps), plan, rtol=0.1)


def test_update_with_copies_of_all_gradients_can_be_the_peak(plain):
    plan = training_memory(plain, "learnable-x999", BATCH, copies=2)
    assert plan["peak"] == 2 * plan["parameters"] + 3 * plan["gradients"]


@pytest.mark.parametrize(
    "name", ["plain", "full-x4", "learnable-x4", "compact-x16", "two-layer-x4"]
)
@pytest.mark.parametrize("network", ["cifar", "resnet"])
def test_variables_are_those_of_the_network(name, network):
    """As built by the networks that the benchmark measures."""
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
    assert len(rows) == 2 * 6
    assert rows["plain, batch 2"]["fits"] and not rows["two-layer-x128, batch 4"]["fits"]
