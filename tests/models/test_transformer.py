"""Vision transformers: their blocks, on narrow networks; what all builders share."""

import keras
import numpy as np
import pytest
import torch

import keras_lc
from keras_lc import spatial
from keras_lc.models.transformer import Plan, Stage, build
from tests import oracles
from tests.models import torch_transformer
from tests.models.torch_networks import pictures

# Width, heads and blocks of each stage.
STAGES = {"vit": [(16, 2, 3)], "pit": [(16, 1, 2), (32, 2, 2)]}
TWINS = {"vit": torch_transformer.ViT, "pit": torch_transformer.PiT}
STRIDES = {"vit": 8, "pit": 4}


def small(family="pit", spatial="max", **arguments):
    plan = Plan(family, "small", 8, STRIDES[family], [Stage(*s) for s in STAGES[family]])
    defaults = dict(
        input_shape=(24, 32, 3), classes=10, include_preprocessing=True, mean=100.0, std=50.0,
        augmentation=None, dropout=0.0, stochastic_depth=0.0, classifier_activation=None,
        data_format="channels_last", seed=1, name=None,
    )  # fmt: skip
    return build(plan, spatial=spatial, **{**defaults, **arguments})


def twin(family="pit", operator="max", size=(24, 32)):
    places = [(side - 8) // STRIDES[family] + 1 for side in size]
    return torch_transformer.as_trained(
        TWINS[family](STAGES[family], 8, STRIDES[family], places, operator == "max", 10)
    )


def images(height=24, width=32):
    return pictures(2, 32)[:, :height, :width]


def torch_logits(module, x):
    with torch.no_grad():
        x = torch.from_numpy(((x - 100.0) / 50.0).transpose(0, 3, 1, 2))
        return module.double()(x).numpy()


def logits(model, x):
    return oracles.numpy(model(x, training=False))


@pytest.mark.parametrize(
    ("family", "operator"),
    [
        ("vit", "learned"),
        ("pit", "max"),
        pytest.param("vit", "max", marks=pytest.mark.once),
        pytest.param("pit", "learned", marks=pytest.mark.once),
    ],
)
def test_weights_of_the_authors_give_their_logits(family, operator):
    module, x = twin(family, operator), images()
    model = small(family, operator)
    keras_lc.load_torch_weights(model, module.state_dict())
    got, expected = logits(model, x), torch_logits(module, x)
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    oracles.assert_close(got, expected)


@pytest.mark.once
@pytest.mark.parametrize("size", [(32, 24), (40, 48)])
def test_weights_of_another_size_of_images_are_resampled_as_pit_does(size):
    module, x = twin(size=(24, 32)), np.tile(images(), (1, 2, 2, 1))[:, : size[0], : size[1]]
    model = small(input_shape=(*size, 3))
    keras_lc.load_torch_weights(model, module.state_dict())
    oracles.assert_close(logits(model, x), torch_logits(module, x))


@pytest.mark.once
def test_a_list_of_positions_is_a_square_map():
    state = twin("vit", size=(32, 32)).state_dict()
    model = small("vit", input_shape=(24, 48, 3))
    keras_lc.load_torch_weights(model, state)
    got = oracles.numpy(model.get_layer("position_embedding").embedding)
    grid = state["pos_embed"].reshape(1, 4, 4, 16).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, (3, 6), mode="bicubic")[0].permute(1, 2, 0)
    oracles.assert_close(got, expected.numpy())
    state["pos_embed"] = torch.zeros(1, 10, 16)
    with pytest.raises(ValueError, match=r"pos_embed \(1, 10, 16\) where \(1, 18, 16\) is needed"):
        keras_lc.load_torch_weights(model, state)


@pytest.mark.once
def test_the_head_alone_is_left_out():
    state = twin().state_dict()
    for name in ("head.weight", "head.bias"):
        del state[name]
    model = small()
    keras_lc.load_torch_weights(model, state, head=False)
    got = oracles.numpy(model.get_layer("stage1_block0_mlp1").kernel)
    expected = state["transformers.0.blocks.0.mlp.fc1.weight"].numpy().T
    np.testing.assert_array_equal(got, expected)


