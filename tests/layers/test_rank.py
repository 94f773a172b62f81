"""`rank`: any number of basis filters, also fewer than output channels."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import LCConv2D, spatial
from keras_lc.layers import LCBlock
from tests import oracles

SHAPE = (2, 7, 6, 4)


def make(**arguments):
    layer = LCConv2D(**{"filters": 6, "kernel_size": 3, "seed": 1, **arguments})
    layer.build(SHAPE)
    return layer


def model_of(**arguments):
    layer = LCConv2D(**{"filters": 6, "kernel_size": 3, "seed": 1, "name": "lc", **arguments})
    return keras.Sequential([keras.Input(SHAPE[1:]), layer])


@pytest.mark.parametrize("groups", [1, 2])
def test_outputs_equal_two_convolutions_in_numpy(groups):
    layer = make(rank=4, groups=groups)
    assert layer.basis.shape == (3, 3, 4 // groups, 4)
    assert layer.combination.shape == (4 // groups, 6) and layer.basis_filters == 4
    x = oracles.images(*SHAPE)
    basis, combination = oracles.numpy(layer.basis), oracles.numpy(layer.combination)
    oracles.assert_close(layer(x), oracles.lc_conv2d(x, basis, combination, groups=groups))


@pytest.mark.once
def test_kernel_is_of_low_rank():
    assert np.linalg.matrix_rank(oracles.numpy(make(rank=2).kernel).reshape(36, 6)) == 2


@pytest.mark.once
def test_a_rank_of_filters_times_expansion_is_that_expansion():
    by_rank, by_expansion = make(rank=18), make(expansion=3)
    for actual, expected in zip(by_rank.weights, by_expansion.weights, strict=True):
        np.testing.assert_array_equal(oracles.numpy(actual), oracles.numpy(expected))


@pytest.mark.once
def test_a_low_rank_layer_is_smaller_than_a_plain_one_in_the_summary():
    lines = []
    model_of(rank=2, use_bias=False).summary(print_fn=lines.append)
    assert f"Total params: {36 * 2 + 2 * 6} " in "\n".join(lines)  # a plain one has 216


@pytest.mark.once
def test_files_bring_it_back(tmp_path):
    for arguments in ({"rank": 4}, {"rank": 100, "compact": True}, {"rank": 4, "frozen": False}):
        model, x = model_of(**arguments), oracles.images(*SHAPE)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(oracles.numpy(loaded(x)), oracles.numpy(model(x)))


@pytest.mark.once
def test_compact_form_and_fold_compute_the_same():
    model, x = model_of(rank=100), oracles.images(*SHAPE)
    compact = keras_lc.to_compact(model)
    assert compact.layers[0].is_factored
    oracles.assert_close(compact(x), model(x))
    oracles.assert_close(keras_lc.fold(model_of(rank=3))(x), model_of(rank=3)(x))


@pytest.mark.once
def test_networks_have_it_in_every_layer_and_in_their_name():
    model = keras_lc.ResNetLC(depth=8, width=8, rank=4, seed=1)
    assert model.name == "resnet_lc_8_8r4" and spatial.LC(rank=4).name == "lc_r4"
    layers = [layer for layer in model.layers if isinstance(layer, LCConv2D)]
    assert layers and {layer.basis_filters for layer in layers} == {4}
    shared = keras_lc.ResNetLC(depth=8, width=8, rank=4, shared_basis=True, seed=1)
    (numbers,) = (v for v in shared.weights if v.name == "numbers")
    assert numbers.shape == (9 * 32 * 4,)


@pytest.mark.once
def test_blocks_have_it_too():
    block = LCBlock(6, 3, between="relu", rank=4, seed=1)
    block.build(SHAPE)
    assert block.basis_conv.kernel.shape == (3, 3, 4, 4)
    assert LCBlock.from_config(block.get_config()).basis_conv.filters == 4


@pytest.mark.once
def test_to_lc_takes_it_and_says_which_one_keeps_the_kernels():
    model = keras.Sequential([keras.Input(SHAPE[1:]), keras.layers.Conv2D(6, 3, name="conv")])
    assert keras_lc.to_lc(model, rank=4).layers[0].basis_filters == 4
    match = r"rank=4, too small for conv \(needs 36\). The smallest rank .* is 36"
    with pytest.raises(ValueError, match=match):
        keras_lc.to_lc(model, rank=4, keep_kernels=True)
    kept, x = keras_lc.to_lc(model, rank=40, keep_kernels=True, seed=1), oracles.images(*SHAPE)
    oracles.assert_close(kept(x), model(x))


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make(rank=0), "`rank` must be an integer of at least 1.*rank=0"),
        (lambda: make(rank=2.5), "`rank` must be .*rank=2.5"),
        (lambda: make(rank=4, expansion=2), "give one of the two.*rank=4, expansion=2"),
        (lambda: make(rank=3, groups=2), "`rank` must be divisible by `groups`.*rank=3, groups=2"),
        (lambda: spatial.LC(2, rank=4), "give one of the two"),
        (lambda: LCBlock(6, 3, "relu", rank=0), "`rank` must be .*rank=0"),
        (lambda: keras_lc.ResNetLC(expansion=2, rank=4), "give one of the two"),
    ],
)
def test_bad_ranks_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
