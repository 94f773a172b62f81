"""A basis of one's own, in all that the paper's has: files, compact and shared layers, networks."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

import keras_lc
from keras_lc import FrozenConv2D, LCConv2D, bases, spatial
from keras_lc.bases.random_numbers import symmetric_uniform
from keras_lc.layers import FrozenDepthwiseConv2D, LCBlock, SharedBasis
from tests import oracles

SHAPE = (2, 7, 6, 4)


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True)
class Stripes(bases.Basis):
    """Filters that are the same in every row: they do not span all kernels."""

    scale: float = 0.2

    def draw(self, seed, shape):
        rows = symmetric_uniform(seed, (1, *shape[1:]))
        return np.broadcast_to(np.float32(self.scale) * rows, shape).copy()


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True)
class Signs(bases.IndependentNumbers):
    def numbers(self, seed, count):
        return np.sign(symmetric_uniform(seed, (count,))) / np.float32(np.sqrt(3))


@dataclasses.dataclass(frozen=True)
class Returns(bases.Basis):
    value: object = None

    def draw(self, seed, shape):
        return self.value(shape)


ALL = {
    "stripes": Stripes(),
    "signs": Signs(),
    "normal": bases.Normal(),
    "orthogonal": bases.Orthogonal(),
    "sparse": bases.Sparse(),
    "dct": bases.DCT(),
    "gabor": bases.Gabor(),
}
each = pytest.mark.parametrize("name", ALL)


def model_of(basis, cls=LCConv2D, seed=3, **arguments):
    arguments = {"expansion": 16, **arguments} if cls is LCConv2D else arguments
    filters = () if cls is FrozenDepthwiseConv2D else (6,)
    layer = cls(*filters, 3, basis_initializer=basis, seed=seed, name="conv", **arguments)
    return keras.Sequential([keras.Input(SHAPE[1:]), layer])


def stored(model):
    store = {}
    model.get_layer("conv").save_own_variables(store)
    return set(store)


class TestFiles:
    @each
    @pytest.mark.parametrize("compact", [False, True])
    def test_hold_the_seed_alone_and_bring_the_basis_back(self, name, compact, tmp_path):
        model = model_of(ALL[name], compact=compact, groups=2)
        assert stored(model) == {"combination", "bias", "seed", "basis_fingerprint"}
        model.save(tmp_path / "model.keras")
        model.save_weights(tmp_path / "model.weights.h5")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        other = model_of(ALL[name], compact=compact, groups=2, seed=4)
        other.load_weights(tmp_path / "model.weights.h5")
        assert loaded.layers[0].basis_initializer == ALL[name]
        x = oracles.images(*SHAPE)
        for copy in (loaded, other):
            np.testing.assert_array_equal(oracles.numpy(copy(x)), oracles.numpy(model(x)))

    @pytest.mark.once
    @pytest.mark.parametrize("cls", [FrozenConv2D, FrozenDepthwiseConv2D])
    def test_of_frozen_layers_hold_the_seed_too(self, cls, tmp_path):
        for name, basis in ALL.items():
            model = model_of(basis, cls)
            assert stored(model) == {"bias", "seed", "basis_fingerprint"}, name
            model.save(tmp_path / "model.keras")
            copy = keras.saving.load_model(tmp_path / "model.keras")
            for actual, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
                np.testing.assert_array_equal(actual, expected)

    @pytest.mark.once
    def test_are_as_large_as_those_of_the_papers_basis(self, tmp_path):
        sizes = {}
        for name, basis in {"uniform": bases.Uniform(), **ALL}.items():
            model = model_of(basis, expansion=64)
            model.save_weights(tmp_path / "model.weights.h5")
            sizes[name] = (tmp_path / "model.weights.h5").stat().st_size
        assert len(set(sizes.values())) == 1, sizes

    @pytest.mark.once
    def test_of_another_basis_are_refused(self, tmp_path):
        model_of(Stripes()).save_weights(tmp_path / "model.weights.h5")
        with pytest.raises(ValueError, match="basis of layer 'conv' cannot be regenerated"):
            model_of(Stripes(scale=0.3)).load_weights(tmp_path / "model.weights.h5")

    @pytest.mark.once
    def test_hold_a_basis_that_was_set_by_hand_or_learned(self):
        for arguments in ({}, {"frozen": False}):
            model = model_of(Stripes(), **arguments)
            assert "basis" not in stored(model)
            layer = model.layers[0]
            layer.basis.assign(oracles.numpy(layer.basis) + 0.1)
            assert "basis" in stored(model)

    @pytest.mark.once
    def test_take_a_factorization_that_differs_in_its_last_bit_for_the_seeds(self):
        layer = model_of(bases.Orthogonal()).layers[0]
        layer.basis.assign(np.nextafter(oracles.numpy(layer.basis), np.float32(1)))
        assert layer.has_seeded_basis()
        layer = model_of(bases.Normal()).layers[0]
        layer.basis.assign(np.nextafter(oracles.numpy(layer.basis), np.float32(1)))
        assert not layer.has_seeded_basis()


class TestCompact:
    @pytest.mark.once  # `test_compact` takes the steps with the paper's basis under every backend.
    @each
    def test_steps_in_float64_give_the_kernel_of_the_full_form(self, name):
        generator = np.random.default_rng(0)
        batches = [(generator.normal(size=SHAPE), generator.normal(size=(2, 5, 4, 6)))] * 10
        with oracles.float64_allowed():
            kernels = []
            for compact in (False, True):
                layer = model_of(ALL[name], compact=compact, dtype="float64").layers[0]
                assert layer.is_factored == compact
                optimizer = keras_lc.training.SGD(0.3, momentum=0.9, weight_decay=0.1)
                start = oracles.numpy(layer.kernel).copy()
                for x, y in batches:
                    _, gradients = oracles.gradients(
                        lambda x, y=y, layer=layer: ops.mean(
                            ops.square(layer(x) - ops.convert_to_tensor(y, "float64"))
                        ),
                        x,
                        layer.trainable_variables,
                    )
                    gradients = [ops.convert_to_tensor(g) for g in gradients]
                    optimizer.apply(gradients, layer.trainable_variables)
                kernels.append(oracles.numpy(layer.kernel))
                assert np.abs(kernels[-1] - start).max() > 0.01
            np.testing.assert_allclose(kernels[1], kernels[0], rtol=0, atol=1e-10)

    @pytest.mark.once
    @each
    def test_to_compact_computes_the_same(self, name):
        model = model_of(ALL[name], groups=2)
        compact = keras_lc.to_compact(model)
        layer, x = compact.layers[0], oracles.images(*SHAPE)
        assert layer.is_factored and layer.has_seeded_basis()
        oracles.assert_close(compact(x), model(x))
        np.testing.assert_array_equal(layer.random_filters(), model.layers[0].random_filters())

    @pytest.mark.once
    def test_factor_of_an_orthogonal_basis_is_a_multiple_of_the_identity(self):
        factor = oracles.numpy(model_of(bases.Orthogonal(), compact=True).layers[0].basis)
        expected = np.sqrt(96 / (3 * 36)) * np.eye(36)
        np.testing.assert_allclose(factor.reshape(36, 36), expected, atol=1e-6)


class TestShared:
    @pytest.mark.once
    @pytest.mark.parametrize("basis", [bases.Normal(), Signs()])
    def test_basis_is_that_of_a_layer_alone(self, basis):
        shared = SharedBasis(4000, seed=7, basis=basis)
        layer = LCConv2D(6, 3, expansion=16, shared_basis=shared)
        layer.build(SHAPE)
        np.testing.assert_allclose(oracles.numpy(layer.basis), basis(7, (3, 3, 4, 96)), rtol=1e-6)

    def test_network_is_saved_and_made_compact(self, tmp_path):
        model = keras_lc.ResNetLC(
            depth=8, width=4, expansion=16, shared_basis=True, basis=Signs(), seed=1
        )
        assert sum(v.name == "numbers" for v in model.weights) == 1
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
        np.testing.assert_array_equal(oracles.numpy(loaded(x)), oracles.numpy(model(x)))
        assert sum(v.name == "numbers" for v in loaded.weights) == 1
        oracles.assert_close(keras_lc.to_compact(loaded)(x), model(x))


class TestBuilders:
    @pytest.mark.once
    def test_networks_have_the_basis_in_every_layer_and_in_their_name(self):
        model = keras_lc.ResNetLC(depth=8, width=4, expansion=2, basis=Stripes(0.5), seed=1)
        assert model.name == "resnet_lc_stripes_scale_0_5_8_4x2"
        layers = [layer for layer in model.layers if isinstance(layer, LCConv2D)]
        assert layers and all(layer.basis_initializer == Stripes(0.5) for layer in layers)
        first, second = (oracles.numpy(layer.basis)[..., :4] for layer in layers[1:3])
        assert (first != second).any()  # of a seed each

    @pytest.mark.once
    def test_the_papers_basis_is_the_default_by_any_name(self):
        plain, named = (
            keras_lc.ResNetLC(depth=8, width=4, seed=1, **arguments)
            for arguments in ({}, {"basis": bases.Uniform()})
        )
        assert plain.get_config() == named.get_config()
        assert spatial.LC(8, basis="uniform") == spatial.LC(8)

    @pytest.mark.once
    def test_operators_name_their_basis(self):
        assert spatial.LC(8, basis="dct").name == "lc_dct_x8"
        assert spatial.LC(8, frozen=False, basis=bases.Sparse(2)).name == (
            "lc_sparse_taps_2_learnable_x8"
        )
        assert spatial.Frozen(basis="gabor").name == "frozen_gabor"

    @pytest.mark.once
    @pytest.mark.parametrize("frozen", [True, False])
    @pytest.mark.parametrize("groups", [1, 2, 4])
    def test_operators_draw_what_the_basis_gives(self, frozen, groups):
        operator = spatial.LC(3, frozen=frozen, between="relu", basis=Stripes(), seed=5)
        inputs = keras.Input((8, 8, 4))
        model = keras.Model(
            inputs, operator(inputs, 4, 3, 1, 0, "channels_last", "conv", groups=groups)
        )
        block = model.get_layer("conv")
        assert type(block) is LCBlock
        kernel = oracles.numpy(block.basis_conv.kernel)
        expected = Stripes()(block.seed, kernel.shape, groups)
        np.testing.assert_array_equal(kernel, expected)
        copy = LCBlock.from_config(block.get_config())
        assert copy.basis_initializer == Stripes()

    @pytest.mark.once
    def test_depthwise_layers_draw_a_group_for_each_channel(self):
        operator = spatial.Frozen(basis=Stripes(), seed=5)
        inputs = keras.Input((8, 8, 4))
        outputs = operator(inputs, 4, 3, 1, 0, "channels_last", "conv", groups=4)
        layer = keras.Model(inputs, outputs).get_layer("conv")
        assert type(layer) is FrozenDepthwiseConv2D
        np.testing.assert_array_equal(
            oracles.numpy(layer.kernel)[:, :, :, 0], Stripes()(layer.seed, (3, 3, 1, 4), 4)[:, :, 0]
        )

    @pytest.mark.once
    def test_to_lc_takes_a_basis_and_keeps_kernels_with_it(self):
        model = keras.Sequential([keras.Input(SHAPE[1:]), keras.layers.Conv2D(6, 3, name="conv")])
        converted = keras_lc.to_lc(model, 8, basis="orthogonal", seed=1, keep_kernels=True)
        assert converted.layers[0].basis_initializer == bases.Orthogonal()
        x = oracles.images(*SHAPE)
        oracles.assert_close(converted(x), model(x))
        oracles.assert_close(keras_lc.fold(converted)(x), model(x))


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Returns(np.ones)(0, (3, 3, 1, 2)),
            r"`Returns.draw` must return a float32 array of shape \(3, 3, 1, 2\).*float64",
        ),
        (
            lambda: Returns(lambda shape: np.ones(shape[:3], "float32"))(0, (3, 3, 1, 2)),
            r"Received: float32 of shape \(3, 3, 1\)",
        ),
        (lambda: Returns(lambda shape: None)(0, (3, 3, 1, 2)), "Received: a NoneType"),
        (
            lambda: Returns(lambda shape: np.full(shape, np.nan, "float32"))(0, (3, 3, 1, 2)),
            "must return finite numbers",
        ),
        (lambda: SharedBasis(9, basis=bases.DCT()), r"can share only .*basis=DCT"),
        (lambda: spatial.LC(8, shared=True, basis="gabor"), r"can share only .*Gabor"),
        (
            lambda: spatial.LC(8, shared=SharedBasis(9), basis="normal"),
            r"`basis` must be its basis.*Normal\(\), shared.basis=Uniform\(\)",
        ),
        (
            lambda: LCConv2D(4, 3, shared_basis=SharedBasis(9), basis_initializer=bases.DCT()),
            "`shared_basis` needs the random filters of a seed, its own",
        ),
        (lambda: spatial.LC(basis="cosines"), r"`basis` must be one of .*'cosines'"),
        (lambda: keras_lc.ResNetLC(basis=3), "`basis` must be one of .*basis=3"),
    ],
)
def test_what_has_no_meaning_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
