"""Weights of PyTorch's networks, by name; the logits are compared with the builders' tests."""

import keras
import numpy as np
import pytest
import torch

import keras_lc
from keras_lc import spatial
from tests import oracles
from tests.models import torch_resnet

pytestmark = pytest.mark.large


def small(depth=18, spatial="learned", **arguments):
    defaults = {"width": 4, "classes": 10, "input_shape": (32, 32, 3), "seed": 1}
    return keras_lc.ResNet(depth, spatial=spatial, **{**defaults, **arguments})


def twin(pf=None, deep=False):
    """A narrow ResNet-18, or ResNet-50 of PfLayer's, with running statistics that are not 0."""
    block = torch_resnet.Bottleneck if pf else torch_resnet.BasicBlock
    layers = (3, 4, 6, 3) if pf else (2, 2, 2, 2)
    torch.manual_seed(0)
    module = torch_resnet.ResNet(block, layers, width=4, classes=10, pf=pf, deep=deep)
    for name, value in module.named_buffers():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) + ("var" in name))
    return module.state_dict()


@pytest.fixture(scope="module")
def state():
    return twin()


def numbers(model):
    return [oracles.numpy(weight) for weight in model.weights]


def assert_equal(model, expected):
    for got, want in zip(numbers(model), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_kernels_vectors_and_matrices_are_put_into_keras_layout(state):
    model = small()
    keras_lc.load_torch_weights(model, state)
    for layer, weight, torch_name, axes in [
        ("stem_conv", "kernel", "conv1.weight", (2, 3, 1, 0)),
        ("stage3_block1_conv2", "kernel", "layer3.1.conv2.weight", (2, 3, 1, 0)),
        ("stage4_block0_shortcut_conv", "kernel", "layer4.0.downsample.0.weight", (2, 3, 1, 0)),
        ("stage4_block0_shortcut_bn", "beta", "layer4.0.downsample.1.bias", (0,)),
        ("stem_bn", "gamma", "bn1.weight", (0,)),
        ("stage1_block0_bn1", "moving_mean", "layer1.0.bn1.running_mean", (0,)),
        ("stage1_block0_bn1", "moving_variance", "layer1.0.bn1.running_var", (0,)),
        ("classifier", "kernel", "fc.weight", (1, 0)),
        ("classifier", "bias", "fc.bias", (0,)),
    ]:
        got = oracles.numpy(getattr(model.get_layer(layer), weight))
        np.testing.assert_array_equal(got, state[torch_name].numpy().transpose(axes))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {name: value.numpy() for name, value in state.items()},
        lambda state: {"state_dict": state, "epoch": 90},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
        lambda state: {n: v for n, v in state.items() if "num_batches_tracked" not in n},
        lambda state: {name: torch.nn.Parameter(v, False) for name, v in state.items()},
    ],
    ids=["numpy", "checkpoint", "DataParallel", "compiled", "without counters", "parameters"],
)
def test_what_state_dicts_come_in(wrap, state):
    expected, model = small(), small(seed=2)
    keras_lc.load_torch_weights(expected, state)
    keras_lc.load_torch_weights(model, wrap(state))
    assert_equal(model, numbers(expected))


def test_bfloat16_tensors_load(state):
    model = small()
    keras_lc.load_torch_weights(model, {n: v.to(torch.bfloat16) for n, v in state.items()})
    got = oracles.numpy(model.get_layer("classifier").bias)
    np.testing.assert_allclose(got, state["fc.bias"].numpy(), rtol=2**-8)


@pytest.mark.parametrize("operator", ["max", "hybrid"])
def test_pools_load_from_pflayers_names_and_from_torchvisions(operator):
    state = twin(pf=operator)
    renamed = {}
    for name, value in state.items():
        for theirs, torchvisions in (
            ("reduction_block.0", "conv1"), ("reduction_block.1", "bn1"),
            ("conv_block.1.0", "conv2"), ("conv_block.1.1", "bn2"),
            ("expansion_block.0", "conv3"), ("expansion_block.1", "bn3"),
        ):  # fmt: skip
            name = name.replace(theirs, torchvisions)
        if name.startswith("conv1."):
            name = name.replace("conv1.0", "conv1").replace("conv1.1", "bn1")
        renamed[name] = value
    assert "conv1.weight" in renamed and "layer2.0.conv3.weight" in renamed
    first, second = (small(50, operator, seed=seed) for seed in (1, 2))
    keras_lc.load_torch_weights(first, state)
    keras_lc.load_torch_weights(second, renamed)
    assert_equal(second, numbers(first))


