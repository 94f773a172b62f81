"""LC layers of all dimensions and kinds. `test_lc_conv2d` tests the two-dimensional one further."""

import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

import keras_lc
from keras_lc import bases, layers
from keras_lc.layers import SharedBasis
from tests import oracles
from tests.layer_test_case import LayerTestCase

ORDINARY = {"filters": 6, "kernel_size": 3}
TRANSPOSED = {"filters": 3, "kernel_size": 3}
#: Class, arguments, shape of the inputs.
KINDS = {
    "Conv1D": (keras_lc.LCConv1D, ORDINARY, (2, 11, 4)),
    "Conv3D": (keras_lc.LCConv3D, ORDINARY, (2, 5, 7, 4, 4)),
    "DepthwiseConv1D": (keras_lc.LCDepthwiseConv1D, {"kernel_size": 3}, (2, 11, 4)),
    "DepthwiseConv2D": (keras_lc.LCDepthwiseConv2D, {"kernel_size": 3}, (2, 9, 8, 4)),
    "Conv1DTranspose": (keras_lc.LCConv1DTranspose, TRANSPOSED, (2, 7, 4)),
    "Conv2DTranspose": (keras_lc.LCConv2DTranspose, TRANSPOSED, (2, 5, 6, 4)),
    "Conv3DTranspose": (keras_lc.LCConv3DTranspose, TRANSPOSED, (2, 3, 4, 3, 4)),
}
kinds = pytest.mark.parametrize("kind", KINDS)

SAME = {"padding": "same", "strides": 2}
WIDE = {"padding": "same", "dilation_rate": 2}
UP = {"strides": 2, "output_padding": 1}
GEOMETRIES = {
    "Conv1D": [{}, SAME, WIDE, {"padding": "causal", "dilation_rate": 2}, {"groups": 2},
               {"groups": 4, "filters": 8}],
    "Conv3D": [{}, SAME, WIDE, {"strides": (1, 2, 1), "kernel_size": (1, 3, 2)}, {"groups": 2},
               {"groups": 4, "filters": 8}],
    "DepthwiseConv1D": [{}, SAME, {"depth_multiplier": 2, "dilation_rate": 2}],
    "DepthwiseConv2D": [{}, SAME, {"depth_multiplier": 2, "dilation_rate": 2}],
    "Conv1DTranspose": [{}, SAME, {"strides": 2}, {"strides": 3, "kernel_size": 2}, UP],
    "Conv2DTranspose": [{}, SAME, {"strides": (2, 1)}, {"strides": 3, "kernel_size": 2}, UP],
    "Conv3DTranspose": [{}, SAME, {"strides": (2, 1, 1)}],
}  # fmt: skip
geometries = pytest.mark.parametrize(
    ("kind", "geometry"),
    [
        pytest.param(kind, geometry, id=f"{kind}, {geometry}")
        for kind, found in GEOMETRIES.items()
        for geometry in found
    ],
)


def make(kind, dtype=None, **arguments):
    cls, defaults, shape = KINDS[kind]
    layer = cls(**{**defaults, "expansion": 3, "seed": 1, "dtype": dtype, **arguments})
    layer.build(shape)
    if layer.use_bias:
        layer.bias.assign(oracles.images(*layer.bias.shape, seed=9))
    return layer


def images(kind):
    return oracles.images(*KINDS[kind][2])


def two_steps(layer, x):
    """The two convolutions that a layer is defined by, in float64."""
    basis = oracles.numpy(layer.basis)
    combination = oracles.numpy(layer.combination)[(None,) * layer.rank]
    geometry = dict(strides=layer.strides, padding=layer.padding, dilation=layer.dilation_rate)
    groups = getattr(layer, "groups", 1)
    if hasattr(layer, "output_padding"):
        features = oracles.conv_transpose(x, basis, output_padding=layer.output_padding, **geometry)
    else:
        if hasattr(layer, "depth_multiplier"):
            groups = x.shape[-1]
            basis = basis.reshape(*basis.shape[:-2], 1, -1)
        features = oracles.conv(x, basis, groups=groups, **geometry)
    outputs = oracles.conv(features, combination, groups=groups)
    return outputs + (oracles.numpy(layer.bias) if layer.use_bias else 0)


