"""ViT at its sizes: the authors' parameters, names and arguments."""

import pytest

import keras_lc
from tests.models.torch_networks import count

pytestmark = pytest.mark.large


@pytest.mark.parametrize(
    ("operator", "parameters"),
    # As counted in https://github.com/naver-ai/PfLayer.
    [("max", 23_819_368), ("learned", 22_049_896)],
)
def test_parameters_are_those_of_the_authors(operator, parameters):
    model = keras_lc.ViT("small", spatial=operator)
    assert count(model.trainable_variables) == parameters


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"size": "tiny", "spatial": "max"}, "vit_tiny_max"),
        ({"size": "tiny", "patch_size": 8}, "vit_tiny_p8"),
        ({"size": "tiny", "spatial": keras_lc.spatial.LC(8)}, "vit_lc_tiny_x8"),
        ({"size": "tiny", "name": "mine"}, "mine"),
    ],
)
def test_models_are_named_after_the_paper(arguments, name):
    model = keras_lc.ViT(input_shape=(32, 32, 3), classes=10, **arguments)
    assert model.name == name
    assert model.recipe is keras_lc.training.DEIT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, r"`size` must be one of \['tiny', 'small', 'base'\].*'huge'"),
        ({"patch_size": 0}, r"`patch_size` must be a positive integer.*patch_size=0"),
        ({"patch_size": 4.0}, r"`patch_size` must be a positive integer.*patch_size=4\.0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_lc.ViT(**arguments)