def test_pflayers_own_resnet_50_loads():
    state = twin(pf="learned")
    model = small(50)
    keras_lc.load_torch_weights(model, state)
    got = oracles.numpy(model.get_layer("stage2_block0_conv2").kernel)
    expected = state["layer2.0.conv_block.0.weight"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(got, expected)


def test_frozen_filters_are_loaded_stay_frozen_and_are_saved(state, tmp_path):
    model = small(spatial="frozen")
    keras_lc.load_torch_weights(model, state)
    layer = model.get_layer("stage1_block0_conv1")
    expected = state["layer1.0.conv1.weight"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(oracles.numpy(layer.kernel), expected)
    assert layer.trainable_variables == []
    model.save(tmp_path / "model.keras")
    assert_equal(keras.saving.load_model(tmp_path / "model.keras"), numbers(model))


def test_a_loaded_network_becomes_one_of_lc_layers(state):
    model = small()
    keras_lc.load_torch_weights(model, state)
    converted = keras_lc.to_lc(model, 37, keep_kernels=True)
    kernel = oracles.numpy(converted.get_layer("stem_conv").kernel)
    oracles.assert_close(kernel, state["conv1.weight"].numpy().transpose(2, 3, 1, 0), "float16")


def without(*names):
    return lambda state: {name: v for name, v in state.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("fc.bias"), r"torchvision's ResNet of model 'mine'.* Missing: fc\.bias\.$"),
        (lambda s: s | {"fc2.bias": s["fc.bias"]}, r"Unexpected: fc2\.bias\.$"),
        (
            lambda s: s | {"fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)},
            r"Of another shape: fc\.weight \(1000, 32\) where \(10, 32\) is needed, fc\.bias",
        ),
        (
            lambda s: without("bn1.weight", "bn1.bias")(s) | {"x": s["fc.bias"]},
            r"Missing: bn1\.weight, bn1\.bias\. Unexpected: x\.$",
        ),
        (lambda s: {}, r"Missing: conv1\.weight, .*fc\.bias\.$"),
    ],
)
def test_a_model_is_left_as_it_was_where_anything_does_not_fit(change, message, state):
    model = small(name="mine")
    before = numbers(model)
    with pytest.raises(ValueError, match=message):
        keras_lc.load_torch_weights(model, change(state))
    assert_equal(model, before)


def test_a_deep_stem_is_missed_by_its_names(state):
    with pytest.raises(ValueError, match=r"timm's ResNet-D.* Missing: conv1\.0\.weight.*"):
        keras_lc.load_torch_weights(small(variant="d"), state)


@pytest.mark.parametrize("between", [None, "bn"])
def test_lc_layers_are_refused_with_the_way_there(between, state):
    model = small(spatial=spatial.LC(expansion=2, between=between))
    with pytest.raises(ValueError, match=r"stem_conv, .*to_lc\(model, .*keep_kernels=True\)"):
        keras_lc.load_torch_weights(model, state)


def test_learning_rates_of_lc_are_refused_too(state):
    with pytest.raises(ValueError, match="layers whose kernels are products: stem_conv"):
        keras_lc.load_torch_weights(small(spatial="gram_limit"), state)


def test_other_models_have_no_counterpart(state):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="mine")])
    with pytest.raises(ValueError, match=r"Only the networks of `keras_lc.models`.*: mine\."):
        keras_lc.load_torch_weights(model, state)


@pytest.mark.parametrize("value", [None, [1], {"state_dict": {"a": 3}}, {"a": "b"}])
def test_what_is_no_state_dict_is_refused(value):
    with pytest.raises(TypeError, match=r"`state_dict` must map names to .*Received: "):
        keras_lc.load_torch_weights(small(), value)
