"""Weights of PyTorch's networks, by name; the logits are compared with the builders' tests."""

import json

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
        (without("bn1.bias"), r"model 'mine' as torchvision's ResNet.* Missing: bn1\.bias\.$"),
        (lambda s: s | {"bn1.x": s["fc.bias"]}, r"Unexpected: bn1\.x\.$"),
        (
            lambda s: s | {"fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)},
            r"Of another shape: fc\.weight \(1000, 32\) where \(10, 32\) is needed, fc\.bias",
        ),
        (
            lambda s: without("bn1.weight", "bn1.bias")(s) | {"x": s["fc.bias"]},
            r"Missing: bn1\.weight, bn1\.bias\. Unexpected: x\.$",
        ),
        (lambda s: {}, r"Missing: conv1\.weight, .*, and 97 more\.$"),
    ],
)
def test_a_model_is_left_as_it_was_where_anything_does_not_fit(change, message, state):
    model = small(name="mine")
    before = numbers(model)
    with pytest.raises(ValueError, match=message):
        keras_lc.load_torch_weights(model, change(state))
    assert_equal(model, before)


@pytest.mark.parametrize(
    ("wrap", "keys"),
    [
        (lambda s, o: {"model": o, "model_ema": s}, ("'model', 'model_ema'", "model_ema")),
        (lambda s, o: {"state_dict": s, "state_dict_ema": o}, ("'state_dict', ", "state_dict")),
        (lambda s, o: {"net": o, "ema": {"state_dict": s}}, ("'ema.state_dict'", "ema.state_dict")),
    ],
    ids=["torchvision", "timm", "nested"],
)
def test_of_several_state_dicts_one_is_chosen(wrap, keys, state):
    listed, key = keys
    expected, model = small(), small(seed=2)
    keras_lc.load_torch_weights(expected, state)
    before = numbers(model)
    checkpoint = wrap(state, {name: value + 1 for name, value in state.items()})
    with pytest.raises(ValueError, match=rf"several state dicts: .*{listed}.* as `key`"):
        keras_lc.load_torch_weights(model, checkpoint)
    with pytest.raises(ValueError, match=rf"`key` must name.*{listed}.*Received: 'mine'"):
        keras_lc.load_torch_weights(model, checkpoint, key="mine")
    assert_equal(model, before)
    keras_lc.load_torch_weights(model, checkpoint, key=key)
    assert_equal(model, numbers(expected))


def test_an_optimizer_is_no_second_state_dict(state):
    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    by_name = {"state": {"fc.weight": {"exp_avg": torch.ones(2)}}}
    checkpoint = {"model": state, "optimizer": optimizer.state_dict(), "sharded": by_name}
    expected, model = small(), small(seed=2)
    keras_lc.load_torch_weights(expected, state)
    keras_lc.load_torch_weights(model, {**checkpoint, "epoch": 3, "criterion": {}})
    assert_equal(model, numbers(expected))


@pytest.mark.parametrize("prefix", ["net.", "backbone.", "model.", "a.b."])
@pytest.mark.parametrize("strays", [False, True])
def test_a_prefix_is_named_with_the_argument_that_removes_it(prefix, strays, state):
    expected, model = small(), small(seed=2)
    keras_lc.load_torch_weights(expected, state)
    given = {prefix + name: value for name, value in state.items()}
    if strays:
        given["criterion.weight"] = torch.ones(3)
    if prefix != "model." or strays:
        with pytest.raises(ValueError, match=rf" Pass `prefix='{prefix}'` to take the names"):
            keras_lc.load_torch_weights(model, given)
    keras_lc.load_torch_weights(model, {"state_dict": given}, prefix=prefix.rstrip("."))
    assert_equal(model, numbers(expected))


def test_a_prefix_that_no_name_has_is_refused(state):
    with pytest.raises(ValueError, match=r"No name begins with prefix='net\.'\. There are conv1\."):
        keras_lc.load_torch_weights(small(), state, prefix="net.")


def no_head(state):
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


@pytest.mark.parametrize(
    "change",
    [
        no_head,
        lambda s: s | {"fc.weight": torch.zeros(1000, 32), "fc.bias": torch.zeros(1000)},
        lambda s: no_head(s) | {"head.0.weight": torch.zeros(7, 32)},
        lambda s: no_head(s) | {"fc.1.weight": torch.zeros(7, 32), "fc.3.bias": torch.zeros(7)},
    ],
    ids=["none", "other classes", "other name", "deeper"],
)
def test_weights_without_or_with_another_head_load_without_it(change, state):
    expected, model = small(), small(seed=2)
    keras_lc.load_torch_weights(expected, state)
    with pytest.raises(ValueError, match=r"Pass `head=False` to load all but the head\.$"):
        keras_lc.load_torch_weights(model, change(state))
    head = [oracles.numpy(weight) for weight in model.get_layer("classifier").weights]
    keras_lc.load_torch_weights(model, change(state), head=False)
    assert_equal(model, [*numbers(expected)[: -len(head)], *head])