class TestValues:
    @geometries
    def test_equal_two_convolutions_in_numpy(self, kind, geometry):
        layer, x = make(kind, **geometry), images(kind)
        oracles.assert_close(layer(x), two_steps(layer, x))

    @kinds
    def test_equal_two_convolutions_in_float64(self, kind):
        with oracles.float64_allowed():
            layer, x = make(kind, "float64", **SAME), images(kind)
            oracles.assert_close(layer(x), two_steps(layer, x), "float64")

    @kinds
    def test_equal_torchs_own_layers(self, kind):
        import torch

        layer, x = make(kind, strides=2), images(kind)
        functional, sides = torch.nn.functional, layer.rank
        torch_convolution = getattr(functional, f"conv{sides}d")
        basis = torch.from_numpy(oracles.numpy(layer.basis).astype("float64"))
        combination = torch.from_numpy(oracles.numpy(layer.combination).T.astype("float64"))
        x_first = torch.from_numpy(np.moveaxis(x, -1, 1).astype("float64"))
        groups = 1
        if "Depthwise" in kind:
            groups = x.shape[-1]
            basis = basis.reshape(*layer.kernel_size, 1, -1)
        basis = basis.permute(-1, -2, *range(sides))
        if "Transpose" in kind:
            transposed = getattr(functional, f"conv_transpose{sides}d")
            features = transposed(x_first, basis.transpose(0, 1), stride=2)
        else:
            features = torch_convolution(x_first, basis, stride=2, groups=groups)
        combination = combination.reshape(*combination.shape, *[1] * sides)
        bias = torch.from_numpy(oracles.numpy(layer.bias).astype("float64"))
        expected = torch_convolution(features, combination, bias, groups=groups)
        oracles.assert_close(layer(x), np.moveaxis(expected.numpy(), 1, -1))

    @kinds
    def test_channels_first_is_channels_last_transposed(self, kind):
        layer = make(kind, **SAME)
        first = type(layer).from_config(layer.get_config() | {"data_format": "channels_first"})
        x = np.ascontiguousarray(np.moveaxis(images(kind), -1, 1))
        first.build(x.shape)
        first.bias.assign(oracles.numpy(layer.bias))
        oracles.assert_close(first(x), np.moveaxis(oracles.numpy(layer(images(kind))), -1, 1))

    @kinds
    def test_kernel_is_that_of_keras_layer(self, kind):
        layer, x = make(kind, activation="relu"), images(kind)
        plain = layer.plain_layer()
        assert type(plain) is getattr(keras.layers, kind)
        plain.build(x.shape)
        plain.kernel.assign(oracles.numpy(layer.kernel))
        plain.bias.assign(oracles.numpy(layer.bias))
        oracles.assert_close(layer(x), plain(x))

    @pytest.mark.parametrize("padding", ["valid", "same"])
    def test_a_kernel_of_one_pixel_may_be_strided(self, padding):
        layer = make("Conv3D", kernel_size=1, strides=2, padding=padding)
        oracles.assert_close(layer(images("Conv3D")), two_steps(layer, images("Conv3D")))


