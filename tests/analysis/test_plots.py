import numpy as np
import pytest
from PIL import Image

import keras_lc
from keras_lc.analysis import plot_curves, plot_filters


def pixels(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.fixture(scope="module")
def model():
    return keras_lc.ResNetLC(depth=8, width=4, expansion=3, seed=0)


def test_curves_are_drawn_in_the_colours_of_training_and_test(tmp_path):
    history = {"loss": [2.0, 1.0], "accuracy": [0.3, 0.6], "val_loss": [2.1, 1.4]}
    picture = pixels(plot_curves(history, tmp_path / "curves.png")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (picture == colour).all(axis=1).any()


def test_filters_of_the_stem_are_drawn_in_colour(model, tmp_path):
    picture = pixels(plot_filters(model, tmp_path / "stem.png")).astype(int)
    assert np.ptp(picture, axis=-1).max() > 100


def test_picture_follows_the_weights(model, tmp_path):
    other = keras_lc.ResNetLC(depth=8, width=4, expansion=3, seed=1)
    name = "stage1_block0_conv1"
    first, again, second = (
        pixels(plot_filters(which, tmp_path / f"{i}.png", layer=name))
        for i, which in enumerate((model, model, other))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


def test_no_temporary_file_is_left(model, tmp_path):
    plot_filters(model, tmp_path / "stem.png")
    assert [path.name for path in tmp_path.iterdir()] == ["stem.png"]


@pytest.mark.parametrize("layer", ["stem_bn", "nowhere"])
def test_layer_must_be_an_lc_layer(layer, model, tmp_path):
    with pytest.raises(ValueError, match=rf"has \['stage1_.*Received: layer='{layer}'"):
        plot_filters(model, tmp_path / "no.png", layer=layer)


def test_model_must_have_lc_layers(tmp_path):
    with pytest.raises(ValueError, match=r"which has \[\]"):
        plot_filters(keras_lc.CIFARResNet(depth=8), tmp_path / "no.png")
