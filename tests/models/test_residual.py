"""Every spatial operator in every kind of block: trains, folds, is saved and loaded."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import spatial
from keras_lc.models.classifier import Classifier
from keras_lc.models.ends import classifier_head
from keras_lc.models.residual import Builder, drop_rates
from tests import oracles

OPERATORS = {
    "learned": spatial.Learned(),
    "frozen": spatial.Frozen(),
    "lc": spatial.LC(expansion=2),
    "lc learnable": spatial.LC(expansion=2, frozen=False),
    "lc compact": spatial.LC(expansion=12, compact=True),
    "lc shared": spatial.LC(expansion=2, shared=True),
    "lc bn": spatial.LC(expansion=2, between="bn"),
    "max": spatial.MaxPool(),
    "average": spatial.AveragePool(),
    "depthwise": spatial.Depthwise(),
    "hybrid": spatial.Hybrid(),
}
# Layers of the others run the same operations of the backend.
EXTREMES = {"learned", "lc shared", "lc bn", "hybrid"}
every_operator = pytest.mark.parametrize(
    "operator",
    [
        pytest.param(operator, id=name, marks=[pytest.mark.once] * (name not in EXTREMES))
        for name, operator in OPERATORS.items()
    ],
)

some_operators = pytest.mark.parametrize("name", ["learned", "lc", "max", "hybrid"])


def network(operator, size=9, data_format="channels_last"):
    """Bottlenecks of two groups, and inverted ones with depthwise operators; strides of 1 and 2."""
    shape = (size, size, 3) if data_format == "channels_last" else (3, size, size)
    inputs = keras.Input(shape)

    def topology(x, operator):
        build = Builder(operator, 3, 0, data_format, average_pool_shortcuts=True)
        x = build.for_stem(3).spatial_unit(x, 4, 1, "stem")
        x = build.bottleneck_block(x, 8, 4, 1, "stage1_block0", groups=2, drop_rate=0.1)
        x = build.bottleneck_block(x, 8, 4, 2, "stage2_block0")
        x = build.inverted_block(x, 8, 8, 1, "block0")
        return build.inverted_block(x, 8, 16, 2, "block1", squeeze=4)

    x = topology(inputs, operator.for_network(topology, inputs, 0))
    outputs = classifier_head(x, 5, None, 0, data_format, hidden=(6, "hard_swish"))
    return Classifier(inputs, outputs, seed=0)


def randomize(model):
    """Moves statistics and weights from where they start, where a wrong order is no error."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                low, high = RANGES[weight.name]
                weight.assign(generator.uniform(low, high, weight.shape).astype("float32"))


# Such that no ReLU is dead, and the differences between images survive to the end.
RANGES = {
    "gamma": (0.5, 1.5), "beta": (-0.3, 0.3), "moving_mean": (-0.1, 0.1),
    "moving_variance": (0.05, 0.2),
}  # fmt: skip


def predict(model, x):
    return oracles.numpy(model(x, training=False))


@every_operator
def test_trains_folds_saves_and_loads(operator, tmp_path):
    model = network(operator)
    x, y = oracles.images(4, 9, 9, 3), np.arange(4)
    frozen = {v.path: oracles.numpy(v) for v in model.weights if "basis" in v.path}
    trained = {v.path: oracles.numpy(v) for v in model.trainable_variables}
    model.fit(x, y, verbose=0)
    for variable in model.trainable_variables:
        assert (oracles.numpy(variable) != trained[variable.path]).any(), variable.path
    if getattr(operator, "frozen", True):
        for variable in model.weights:
            if variable.path in frozen:
                np.testing.assert_array_equal(oracles.numpy(variable), frozen[variable.path])

    randomize(model)
    expected = predict(model, x)
    assert np.abs(expected - expected[0]).max() > 1e-3
    folded = keras_lc.fold(model, batch_norm=True)
    oracles.assert_close(predict(folded, x), expected)
    assert not any("keras_lc" in type(layer).__module__ for layer in folded.layers)
    assert not any(isinstance(n, keras.layers.BatchNormalization) for n in folded.layers)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(predict(loaded, x), expected)


@some_operators
def test_gradients_reach_every_trainable_variable(name):
    model = network(OPERATORS[name])
    randomize(model)
    x = oracles.images(2, 9, 9, 3)
    weights = oracles.images(5, seed=1)
    _, gradients = oracles.gradients(
        lambda x: keras.ops.sum(keras.ops.multiply(model(x, training=False), weights)),
        x,
        model.trainable_variables,
    )
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.abs(gradient).max() > 0, variable.path


@some_operators
def test_channels_first_is_channels_last_transposed(name):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow convolves channels_first on GPUs only")
    x = oracles.images(2, 8, 8, 3)
    last, first = (network(OPERATORS[name], 8, f"channels_{end}") for end in ("last", "first"))
    randomize(last), randomize(first)
    oracles.assert_close(predict(first, x.transpose(0, 3, 1, 2)), predict(last, x))


@pytest.mark.once
def test_shared_basis_is_one_tensor_for_grouped_and_depthwise_layers_too():
    model = network(OPERATORS["lc shared"])
    owned = [v for v in model.non_trainable_weights if "moving" not in v.path]
    sizes = [
        int(np.prod(layer.random_filters().shape))
        for layer in model.layers
        if isinstance(layer, keras_lc.LCConv2D)
    ]
    assert [tuple(v.shape) for v in owned] == [(max(sizes),)]


@pytest.mark.once
def test_compact_depthwise_layers_train_nine_numbers_a_channel():
    model = network(OPERATORS["lc compact"])
    layer = model.get_layer("block1_conv2")
    assert layer.is_factored and layer.combination.shape == (9, 16)


@pytest.mark.once
def test_folded_lc_network_has_the_layers_of_the_plain_one():
    lc, plain = (keras_lc.fold(network(OPERATORS[name])) for name in ("lc", "learned"))
    kinds = [[(type(layer), layer.name) for layer in net.layers[1:]] for net in (lc, plain)]
    assert kinds[0] == kinds[1]


@pytest.mark.once
def test_pools_stand_only_in_bottlenecks():
    build = Builder(spatial.MaxPool(), 3, 0, "channels_last")
    with pytest.raises(ValueError, match=r"basic blocks.*depth 26, 50 or 101.*MaxPool"):
        build.basic_block(keras.Input((8, 8, 4)), 4, 1, "block")


@pytest.mark.once
def test_rates_of_stochastic_depth_grow_linearly_from_0():
    np.testing.assert_allclose(drop_rates(0.3, 4), [0, 0.1, 0.2, 0.3])
    assert drop_rates(0.3, 1) == [0]
    with pytest.raises(ValueError, match=r"`stochastic_depth` must be .*stochastic_depth=1"):
        drop_rates(1, 4)
