"""Two instances of one network have the same variable names, and can swap their states."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.layers import (
    FrozenDepthwiseConv2D,
    GramLimitConv2D,
    LCBlock,
    SharedBasis,
    StochasticDepth,
)
from tests import oracles

BACKEND = keras.backend.backend()


def network(seed):
    """All layers of ours in one model, the compact one with a basis from a QR factorization."""
    inputs = keras.Input((8, 8, 3), name="images")
    x = keras_lc.RandomCropFlip(1, seed=seed, name="crop")(inputs)
    x = keras_lc.LCConv2D(6, 3, expansion=5, compact=True, seed=seed, name="compact")(x)
    x = StochasticDepth(0.5, seed=seed, name="drop")(x)
    x = keras_lc.FrozenConv2D(4, 1, seed=seed, name="frozen")(x)
    x = LCBlock(4, 1, "bn", seed=seed, name="block")(x)
    x = FrozenDepthwiseConv2D(1, seed=seed, name="depthwise")(x)
    x = GramLimitConv2D(4, 1, seed=seed, name="limit")(x)
    shared = SharedBasis(16, seed=seed)
    x = keras_lc.LCConv2D(4, 1, shared_basis=shared, seed=seed, name="shared")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="dense")(x), name="all")


def classifier(seed):
    arguments = {"width": 4, "expansion": 16, "compact": True, "augmentation": "crop_flip"}
    return keras_lc.ResNetLC(depth=8, seed=seed, **arguments)


def with_state(make, seed):
    """A model that has an optimizer, and values of its own in each variable."""
    model = make(seed)
    if make is network:
        model.compile(keras_lc.training.SGD(0.01, momentum=0.9), "mse")
    else:
        model.recipe.compile(model, steps=4)
    model.optimizer.build(model.trainable_variables)
    for variable in all_variables(model):
        value = 3 * np.random.default_rng(seed).uniform(size=variable.shape) + seed
        variable.assign(value.astype(variable.dtype))
    return model


NETWORKS = pytest.mark.parametrize("make", [network, classifier])


def all_variables(model):
    return [*model.variables, *model.optimizer.variables]


def assert_same_state(actual, expected):
    for a, b in zip(all_variables(actual), all_variables(expected), strict=True):
        np.testing.assert_array_equal(oracles.numpy(a), oracles.numpy(b), err_msg=a.path)


@NETWORKS
def test_each_name_is_unique_and_that_of_the_other_instance(make):
    paths, others = ([v.path for v in all_variables(with_state(make, seed))] for seed in (1, 2))
    assert paths == others
    assert len(set(paths)) == len(paths)


def test_random_layers_name_their_state_as_themselves():
    assert [v.path for v in StochasticDepth(0.1, name="drop").variables] == [
        "drop/seed_generator_state"
    ]


@NETWORKS
def test_a_state_tree_carries_everything_over(make):
    model, other = with_state(make, 1), with_state(make, 2)
    tree = model.get_state_tree(value_format="numpy_array")
    other.set_state_tree(tree)
    assert_same_state(other, model)


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's own state")
class TestTorch:
    @NETWORKS
    def test_a_state_dict_carries_the_model_over(self, make):
        model, other = with_state(make, 1), with_state(make, 2)
        other.load_state_dict(model.state_dict())
        for actual, expected in zip(other.variables, model.variables, strict=True):
            np.testing.assert_array_equal(oracles.numpy(actual), oracles.numpy(expected))

    @NETWORKS
    def test_each_tensor_is_contiguous_as_safetensors_needs_it(self, make):
        model = make(1)
        for copy in (model, keras_lc.to_compact(model), keras_lc.fold(model, batch_norm=True)):
            assert [k for k, v in copy.state_dict().items() if not v.is_contiguous()] == []

    @NETWORKS
    def test_safetensors_carry_the_model_over(self, make, tmp_path):
        torch_files = pytest.importorskip("safetensors.torch")
        model, other = with_state(make, 1), with_state(make, 2)
        torch_files.save_model(model, str(tmp_path / "model.safetensors"))
        torch_files.load_model(other, str(tmp_path / "model.safetensors"))
        for actual, expected in zip(other.variables, model.variables, strict=True):
            np.testing.assert_array_equal(oracles.numpy(actual), oracles.numpy(expected))