class TestGradients:
    @kinds
    def test_are_those_of_keras_layer_by_the_chain_rule(self, kind):
        layer, x = make(kind, frozen=False, **SAME), images(kind)
        plain = layer.plain_layer()
        plain.build(x.shape)
        plain.kernel.assign(oracles.numpy(layer.kernel))
        plain.bias.assign(oracles.numpy(layer.bias))
        weights = oracles.images(*layer.compute_output_shape(x.shape), seed=5)
        variables = [layer.basis, layer.combination, layer.bias]
        got_x, (by_basis, by_combination, by_bias) = oracles.gradients(
            lambda x: ops.sum(ops.multiply(layer(x), weights)), x, variables
        )
        want_x, (by_kernel, want_bias) = oracles.gradients(
            lambda x: ops.sum(ops.multiply(plain(x), weights)), x, [plain.kernel, plain.bias]
        )
        oracles.assert_close(got_x, want_x)
        oracles.assert_close(by_bias, want_bias)
        basis, combination = oracles.numpy(layer.basis), oracles.numpy(layer.combination)
        if "Depthwise" in kind:
            by_channel = combination.reshape(len(combination), x.shape[-1], -1)
            oracles.assert_close(by_basis, np.einsum("...cm,bcm->...cb", by_kernel, by_channel))
            products = np.einsum("...cb,...cm->...bcm", basis, by_kernel)
            expected = products.sum(axis=tuple(range(layer.rank))).reshape(combination.shape)
        else:
            if "Transpose" in kind:
                by_kernel = by_kernel.swapaxes(-1, -2)
            oracles.assert_close(by_basis, by_kernel @ combination.T)
            expected = np.tensordot(basis, by_kernel, (range(layer.rank + 1),) * 2)
        oracles.assert_close(by_combination, expected)


class LCConvLayerTest(LayerTestCase):
    CONTRACTS = (
        ("Conv1D", {"padding": "causal"}, (2, 11, 6)),
        ("Conv3D", {"groups": 2}, (2, 3, 5, 2, 6)),
        ("DepthwiseConv1D", {"depth_multiplier": 2}, (2, 9, 8)),
        ("DepthwiseConv2D", {"frozen": False}, (2, 7, 6, 4)),
        ("Conv1DTranspose", SAME, (2, 14, 3)),
        ("Conv2DTranspose", {"strides": 2}, (2, 11, 13, 3)),
        ("Conv3DTranspose", {}, (2, 5, 6, 5, 3)),
    )

    @parameterized.named_parameters(
        (kind, *rest) for kind, *rest in [(c[0], *c) for c in CONTRACTS]
    )
    def test_keras_contract(self, kind, arguments, output_shape):
        cls, defaults, shape = KINDS[kind]
        frozen = arguments.get("frozen", True)
        self.run_layer_test(
            cls,
            {**defaults, "expansion": 2, "seed": 1, **arguments},
            input_shape=shape,
            expected_output_shape=output_shape,
            expected_num_trainable_weights=3 - frozen,
            expected_num_non_trainable_weights=int(frozen),
        )

    @parameterized.named_parameters(
        (kind, kind) for kind in ("Conv1D", "Conv3D", "DepthwiseConv2D", "Conv2DTranspose")
    )
    def test_dtype_policies(self, kind):
        cls, defaults, shape = KINDS[kind]
        # Not 3: TensorFlow adds up the numbers of a 3-D filter in half precision.
        init = {**defaults, "kernel_size": 2, "seed": 1}
        self.run_dtype_policy_test(cls, init, input_shape=shape)

    @parameterized.named_parameters((kind, kind) for kind in ("Conv3D", "Conv2DTranspose"))
    def test_eager_graph_and_compiled_steps_agree(self, kind):
        cls, defaults, shape = KINDS[kind]
        self.run_execution_test(cls, {**defaults, "seed": 1}, input_shape=shape)