@pytest.mark.once
def test_every_second_block_of_a_stage_pools():
    names = [layer.name for layer in small("vit").layers]
    assert [name for name in names if name.startswith("stage1_block1")] == [
        *("stage1_block1_norm1", "stage1_block1_expand", "stage1_block1_pool"),
        *("stage1_block1_gelu", "stage1_block1_project", "stage1_block1_mix_add"),
        *("stage1_block1_norm2", "stage1_block1_mlp1", "stage1_block1_mlp2"),
        "stage1_block1_mlp_add",
    ]
    attention = [name for name in names if name.endswith("_attention")]
    assert attention == ["stage1_block0_attention", "stage1_block2_attention"]
    names = [layer.name for layer in small("pit").layers]
    assert [n for n in names if n.endswith("_pool")] == ["stage1_block1_pool", "stage2_block1_pool"]


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        pytest.param("frozen", keras_lc.FrozenConv2D, marks=pytest.mark.once),
        (spatial.LC(2), keras_lc.LCConv2D),
    ],
)
def test_other_operators_stand_in_the_spatial_convolutions(operator, kind, tmp_path):
    model = small("pit", operator)
    places = [model.get_layer(name) for name in ("patch_embedding", "stage2_conv")]
    assert [type(layer) for layer in places] == [kind, kind]
    assert all(layer.use_bias for layer in places)
    for layer in places:
        layer.bias.assign(layer.bias + 0.5)
    expected = logits(model, images())
    folded = keras_lc.fold(model)
    assert not any(type(layer).__module__.startswith("keras_lc") for layer in folded.layers)
    oracles.assert_close(logits(folded, images()), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits(loaded, images()), expected)


@pytest.mark.once
def test_one_basis_serves_all_places():
    model = small("pit", spatial.LC(2, shared=True))
    bases = [model.get_layer(name).shared_basis for name in ("patch_embedding", "stage2_conv")]
    assert bases[0] is bases[1]


@pytest.mark.parametrize(
    "policy", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.once)]
)
def test_networks_fit_and_go_on_from_a_file(policy, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small(dropout=0.1)
    finally:
        keras.config.set_dtype_policy(before)
    x, y = np.repeat(images(), 4, axis=0), np.repeat([3, 7], 4)
    # XLA would take longer to compile it than the steps take.
    jit = "auto" if keras.backend.backend() == "jax" else False
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit)
    losses = model.fit(x, y, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits(loaded, x), logits(model, x))
    assert loaded.name == "pit_small_max"


@pytest.mark.once
def test_weights_of_a_file_are_resampled_for_images_of_another_size(tmp_path):
    model, other = small(), small(input_shape=(40, 48, 3))
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    layer = other.get_layer("position_embedding")
    position = oracles.numpy(model.get_layer("position_embedding").embedding)
    oracles.assert_close(layer.embedding, layer.resampled(position))


def test_channels_first_images_give_the_same_logits():
    last, first = small(), small(input_shape=(3, 24, 32), data_format="channels_first")
    x = images()
    oracles.assert_close(logits(first, x.transpose(0, 3, 1, 2)), logits(last, x))


@pytest.mark.once
def test_dropout_and_stochastic_depth_act_in_training_alone():
    plain, dropping = small(), small(dropout=0.5, stochastic_depth=0.5)
    np.testing.assert_array_equal(logits(dropping, images()), logits(plain, images()))
    layers = dropping.layers
    rates = [layer.rate for layer in layers if isinstance(layer, keras_lc.layers.StochasticDepth)]
    # Four blocks of two branches, of which the first stay.
    np.testing.assert_allclose(rates, np.repeat([1 / 6, 1 / 3, 1 / 2], 2))
    assert sum(isinstance(layer, keras.layers.Dropout) for layer in layers) == 1 + 4 * 3
    seen = oracles.numpy(dropping(images(), training=True))
    assert np.abs(seen - logits(dropping, images())).max() > 1e-3


@pytest.mark.once
def test_one_seed_determines_all_weights():
    first, second, other = (small(seed=seed).get_weights() for seed in (5, 5, 6))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != c).any() for a, c in zip(first, other, strict=True))


@pytest.mark.once
def test_queries_keys_and_values_start_apart():
    layer = small("vit").get_layer("stage1_block0_attention")
    projections = (layer.query_dense, layer.key_dense, layer.value_dense)
    kernels = [oracles.numpy(dense.kernel) for dense in projections]
    assert abs(np.corrcoef([kernel.ravel() for kernel in kernels]) - np.eye(3)).max() < 0.3
    assert 0.015 < np.std(kernels) < 0.025


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial": "hybrid"}, r"pass 'max'.*spatial=Hybrid"),
        ({"spatial": spatial.LC(2, between="relu")}, r"`between`.*no bias.*between='relu'"),
        ({"input_shape": (None, None, 3)}, r"known height and width.*\(None, None, 3\)"),
        ({"input_shape": (7, 24, 3)}, r"at least one patch of 8 pixels.*\(7, 24, 3\)"),
        ({"dropout": 1.0}, r"`dropout` must be .*dropout=1\.0"),
        ({"stochastic_depth": -0.1}, r"`stochastic_depth` must be .*-0\.1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
