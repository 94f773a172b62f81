import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.analysis import effective_rank, filter_report, spatial_kernels, variance_entropy
from tests.oracles import assert_close

pytestmark = pytest.mark.once

NUMBERS = (
    "variance_entropy",
    "variance_entropy_normalized",
    "sparsity",
    "orthogonality",
    "effective_rank",
    "frobenius_norm",
    "spectral_norm",
)


def network(**options):
    return keras_lc.ResNetLC(depth=8, width=4, seed=0, **options)


def assert_equal_numbers(first, second):
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        for name in ("kernel_size", "channels", "filters"):
            assert a[name] == b[name]
        assert [a[name] for name in NUMBERS] == pytest.approx(
            [b[name] for name in NUMBERS], rel=1e-6, abs=1e-6
        )


@pytest.mark.parametrize(
    "options",
    [
        dict(expansion=3),
        dict(expansion=3, frozen=False),
        dict(expansion=64, compact=True),
        dict(expansion=2, between="bn_relu"),
    ],
)
def test_numbers_do_not_change_when_the_model_is_folded(options):
    model = network(**options)
    assert_equal_numbers(filter_report(model), filter_report(keras_lc.fold(model, strict=False)))


def test_one_row_a_spatial_convolution_and_none_for_pointwise_ones():
    report = filter_report(network(expansion=2))
    assert [row["layer"] for row in report] == [
        "stem_conv",
        *(f"stage{stage}_block0_conv{conv}" for stage in (1, 2, 3) for conv in (1, 2)),
    ]
    assert {row["type"] for row in report} == {"LCConv2D"}


def test_rows_have_equal_keys_and_plain_values():
    report = filter_report(network(expansion=2))
    for row in report:
        assert list(row) == list(report[0])
        assert all(type(value) in (str, int, float) for value in row.values())


def test_numbers_are_those_of_the_combined_kernel():
    model = network(expansion=3)
    layer = model.get_layer("stage2_block0_conv1")
    kernel = np.einsum(
        "hwcb,bf->hwcf",
        *(
            keras.ops.convert_to_numpy(v).astype("float64")
            for v in (layer.basis, layer.combination)
        ),
    )
    assert_close(spatial_kernels(model)["stage2_block0_conv1"], kernel)
    row = filter_report(model)[3]
    assert row["layer"] == "stage2_block0_conv1"
    assert row["variance_entropy"] == pytest.approx(variance_entropy(kernel), rel=1e-6)
    assert row["effective_rank"] == pytest.approx(effective_rank(kernel), rel=1e-6)


def test_sparsity_of_the_combination_where_it_mixes_the_random_filters():
    model = network(expansion=3)
    layer = model.get_layer("stem_conv")
    combination = np.ones(layer.combination.shape, "float32")
    combination[:, 0] = 0.001
    layer.combination.assign(combination)
    assert filter_report(model)[0]["combination_sparsity"] == 1 / 4

    block = network(expansion=3, between="relu")
    kernel = block.get_layer("stem_conv").combination_conv.kernel
    kernel.assign(combination[None, None])
    assert filter_report(block)[0]["combination_sparsity"] == 1 / 4

    for other in (network(expansion=64, compact=True), keras_lc.fold(model)):
        assert filter_report(other)[0]["combination_sparsity"] is None


def test_stock_layers_in_nested_models_and_within_layers():
    branch = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            keras.layers.SeparableConv2D(6, 5, name="separable", padding="same"),
            keras.layers.Conv2D(6, 1, name="pointwise"),
        ],
        name="branch",
    )
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="plain")(inputs)
    # Twice the same layers: one row each.
    x = keras.layers.Concatenate()([branch(x), branch(x)])
    x = keras.layers.Conv2DTranspose(5, (1, 3), name="transpose")(x)
    x = keras_lc.FrozenConv2D(2, 3, name="frozen")(x)
    video = keras.layers.Reshape((1, 4, 6, 2))(x)
    outputs = keras.layers.TimeDistributed(keras.layers.Conv2D(3, 3, name="frame"), name="video")(
        video
    )
    report = {row["layer"]: row for row in filter_report(keras.Model(inputs, outputs))}
    sizes = {
        layer: (row["kernel_size"], row["channels"], row["filters"])
        for layer, row in report.items()
    }
    assert sizes == {
        "plain": ("3x3", 3, 4),
        "branch/depthwise": ("3x3", 1, 8),
        "branch/separable": ("5x5", 1, 8),
        "transpose": ("1x3", 12, 5),
        "frozen": ("3x3", 5, 2),
        "video/frame": ("3x3", 2, 3),
    }
    assert report["branch/separable"]["variance_entropy_normalized"] is None


def test_kernels_of_depthwise_and_transposed_convolutions_are_in_the_layout_of_conv2d():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=3, name="depthwise"),
            keras.layers.Conv2DTranspose(4, 3, name="transpose"),
        ]
    )
    kernels = spatial_kernels(model)
    depthwise, transpose = (keras.ops.convert_to_numpy(layer.kernel) for layer in model.layers)
    # The filter of channel 1 and multiplier 2.
    np.testing.assert_array_equal(kernels["depthwise"][:, :, 0, 5], depthwise[:, :, 1, 2])
    np.testing.assert_array_equal(kernels["transpose"][:, :, 5, 3], transpose[:, :, 3, 5])


class TwoOfOneName(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Conv2D(2, 3, name="conv")
        self.second = keras.layers.Conv2D(3, 3, name="conv")

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(self.first.compute_output_shape(input_shape))

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_layers_of_one_path_have_a_row_each():
    model = keras.Sequential([keras.Input((8, 8, 3)), TwoOfOneName(name="pair")])
    rows = [(row["layer"], row["filters"]) for row in filter_report(model)]
    assert rows == [("pair/conv", 2), ("pair/conv#2", 3)]


def test_a_model_without_spatial_convolutions_has_no_rows():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert filter_report(model) == []


def test_a_layer_that_is_not_finite_is_named():
    model = network(expansion=2)
    layer = model.get_layer("stage1_block0_conv2")
    layer.combination.assign(np.full(layer.combination.shape, np.nan))
    with pytest.raises(ValueError, match=r"'stage1_block0_conv2': `kernel` must be finite"):
        filter_report(model)


def test_a_model_that_is_not_built_is_refused():
    model = keras.Sequential([keras.layers.Conv2D(2, 3, name="conv")], name="raw")
    with pytest.raises(ValueError, match="Layer 'conv' of model 'raw' has no weights yet"):
        filter_report(model)
    with pytest.raises(ValueError, match=r"must be a Keras model\. Received: model=<Conv2D"):
        filter_report(keras.layers.Conv2D(2, 3))