class TestBasis:
    FINGERPRINTS = {  # noqa: RUF012
        "Conv1D": "67757096db9fa505",
        "Conv3D": "bb051c53d2197e44",
        "DepthwiseConv1D": "0a17ab911f5365d0",
        "DepthwiseConv2D": "e3cf551ba61169bb",
        "Conv1DTranspose": "e76db26cc27abf9f",
        "Conv2DTranspose": "29da9adf1ff57d78",
        "Conv3DTranspose": "e818e12e01804fcb",
    }

    @kinds
    def test_has_the_same_bits_everywhere(self, kind):
        layer = make(kind, seed=2024)
        found = f"{keras_lc.seeds.fingerprint(oracles.numpy(layer.basis)):016x}"
        assert found == self.FINGERPRINTS[kind]

    @pytest.mark.once
    @kinds
    def test_has_the_variance_of_the_paper(self, kind):
        cls, defaults, shape = KINDS[kind]
        layer = cls(**{**defaults, "expansion": 400, "seed": 0})
        layer.build(shape)
        numbers = 3**layer.rank * (1 if "Depthwise" in kind else 4)
        basis = oracles.numpy(layer.basis)
        assert np.abs(basis).max() <= 1 / np.sqrt(numbers)
        np.testing.assert_allclose(basis.var() * 3 * numbers, 1, rtol=0.05)

    @pytest.mark.parametrize("kind", ["Conv1D", "DepthwiseConv2D", "Conv3DTranspose"])
    def test_stays_where_all_else_is_trained(self, kind):
        layer, x = make(kind), images(kind)
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        model.trainable = True
        model.compile(keras.optimizers.SGD(0.1, weight_decay=0.1), "mse")
        before = [oracles.numpy(v).copy() for v in (layer.basis, layer.combination)]
        model.train_on_batch(x, np.ones(model.compute_output_shape(x.shape), "float32"))
        np.testing.assert_array_equal(oracles.numpy(layer.basis), before[0])
        assert np.abs(oracles.numpy(layer.combination) - before[1]).min() > 0

    @kinds
    def test_is_in_a_file_only_as_a_seed(self, kind):
        layer, other = make(kind), make(kind, seed=2)
        store = {}
        layer.save_own_variables(store)
        assert set(store) == {"combination", "bias", "seed", "basis_fingerprint"}
        other.load_own_variables({key: oracles.numpy(value) for key, value in store.items()})
        ours, theirs = (oracles.numpy(net(images(kind))) for net in (other, layer))
        np.testing.assert_array_equal(ours, theirs)

    @pytest.mark.once
    @kinds
    @pytest.mark.parametrize(
        "basis", [bases.Normal(), bases.Orthogonal(), bases.Sparse(2), bases.DCT(), bases.Gabor()]
    )
    def test_may_be_any_and_compact(self, kind, basis):
        full, compact = (
            make(kind, basis_initializer=basis, expansion=120, compact=compact)
            for compact in (False, True)
        )
        assert compact.is_factored and compact.has_seeded_basis()
        np.testing.assert_array_equal(compact.random_filters(), oracles.numpy(full.basis))
        oracles.assert_close(compact(images(kind)), full(images(kind)))


class TestCompact:
    @pytest.mark.parametrize("kind", ["Conv1D", "Conv3D", "DepthwiseConv2D", "Conv2DTranspose"])
    def test_computes_and_learns_what_the_full_layer_does(self, kind):
        networks = []
        for compact in (False, True):
            layer = make(kind, expansion=120, compact=compact)
            assert layer.is_factored == compact
            model = keras.Sequential([keras.Input(images(kind).shape[1:]), layer])
            model.compile(keras_lc.training.SGD(0.01, momentum=0.9, nesterov=True), "mse")
            for _ in range(3):
                model.train_on_batch(
                    images(kind), np.ones(model.compute_output_shape(images(kind).shape))
                )
            networks.append(model)
        full, compact = networks
        oracles.assert_close(compact.layers[0].kernel, full.layers[0].kernel)
        assert compact.layers[0].basis.shape[-1] < full.layers[0].basis.shape[-1]


class TestShared:
    @pytest.mark.once
    @kinds
    def test_basis_is_the_first_numbers_scaled(self, kind):
        shared = SharedBasis(9 * 4 * 6 * 9, seed=3)
        layer = make(kind, shared_basis=shared)
        numbers = oracles.numpy(shared.layer("float32").numbers)
        shape = tuple(layer.basis.shape)
        fan_in = 3**layer.rank * (1 if "Depthwise" in kind else 4)
        expected = numbers[: np.prod(shape)].reshape(shape) / np.sqrt(fan_in)
        oracles.assert_close(layer.basis, expected)
        oracles.assert_close(layer(images(kind)), two_steps(layer, images(kind)))


