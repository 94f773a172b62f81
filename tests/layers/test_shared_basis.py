"""One tensor of random numbers serves all layers of a network."""

import pickle
import re

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import LCConv2D
from keras_lc.bases.random_numbers import symmetric_uniform
from keras_lc.layers import SharedBasis
from keras_lc.layers.initializers import fan_in_uniform
from tests import oracles
from tests.layer_test_case import LayerTestCase

SHAPE = (2, 9, 8, 4)
#: 9 · 4 · 6 · 5 numbers: what `make` needs.
NEEDED = 1080


def make(shared=None, **arguments):
    init = {"filters": 6, "kernel_size": 3, "expansion": 5, "seed": 1, **arguments}
    layer = LCConv2D(**init, shared_basis=shared or SharedBasis(NEEDED, seed=7))
    layer.build(SHAPE)
    return layer


def network(seed=1, **arguments):
    return keras_lc.ResNetLC(depth=8, width=4, shared_basis=True, seed=seed, **arguments)


def tensors(model):
    """The shared tensors of a model."""
    return [weight for weight in model.weights if weight.name == "numbers"]


def images():
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("uint8")


def predict(model):
    return model.predict(images(), verbose=0)


class SharedBasisTest(LayerTestCase):
    def test_keras_contract(self):
        self.run_layer_test(
            LCConv2D,
            {
                "filters": 5,
                "kernel_size": 3,
                "expansion": 2,
                "seed": 1,
                "shared_basis": SharedBasis(400, seed=2),
            },
            input_shape=(2, 6, 7, 4),
            expected_output_shape=(2, 4, 5, 5),
            expected_num_trainable_weights=2,
            expected_num_non_trainable_weights=1,
        )


