"""The compact form is the same layer, and learns the same."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_lc
from keras_lc import LCConv2D
from keras_lc.bases.random_numbers import symmetric_uniform
from keras_lc.layers import compact_basis
from keras_lc.layers.initializers import fan_in_uniform
from tests import oracles
from tests.layer_test_case import LayerTestCase

SHAPE = (2, 7, 6, 4)
grouped = pytest.mark.parametrize("groups", [1, 2])


def pair(dtype=None, **arguments):
    """The full and the compact form of one layer."""
    init = {"filters": 6, "kernel_size": 3, "expansion": 16, "seed": 3, "dtype": dtype, **arguments}
    full, compact = (LCConv2D(**init, compact=compact) for compact in (False, True))
    for layer in (full, compact):
        layer.build(SHAPE)
    return full, compact


class CompactLCConv2DTest(LayerTestCase):
    def test_keras_contract(self):
        self.run_layer_test(
            LCConv2D,
            {"filters": 5, "kernel_size": 3, "expansion": 16, "compact": True, "seed": 1},
            input_shape=(2, 6, 7, 4),
            expected_output_shape=(2, 4, 5, 5),
            expected_num_trainable_weights=2,
            expected_num_non_trainable_weights=1,
        )


class TestForm:
    @grouped
    def test_kernel_is_that_of_the_full_form(self, groups):
        full, compact = pair(groups=groups)
        oracles.assert_close(compact.kernel, full.kernel)
        with oracles.float64_allowed():
            full, compact = pair("float64", groups=groups)
            np.testing.assert_allclose(
                oracles.numpy(compact.kernel), oracles.numpy(full.kernel), atol=1e-13
            )

    @grouped
    def test_trains_as_many_numbers_as_a_plain_convolution(self, groups):
        _, compact = pair(groups=groups)
        n = 9 * 4 // groups
        assert compact.combination.shape == (n, 6)
        assert compact.basis.shape == (3, 3, 4 // groups, groups * n)

    @pytest.mark.once
    def test_basis_is_the_triangular_factor(self):
        filters = fan_in_uniform(1, (2, 12, 40))
        factor = compact_basis.triangular_factor(filters)
        np.testing.assert_array_equal(factor, np.tril(factor))
        assert (np.diagonal(factor, axis1=1, axis2=2) > 0).all()
        gram = filters.astype("float64") @ filters.astype("float64").transpose(0, 2, 1)
        np.testing.assert_allclose(factor @ factor.transpose(0, 2, 1), gram, atol=1e-13)

    @pytest.mark.once
    def test_factor_of_nearly_square_filters_is_that_of_a_qr_factorization(self):
        """Where the Gram matrix, of the squared condition, has lost half the digits."""
        generator = np.random.default_rng(0)
        lower = np.eye(8) + np.tril(generator.normal(size=(8, 8), scale=0.3), -1)
        lower = lower * np.geomspace(1, 1e-6, 8)
        rows, _ = np.linalg.qr(generator.normal(size=(10, 8)))
        factor = compact_basis.triangular_factor((lower @ rows.T)[None])
        np.testing.assert_allclose(factor[0], lower, rtol=0, atol=1e-14)

    @pytest.mark.once
    def test_factor_of_dependent_rows_has_columns_of_zeros(self):
        rows = np.random.default_rng(0).integers(-4, 5, (3, 40)).astype("float32")
        a, b, c = rows
        dependent = np.stack([a, 2 * a, b, a - b, 0 * a, c])
        filters = np.stack([dependent, dependent[::-1]])
        factor = compact_basis.triangular_factor(filters)
        np.testing.assert_array_equal(factor, np.tril(factor))
        assert (factor[0][:, [1, 3, 4]] == 0).all() and (np.diagonal(factor[0]) >= 0).all()
        gram = filters.astype("float64") @ filters.astype("float64").transpose(0, 2, 1)
        np.testing.assert_allclose(factor @ factor.transpose(0, 2, 1), gram, atol=1e-11)
        combination = np.random.default_rng(1).normal(size=(2, 40, 5))
        found = compact_basis.solve_combination(factor, filters, combination)
        np.testing.assert_allclose(factor @ found, filters @ combination, atol=1e-11)
        assert np.abs(found[0][[1, 3, 4]]).max() < 1e-11

    def test_small_bases_stay_full(self):
        full, compact = pair(expansion=6)  # 36 filters of 36 numbers
        assert compact.basis.shape == full.basis.shape
        np.testing.assert_array_equal(oracles.numpy(compact.basis), oracles.numpy(full.basis))

    def test_random_filters_are_those_of_the_full_form(self):
        full, compact = pair()
        np.testing.assert_array_equal(compact.random_filters(), oracles.numpy(full.basis))

    def test_random_filters_are_refused_where_the_factor_is_not_of_the_seed(self):
        (_, compact), (_, other) = pair(), pair(seed=4)
        compact.set_weights(other.get_weights())
        with pytest.raises(ValueError, match="not that of seed 3: its random filters are not"):
            compact.random_filters()


@keras.saving.register_keras_serializable(package="tests")
class DrawsItsOwn(LCConv2D):
    """Random filters of another distribution."""

    def _draw(self, seed):
        return 0.1 + 0.2 * symmetric_uniform(seed, self._filters_shape)


class OwnInitializer(LCConv2D):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.basis_initializer = keras.initializers.Ones()


class OwnBasis(LCConv2D):
    def _make_basis(self, shape, dtype):
        return ops.ones(shape, dtype)


@pytest.mark.once
class TestSubclass:
    @grouped
    def test_own_random_numbers_are_those_that_are_factored(self, groups):
        init = dict(filters=6, kernel_size=3, expansion=16, groups=groups, seed=3)
        full, compact = (DrawsItsOwn(**init, compact=compact) for compact in (False, True))
        for layer in (full, compact):
            layer.build(SHAPE)
        assert oracles.numpy(full.basis).min() > -0.11
        oracles.assert_close(compact.kernel, full.kernel)
        np.testing.assert_array_equal(compact.random_filters(), oracles.numpy(full.basis))

    def test_own_random_numbers_come_back_from_a_file(self, tmp_path):
        def model(seed):
            layer = DrawsItsOwn(6, 3, expansion=16, compact=True, seed=seed)
            return keras.Sequential([keras.Input(SHAPE[1:]), layer])

        written, read, x = model(3), model(4), oracles.images(*SHAPE)
        written.save_weights(tmp_path / "model.weights.h5")
        read.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(oracles.numpy(read(x)), oracles.numpy(written(x)))

    @pytest.mark.parametrize("cls", [OwnInitializer, OwnBasis])
    def test_a_basis_that_no_seed_gives_is_not_compacted(self, cls):
        with pytest.raises(ValueError, match=rf"'lc' \({cls.__name__}\) makes its basis in its"):
            cls(6, 3, expansion=16, compact=True, name="lc").build(SHAPE)
        cls(6, 3, expansion=16, name="lc").build(SHAPE)

    @pytest.mark.parametrize("nested", [False, True])
    def test_to_compact_names_a_subclass(self, nested):
        layers = [keras.Input(SHAPE[1:]), DrawsItsOwn(6, 3, expansion=16, name="own")]
        model = keras.Sequential(layers, name="inner")
        if nested:
            model = keras.Sequential([keras.Input(SHAPE[1:]), model])
        match = rf"no known compact form: {'inner/' * nested}own \(DrawsItsOwn\)"
        with pytest.raises(ValueError, match=match):
            keras_lc.to_compact(model)


def trained_kernel(layer, optimizer, steps):
    """The kernel after steps on a new random regression each."""
    generator = np.random.default_rng(0)
    shapes = layer.compute_output_shape(SHAPE), SHAPE
    gradients_of = oracles.gradient_function(
        lambda x, targets: ops.mean(ops.square(ops.subtract(layer(x), targets))),
        layer.trainable_variables,
    )
    for _ in range(steps):
        targets, x = (generator.normal(size=shape).astype(layer.dtype) for shape in shapes)
        _, gradients = gradients_of(x, targets)
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients], layer.trainable_variables)
    return oracles.numpy(layer.kernel)


OPTIMIZERS = {
    "training.SGD": lambda rate: keras_lc.training.SGD(
        rate, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "keras SGD": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, weight_decay=0.1),
}


class TestLearning:
    @pytest.mark.parametrize(
        ("optimizer", "groups", "steps"),
        [("training.SGD", 1, 100), ("training.SGD", 2, 20), ("keras SGD", 1, 20)],
    )
    def test_steps_in_float64_give_the_kernel_of_the_full_form(self, optimizer, groups, steps):
        with oracles.float64_allowed():
            kernels = []
            for layer in pair("float64", groups=groups):
                start = oracles.numpy(layer.kernel).copy()
                rate = keras.optimizers.schedules.CosineDecay(0.3, steps)
                kernels.append(trained_kernel(layer, OPTIMIZERS[optimizer](rate), steps))
                assert np.abs(kernels[-1] - start).max() > 0.05
            np.testing.assert_allclose(kernels[1], kernels[0], rtol=0, atol=1e-10)

    def test_first_50_losses_in_float32_are_those_of_the_full_form(self):
        losses = []
        for compact in (False, True):
            net = keras.Sequential(
                [
                    keras.Input((7, 6, 4)),
                    LCConv2D(6, 3, expansion=16, compact=compact, seed=1, activation="relu"),
                    LCConv2D(4, 3, expansion=32, compact=compact, seed=2),
                ]
            )
            optimizer = keras_lc.training.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01)
            net.compile(optimizer, "mse")
            x, y = oracles.images(50, *SHAPE), oracles.images(50, 2, 3, 2, 4, seed=1)
            losses.append([float(net.train_on_batch(*batch)) for batch in zip(x, y, strict=True)])
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)

    @pytest.mark.once
    def test_other_optimizers_learn_otherwise(self):
        """What the warning says."""
        full, compact = (trained_kernel(layer, keras.optimizers.Adam(0.01), 20) for layer in pair())
        assert np.abs(full - compact).max() > 0.01

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("optimizer", "warns"),
        [
            (lambda: keras.optimizers.Adam(), True),
            (lambda: keras.optimizers.SGD(0.1, clipnorm=1.0), True),
            (lambda: keras.optimizers.SGD(0.1, momentum=0.9), False),
        ],
        ids=["Adam", "clipped SGD", "SGD"],
    )
    def test_fit_warns_of_optimizers_that_are_not_linear(self, optimizer, warns):
        model = keras_lc.ResNetLC(depth=8, width=4, expansion=16, compact=True, seed=1)
        model.compile(optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(np.zeros((4, 32, 32, 3), "uint8"), np.arange(4), verbose=0)
        assert any("not linear in the gradient" in str(w.message) for w in caught) == warns


@pytest.mark.once
class TestGramMatrix:
    def test_tends_to_the_learning_rate_factor_times_the_identity(self):
        channels, filters, expansion = 4, 8, 4096
        basis = fan_in_uniform(0, (3, 3, channels, filters * expansion)).reshape(36, -1)
        gram = basis.astype("float64") @ basis.T.astype("float64")
        factor = filters * expansion / (3 * channels * 9)
        # Relative errors of a mean of r products: 1/√r off the diagonal, times the spread of u².
        tolerance = 6 * factor / np.sqrt(filters * expansion)
        np.testing.assert_allclose(gram, factor * np.eye(36), rtol=0, atol=tolerance)

    def test_initial_kernel_has_a_third_of_the_plain_ones_variance(self):
        layer = LCConv2D(64, 3, expansion=32, seed=0)
        layer.build((None, 8, 8, 16))
        np.testing.assert_allclose(oracles.numpy(layer.kernel).var(), 1 / (9 * 16 * 9), rtol=0.05)


def model_of(compact, **arguments):
    init = {"expansion": 16, "seed": 3, "compact": compact, **arguments}
    return keras.Sequential([keras.Input(SHAPE[1:]), LCConv2D(6, 3, name="lc", **init)])


class TestFiles:
    def test_hold_no_basis_and_load_bit_for_bit(self, tmp_path):
        model, x = model_of(True), oracles.images(*SHAPE)
        model.layers[0].combination.assign(oracles.images(36, 6))
        store = {}
        model.layers[0].save_own_variables(store)
        assert set(store) == {"combination", "bias", "seed", "basis_fingerprint"}
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(oracles.numpy(loaded(x)), oracles.numpy(model(x)))

    def test_weights_bring_their_seed(self, tmp_path):
        model, other = model_of(True), model_of(True, seed=9)
        model.save_weights(tmp_path / "model.weights.h5")
        other.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(
            oracles.numpy(other.layers[0].kernel), oracles.numpy(model.layers[0].kernel)
        )

    def test_a_factor_that_differs_in_its_last_bit_is_still_the_seeds(self):
        layer = model_of(True).layers[0]
        layer.basis.assign(np.nextafter(oracles.numpy(layer.basis), np.float32(1)))
        assert layer.has_seeded_basis()
        layer.basis.assign(oracles.numpy(layer.basis) * 1.001)
        assert not layer.has_seeded_basis()


class TestToCompact:
    @grouped
    def test_computes_and_learns_as_before(self, groups):
        model = model_of(False, groups=groups)
        model.layers[0].combination.assign(oracles.images(96 // groups, 6))
        model.layers[0].bias.assign(oracles.images(6))
        compact, x = keras_lc.to_compact(model), oracles.images(*SHAPE)
        assert compact.layers[0].combination.shape == (36 // groups, 6)
        oracles.assert_close(compact(x), model(x))
        for net in (model, compact):
            net.compile(keras_lc.training.SGD(0.01, momentum=0.9, weight_decay=0.1), "mse")
            for _ in range(5):
                net.train_on_batch(x, np.ones((2, 5, 4, 6), "float32"))
        oracles.assert_close(compact(x), model(x), "float16")

    def test_folds_to_the_same_convolution(self):
        model = model_of(False)
        oracles.assert_close(
            keras_lc.fold(keras_lc.to_compact(model)).layers[0].kernel,
            keras_lc.fold(model).layers[0].kernel,
        )

    @pytest.mark.once
    @pytest.mark.parametrize(
        "arguments", [{"frozen": False}, {"expansion": 6}], ids=["learned", "small"]
    )
    def test_leaves_other_layers_and_says_so_where_no_layer_is_compact(self, arguments):
        model = model_of(False, **arguments)
        with pytest.warns(
            UserWarning, match=r"`to_compact` replaced nothing: model .* no LC layer"
        ):
            compact = keras_lc.to_compact(model)
        assert compact.layers[0].combination.shape == model.layers[0].combination.shape

    @pytest.mark.once
    def test_compacting_twice_is_compacting_once(self):
        compact = keras_lc.to_compact(model_of(False))
        again = keras_lc.to_compact(compact)
        for actual, expected in zip(again.get_weights(), compact.get_weights(), strict=True):
            np.testing.assert_array_equal(actual, expected)

    def test_a_whole_network_computes_the_same(self):
        model = keras_lc.ResNetLC(depth=8, expansion=32, seed=1)
        compact = keras_lc.to_compact(model)
        plain = keras_lc.CIFARResNet(depth=8)
        count = [
            sum(int(np.prod(v.shape)) for v in net.trainable_variables) for net in (compact, plain)
        ]
        assert count[0] == count[1]
        x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype="uint8")
        oracles.assert_close(compact(x), model(x))

    @pytest.mark.once
    def test_refuses_a_basis_set_by_hand(self):
        model = model_of(False)
        model.layers[0].basis.assign(oracles.images(3, 3, 4, 96))
        with pytest.raises(ValueError, match=r"basis of layer 'lc' is not what its seed gives"):
            keras_lc.to_compact(model)


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LCConv2D(4, 3, compact=True, frozen=False), r"needs `frozen=True`"),
        (
            lambda: LCConv2D(4, 3, compact=True, basis_initializer="ones"),
            r"not those of a `basis_initializer`. Received: 'ones'",
        ),
        (
            lambda: keras_lc.ResNetLC(depth=8, compact=True, between="bn"),
            r"needs `frozen=True` and `between=None`.*between='bn'",
        ),
        (lambda: keras_lc.spatial.LC(compact=True, frozen=False), r"Received: frozen=False"),
    ],
)
def test_what_has_no_compact_form_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