class TestRank:
    @pytest.mark.once
    @kinds
    def test_is_the_number_of_random_filters(self, kind):
        layer, x = make(kind, rank=2, expansion=1), images(kind)
        per_channel = "Depthwise" in kind
        assert layer.basis.shape[-1] == 2 and layer.basis_filters == (8 if per_channel else 2)
        oracles.assert_close(layer(x), two_steps(layer, x))


class TestDepthwise:
    @pytest.mark.parametrize("arguments", [{}, {"compact": True, "expansion": 12}])
    def test_has_the_numbers_of_a_convolution_with_a_group_for_each_channel(self, arguments):
        layer = make("DepthwiseConv2D", depth_multiplier=2, **arguments)
        grouped = keras_lc.LCConv2D(8, 3, groups=4, seed=1, **{"expansion": 3, **arguments})
        grouped.build(KINDS["DepthwiseConv2D"][2])
        for name in ("basis", "combination", "kernel"):
            ours, theirs = (oracles.numpy(getattr(x, name)) for x in (layer, grouped))
            np.testing.assert_array_equal(ours.ravel(), theirs.ravel())

    def test_each_output_combines_only_the_filters_of_its_channel(self):
        layer = make("DepthwiseConv2D", depth_multiplier=2)
        basis, combination = oracles.numpy(layer.basis), oracles.numpy(layer.combination)
        assert basis.shape == (3, 3, 4, 6) and combination.shape == (6, 8)
        for channel in range(4):
            for output in range(2):
                expected = basis[:, :, channel] @ combination[:, 2 * channel + output]
                oracles.assert_close(layer.kernel[:, :, channel, output], expected)

    def test_number_of_filters_needs_the_channels(self):
        with pytest.raises(AttributeError):
            _ = keras_lc.LCDepthwiseConv2D(3).basis_filters


class TestRefused:
    @pytest.mark.once
    @kinds
    def test_kernel_arguments(self, kind):
        cls, defaults, _ = KINDS[kind]
        name = "depthwise_initializer" if "Depthwise" in kind else "kernel_initializer"
        with pytest.raises(ValueError, match=rf"no `{name}`.*`combination_initializer`"):
            cls(**defaults, **{name: "ones"})


FROZEN = {kind: (getattr(layers, f"Frozen{kind}"), *rest) for kind, (_, *rest) in KINDS.items()}


class FrozenConvLayerTest(LayerTestCase):
    @parameterized.named_parameters((kind, kind) for kind in FROZEN if kind != "DepthwiseConv2D")
    @pytest.mark.once
    def test_keras_contract(self, kind):
        cls, defaults, shape = FROZEN[kind]
        init = {**defaults, "seed": 1, "use_bias": True}
        self.run_layer_test(
            cls,
            init,
            input_shape=shape,
            expected_output_shape=tuple(cls(**init).compute_output_shape(shape)),
            expected_num_trainable_weights=1,
            expected_num_non_trainable_weights=1,
        )


@pytest.mark.once
@pytest.mark.parametrize("kind", FROZEN)
def test_a_frozen_layer_is_keras_layer_with_the_filters_of_its_lc_layer(kind):
    cls, defaults, shape = FROZEN[kind]
    layer, x = cls(**defaults, seed=1), images(kind)
    lc = make(kind, expansion=1)
    outputs = layer(x)
    np.testing.assert_array_equal(oracles.numpy(layer.basis), oracles.numpy(lc.basis))
    plain = layer.plain_layer()
    plain.build(shape)
    plain.kernel.assign(oracles.numpy(layer.kernel))
    oracles.assert_close(outputs, plain(x))