class TestSlice:
    @pytest.mark.parametrize("groups", [1, 2])
    def test_basis_is_the_first_numbers_scaled_by_the_fan_in(self, groups):
        layer = make(SharedBasis(2000, seed=7), groups=groups)
        shape = (3, 3, 4 // groups, 30)
        numbers = symmetric_uniform(7, (2000,))[: np.prod(shape)].reshape(shape)
        scale = np.float32(1 / np.sqrt(9 * 4 / groups))
        np.testing.assert_array_equal(oracles.numpy(layer.basis), numbers * scale)

    def test_filters_are_those_of_a_layer_of_that_seed_alone(self):
        expected = fan_in_uniform(7, (3, 3, 4, 30))
        np.testing.assert_array_equal(make().random_filters(), expected)

    @pytest.mark.parametrize("groups", [1, 2])
    def test_outputs_equal_two_convolutions_in_numpy(self, groups):
        layer = make(groups=groups)
        x = oracles.images(*SHAPE)
        expected = oracles.lc_conv2d(
            x, oracles.numpy(layer.basis), oracles.numpy(layer.combination), groups=groups
        )
        oracles.assert_close(layer(x), expected)

    def test_initial_combination_is_that_of_an_unshared_layer(self):
        alone = LCConv2D(6, 3, expansion=5, seed=1)
        alone.build(SHAPE)
        np.testing.assert_array_equal(
            oracles.numpy(make().combination), oracles.numpy(alone.combination)
        )


class TestNetwork:
    @pytest.mark.once
    def test_needs_as_many_random_numbers_as_the_largest_layer(self):
        (tensor,) = tensors(network(expansion=4))
        assert tensor.shape == (9 * 16 * 16 * 4,)

    @pytest.mark.once
    def test_trains_what_the_unshared_network_trains(self):
        unshared = keras_lc.ResNetLC(depth=8, width=4, seed=1)
        assert [weight.path for weight in network().trainable_weights] == [
            weight.path for weight in unshared.trainable_weights
        ]

    @pytest.mark.once
    def test_summary_counts_the_tensor_once(self):
        lines = []
        model = network(expansion=4)
        model.summary(print_fn=lines.append)
        frozen = int(
            re.search(r"Non-trainable params: ([\d,]+)", "\n".join(lines))[1].replace(",", "")
        )
        statistics = sum(w.shape[0] for w in model.weights if "moving" in w.name)
        assert frozen == 9 * 16 * 16 * 4 + statistics

    @pytest.mark.once
    def test_two_networks_have_a_tensor_each(self):
        assert tensors(network())[0] is not tensors(network())[0]

    def test_training_does_not_change_the_tensor(self):
        model = network()
        before = oracles.numpy(tensors(model)[0]).copy()
        model.trainable = True
        model.fit(images(), np.arange(4), verbose=0)
        np.testing.assert_array_equal(oracles.numpy(tensors(model)[0]), before)

    def test_fold_gives_the_plain_network(self):
        model = network(expansion=3)
        folded = keras_lc.fold(model)
        oracles.assert_close(predict(folded), predict(model))
        assert not tensors(folded)

    @pytest.mark.once
    @pytest.mark.parametrize("make_compact", ["argument", "to_compact"])
    def test_compact_form_computes_the_same(self, make_compact):
        model = network(expansion=16)
        if make_compact == "argument":
            compact = network(expansion=16, compact=True)
        else:
            compact = keras_lc.to_compact(model)
        oracles.assert_close(predict(compact), predict(model))
        assert not tensors(compact)  # all layers hold their factor

    @pytest.mark.once
    def test_compact_form_shares_what_it_does_not_factor(self):
        compact = keras_lc.to_compact(network(expansion=8))
        factored = {layer.is_factored for layer in compact.layers if type(layer) is LCConv2D}
        assert factored == {True, False} and len(tensors(compact)) == 1


class TestCopies:
    @pytest.mark.parametrize("way", ["keras", "weights", "clone", "config", "pickle", "replace"])
    def test_give_equal_outputs_and_share_one_tensor_of_their_own(self, way, tmp_path):
        model = network(expansion=2)
        for number, variable in enumerate(model.trainable_weights):
            variable.assign(variable + 0.01 * oracles.images(*variable.shape, seed=number))
        if way == "keras":
            model.save(tmp_path / "model.keras")
            copy = keras.saving.load_model(tmp_path / "model.keras")
        elif way == "weights":
            model.save_weights(tmp_path / "model.weights.h5")
            copy = network(seed=5, expansion=2)
            copy.load_weights(tmp_path / "model.weights.h5")
        elif way == "clone":
            copy = keras.models.clone_model(model)
            copy.set_weights(model.get_weights())
        elif way == "config":
            copy = type(model).from_config(model.get_config())
            copy.set_weights(model.get_weights())
        elif way == "pickle":
            copy = pickle.loads(pickle.dumps(model))
        else:
            from keras_lc.surgery import replace

            copy = replace(model, lambda layer: None)
        np.testing.assert_array_equal(predict(copy), predict(model))
        assert len(tensors(copy)) == 1
        assert tensors(copy)[0] is not tensors(model)[0]

    def test_branches_share_in_a_copy_too(self):
        inputs = keras.Input(SHAPE[1:])
        shared = SharedBasis(NEEDED, seed=7)
        branches = [
            LCConv2D(6, 3, expansion=5, shared_basis=shared, seed=i)(inputs) for i in range(2)
        ]
        clone = keras.models.clone_model(keras.Model(inputs, keras.layers.Add()(branches)))
        assert len(tensors(clone)) == 1

    def test_nested_models_come_apart_with_the_way_back(self, tmp_path):
        def nested(seed):
            shared = SharedBasis(NEEDED, seed=seed)
            first, second = (LCConv2D(4, 3, shared_basis=shared, seed=i) for i in (1, 2))
            inner = keras.Sequential([keras.Input(SHAPE[1:]), first])
            return keras.Sequential([keras.Input(SHAPE[1:]), inner, second])

        model = nested(seed=7)
        model.save(tmp_path / "model.keras")
        with pytest.raises(ValueError, match="Build the model anew with one `SharedBasis`"):
            keras.saving.load_model(tmp_path / "model.keras")
        anew = nested(seed=8)
        anew.load_weights(tmp_path / "model.keras")
        x = oracles.images(*SHAPE)
        np.testing.assert_array_equal(oracles.numpy(anew(x)), oracles.numpy(model(x)))

    @pytest.mark.once
    def test_layers_of_other_seeds_do_not_share(self):
        layers = [
            LCConv2D(4, 1, shared_basis=SharedBasis(NEEDED, seed=seed), seed=0) for seed in (7, 8)
        ]
        model = keras.Sequential([keras.Input(SHAPE[1:]), *layers])
        assert len(tensors(model)) == 2
        assert len(tensors(keras.models.clone_model(model))) == 2

    def test_explicit_object_is_shared_without_a_graph(self):
        shared = SharedBasis(NEEDED, seed=7)
        first, second = make(shared), make(shared, filters=3)
        assert first.non_trainable_weights[0] is second.non_trainable_weights[0]

    def test_weights_bring_their_seed_into_later_copies(self, tmp_path):
        model = network(expansion=16)
        model.save_weights(tmp_path / "model.weights.h5")
        other = network(seed=5, expansion=16)
        other.load_weights(tmp_path / "model.weights.h5")
        oracles.assert_close(predict(keras_lc.to_compact(other)), predict(model))


class TestFiles:
    def test_hold_the_seed_once_and_no_random_number(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        network(expansion=4).save_weights(tmp_path / "model.weights.h5")
        names = []
        with h5py.File(tmp_path / "model.weights.h5") as file:
            file.visititems(
                lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
            )
        ends = [name.rsplit("/", 1)[1] for name in names]
        assert ends.count("seed") == ends.count("basis_fingerprint") == 1
        assert "basis" not in ends

    def test_hold_a_tensor_set_by_hand(self, tmp_path):
        model = network(expansion=16)
        (tensor,) = tensors(model)
        tensor.assign(oracles.numpy(tensor) * 0.5)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(predict(loaded), predict(model))
        with pytest.raises(ValueError, match="not what its seed gives"):
            keras_lc.to_compact(loaded)

    @pytest.mark.once
    def test_of_another_size_are_refused(self, tmp_path):
        def model(size):
            layer = LCConv2D(6, 3, expansion=5, shared_basis=SharedBasis(size, seed=7), seed=1)
            return keras.Sequential([keras.Input(SHAPE[1:]), layer])

        model(NEEDED).save_weights(tmp_path / "model.weights.h5")
        with pytest.raises(ValueError, match="'shared_basis' cannot be regenerated"):
            model(NEEDED + 1).load_weights(tmp_path / "model.weights.h5")


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SharedBasis(0), ValueError, "`size` must be at least 1.*size=0"),
        (lambda: SharedBasis(8, seed=-1), ValueError, "`seed` must be at least 0.*seed=-1"),
        (lambda: make(SharedBasis(100)), ValueError, "`shared_basis` holds 100 .* needs 1,080"),
        (
            lambda: LCConv2D(4, 3, shared_basis=3),
            TypeError,
            "`shared_basis` must be a .*SharedBasis.*=3",
        ),
        (
            lambda: LCConv2D(4, 3, frozen=False, shared_basis=SharedBasis(8)),
            ValueError,
            "`shared_basis` needs `frozen=True`",
        ),
        (
            lambda: LCConv2D(4, 3, basis_initializer="ones", shared_basis=SharedBasis(8)),
            ValueError,
            "`shared_basis` needs the random filters of a seed",
        ),
        (
            lambda: keras_lc.spatial.LC(shared=True, between="relu"),
            ValueError,
            "`shared` needs .*`between=None`.*'relu'",
        ),
        (
            lambda: keras_lc.spatial.LC(shared=True).layer(4, 0, kernel_size=3),
            ValueError,
            "`shared=True` needs the size of the largest layer",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
