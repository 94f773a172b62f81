"""PiT at its sizes: the authors' parameters, maps, names and arguments."""

import pytest

import keras_lc
from tests.models.torch_networks import count

pytestmark = pytest.mark.large


def test_parameters_are_those_of_the_authors():
    model = keras_lc.PiT("small", spatial="max")
    # As counted in https://github.com/naver-ai/PfLayer.
    assert count(model.trainable_variables) == 25_119_784


def test_each_stage_has_half_the_size_and_twice_the_width():
    model = keras_lc.PiT("tiny", input_shape=(224, 224, 3), classes=10)
    maps = [model.get_layer(f"stage{stage}_block1_mlp_add").output.shape for stage in (1, 2, 3)]
    assert maps == [(None, 27, 27, 64), (None, 14, 14, 128), (None, 7, 7, 256)]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"size": "tiny", "spatial": "max"}, "pit_tiny_max"),
        ({"size": "tiny", "patch_size": 8}, "pit_tiny_p8"),
        ({"size": "tiny", "patch_size": 16, "spatial": "frozen"}, "pit_tiny_frozen"),
    ],
)
def test_models_are_named_after_the_paper(arguments, name):
    model = keras_lc.PiT(input_shape=(32, 32, 3), classes=10, **arguments)
    assert model.name == name
    assert model.recipe is keras_lc.training.DEIT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "xs"}, r"`size` must be one of \['tiny', 'small', 'base'\].*'xs'"),
        ({"patch_size": 7}, r"`patch_size` must be a positive even integer.*patch_size=7"),
        ({"input_shape": (8, 8, 3)}, r"at least one patch of 16 pixels.*\(8, 8, 3\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_lc.PiT(**arguments)