def test_without_its_head_all_else_must_fit(state):
    for change in (without("bn1.bias"), lambda s: s | {"bn1.x": s["fc.bias"]}):
        with pytest.raises(ValueError, match=r"(Missing: bn1.bias|Unexpected: bn1.x)\.$"):
            keras_lc.load_torch_weights(small(), change(state), head=False)


def test_a_head_for_other_classes_is_named_with_both_numbers(state):
    other = state | {"fc.weight": torch.zeros(7, 32), "fc.bias": torch.zeros(7)}
    with pytest.raises(ValueError, match=r"weights are for 7 classes, the model for 10\. Pass `he"):
        keras_lc.load_torch_weights(small(), other)


def safetensors(state):
    """The format as https://github.com/huggingface/safetensors describes it."""
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in state.items():
        raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        entry = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
        header[name], data = entry, data + raw
    header = json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_files_of_safetensors_load(dtype, state, tmp_path):
    path = tmp_path / "model.safetensors"
    cast = {n: v.to(dtype) if v.is_floating_point() else v for n, v in state.items()}
    path.write_bytes(safetensors(cast))
    expected, model = small(), small(seed=2)
    keras_lc.load_torch_weights(expected, cast)
    keras_lc.load_torch_weights(model, str(path))
    assert_equal(model, numbers(expected))


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1], lambda b: b[:100], lambda b: b"", lambda b: b + b"x",
        lambda b: b"\xff" * 9,
        lambda b: b.replace(b'"shape": [10]', b'"shape": [11]'), lambda b: b[:8] + b"[]" + b[10:],
        lambda b: b.replace(b'"F32"', b'"F8 "', 1),
    ],
)  # fmt: skip
def test_a_damaged_file_of_safetensors_is_refused(damage, state, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage(safetensors(state)))
    with pytest.raises(ValueError, match=r"model.safetensors is damaged or not a safetensors file"):
        keras_lc.load_torch_weights(small(), path)


def test_files_of_pytorch_load(state, tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": state, "epoch": 3}, path)
    expected, model = small(), small(seed=2)
    keras_lc.load_torch_weights(expected, state)
    keras_lc.load_torch_weights(model, path)
    assert_equal(model, numbers(expected))


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


def test_no_code_of_a_file_is_run(tmp_path):
    torch.save({"model": Bomb()}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model.pth is damaged, or holds other objects than tens"):
        keras_lc.load_torch_weights(small(), tmp_path / "model.pth")


@pytest.mark.parametrize("kept", [0, 100, -10])
def test_a_damaged_file_of_pytorch_is_refused(kept, state, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model.pth is damaged"):
        keras_lc.load_torch_weights(small(), path)


def test_a_missing_file_is_named(tmp_path):
    for name in ("model.pth", "model.safetensors"):
        with pytest.raises(FileNotFoundError, match=name):
            keras_lc.load_torch_weights(small(), tmp_path / name)


def test_a_deep_stem_is_missed_by_its_names(state):
    with pytest.raises(ValueError, match=r"timm's ResNet-D.* Missing: conv1\.0\.weight.*"):
        keras_lc.load_torch_weights(small(variant="d"), state)


@pytest.mark.parametrize("between", [None, "bn"])
def test_lc_layers_are_refused_with_the_way_there(between, state):
    model = small(spatial=spatial.LC(expansion=2, between=between))
    with pytest.raises(ValueError, match=r"stem_conv, .*to_lc\(model, .*keep_kernels=True\)"):
        keras_lc.load_torch_weights(model, state)


def test_learning_rates_of_lc_are_refused_too(state):
    with pytest.raises(ValueError, match=r"layers whose kernels are products.* has: stem_conv"):
        keras_lc.load_torch_weights(small(spatial="gram_limit"), state)


def test_other_models_have_no_counterpart(state):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="mine")])
    with pytest.raises(ValueError, match=r"Only the networks of `keras_lc.models`.*: mine\."):
        keras_lc.load_torch_weights(model, state)


@pytest.mark.parametrize("value", [None, [1], {"state_dict": {"a": 3}}, {"a": "b"}])
def test_what_is_no_state_dict_is_refused(value):
    with pytest.raises(TypeError, match=r"`state_dict` must map names to .*Received: "):
        keras_lc.load_torch_weights(small(), value)
