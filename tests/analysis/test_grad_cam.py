"""Grad-CAM: maps where the gradient is known by hand."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.analysis import grad_cam, plot_grad_cam
from tests import oracles


def small(activation=None, **arguments):
    arguments = {"width": 8, "input_shape": (16, 16, 3), "seed": 1, **arguments}
    return keras_lc.CIFARResNet(
        depth=8, classifier_activation=activation, augmentation=None, **arguments
    )


def images(count=3, side=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype="uint8")


def by_hand(maps, kernel, classes):
    """Of a mean over all places and a linear layer: the gradient is the kernel's column."""
    weights = kernel[:, classes].T / maps[0, ..., 0].size
    return np.maximum((maps * weights[:, None, None]).sum(-1), 0)


def last_map(model, x):
    to_map = keras.Model(model.inputs, model.get_layer("pool").input)
    return to_map.predict(x, verbose=0)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_maps_are_the_features_weighted_by_the_class(activation):
    model, x, classes = small(activation), images(), np.array([7, 0, 7])
    maps = last_map(model, x)
    expected = by_hand(maps, oracles.numpy(model.get_layer("classifier").kernel), classes)
    assert expected.max(axis=(1, 2)).min() > 0
    oracles.assert_close(grad_cam(model, x, classes, batch_size=2), expected)


def test_without_classes_it_speaks_for_the_prediction():
    model, x = small(), images()
    predicted = model.predict(x, verbose=0).argmax(-1)
    np.testing.assert_array_equal(grad_cam(model, x), grad_cam(model, x, predicted))
    np.testing.assert_array_equal(grad_cam(model, x, 3), grad_cam(model, x, [3, 3, 3]))


def test_channels_first_maps_are_the_same():
    last, x = small(data_format="channels_last"), images()
    first = small(data_format="channels_first", input_shape=(3, 16, 16))
    got = grad_cam(first, np.moveaxis(x, -1, 1), 2)
    oracles.assert_close(got, grad_cam(last, x, 2))


def test_an_earlier_map_is_weighted_by_the_mean_gradient():
    """Scores are linear in the squares of the map, so the gradient is known."""
    inputs = keras.Input((6, 6, 3))
    features = keras.layers.Conv2D(4, 3, activation="tanh", name="early")(inputs)
    squares = keras.layers.Flatten(data_format="channels_last")(features * features)
    model = keras.Model(inputs, keras.layers.Dense(5, name="scores")(squares))
    x = oracles.images(2, 6, 6, 3)
    maps = keras.Model(inputs, features).predict(x, verbose=0)
    kernel = oracles.numpy(model.get_layer("scores").kernel)[:, 2].reshape(4, 4, 4)
    weights = (2 * maps * kernel).mean((1, 2), keepdims=True)
    expected = np.maximum((maps * weights).sum(-1), 0)
    oracles.assert_close(grad_cam(model, x, 2, layer="early"), expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda: keras_lc.ResNet(
            50, spatial="hybrid", width=8, input_shape=(32, 32, 3), classes=10, seed=1
        ),
        lambda: keras_lc.PiT("tiny", spatial="max", input_shape=(32, 32, 3), classes=10, seed=1),
    ],
)
@pytest.mark.large
def test_it_takes_any_network_and_leaves_it_as_it_is(build):
    model, x = build(), images(2, 32)
    before = model.predict(x, verbose=0)
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    maps = grad_cam(model, x, [1, 2])
    features = last_map(model, x)
    expected = by_hand(features, oracles.numpy(model.get_layer("classifier").kernel), [1, 2])
    oracles.assert_close(maps, expected)
    assert [len(layer._inbound_nodes) for layer in model.layers][1:] == calls[1:]
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


@pytest.mark.once
def test_folded_networks_give_the_same_maps():
    model, x = small(spatial="lc"), images()
    oracles.assert_close(grad_cam(keras_lc.fold(model), x, 4), grad_cam(model, x, 4))


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 10}, r"`classes` must be an integer from 0 to 9.*classes=array"),
        ({"classes": [1, 2]}, r"one for each of the 3 images"),
        ({"classes": 1.5}, r"`classes` must be an integer"),
        ({"layer": "classifier"}, r"rows and columns.*layer='classifier'.*\(None, 10\)"),
        ({"layer": "stage2_block0_conv1"}, r"all paths to the class scores.*'stage2_block0_conv1'"),
        ({"layer": "mine"}, r"No such layer: mine"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(small(), images(), **arguments)


@pytest.mark.once
def test_models_without_maps_or_without_a_graph_are_refused():
    vectors = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"no layer with a feature map"):
        grad_cam(vectors, np.zeros((1, 4)))

    class Mine(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"needs a Functional or Sequential model.*Mine"):
        grad_cam(Mine(), images())


@pytest.mark.once
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_picture_shows_images_above_and_maps_below(data_format, tmp_path):
    import matplotlib.image

    x = images()
    shape = (16, 16, 3)
    if data_format == "channels_first":
        x, shape = np.moveaxis(x, -1, 1), (3, 16, 16)
    model = small(data_format=data_format, input_shape=shape)
    names = [f"name{i}" for i in range(10)]
    path = plot_grad_cam(model, x, tmp_path / "cam.png", class_names=names)
    picture = matplotlib.image.imread(path)
    assert path.name == "cam.png" and picture.shape[1] > picture.shape[0] > 200
    model.class_names = names
    again = plot_grad_cam(model, x, tmp_path / "again.png")
    np.testing.assert_array_equal(matplotlib.image.imread(again), picture)
    # Coloured noise above, and the map's colours on grey below.
    assert picture[..., :3].std(-1).max() > 0.2
