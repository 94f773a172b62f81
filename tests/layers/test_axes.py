"""Where channels and sides stand."""

import keras
import numpy as np
import pytest

from keras_lc.layers.axes import channel_axis, side_axes, standardize_data_format

SHAPES = {"channels_last": (2, 5, 7, 3), "channels_first": (2, 3, 5, 7)}


@pytest.mark.once
@pytest.mark.parametrize("data_format", SHAPES)
def test_axes_are_those_of_the_data_format(data_format):
    shape = SHAPES[data_format]
    assert shape[channel_axis(data_format)] == 3
    assert [shape[axis] for axis in side_axes(data_format)] == [5, 7]


@pytest.mark.once
def test_none_is_keras_own_setting():
    assert standardize_data_format(None) == keras.config.image_data_format()
    assert standardize_data_format("channels_first") == "channels_first"


@pytest.mark.once
@pytest.mark.parametrize("wrong", ["channels_middle", "NHWC", np.int64(3)])
def test_other_data_formats_are_refused(wrong):
    with pytest.raises(ValueError, match="`data_format` must be 'channels_last' or"):
        standardize_data_format(wrong)
