"""An enlarged part and a flip for each image, the same under every backend."""

import hashlib

import keras
import numpy as np
import pytest
from PIL import Image

import keras_lc
from keras_lc import RandomResizedCropFlip
from tests import oracles
from tests.layer_test_case import LayerTestCase


class RandomResizedCropFlipTest(LayerTestCase):
    def test_keras_contract(self):
        self.run_layer_test(
            RandomResizedCropFlip,
            {"area": (0.1, 0.9), "seed": 1},
            input_shape=(2, 6, 7, 3),
            expected_output_shape=(2, 6, 7, 3),
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            expected_num_seed_generators=1,
            run_training_check=False,
        )


def augmented(x, **kwargs):
    layer = RandomResizedCropFlip(**{"data_format": "channels_last", "seed": 0, **kwargs})
    return oracles.numpy(layer(x, training=True))


def pictures(batch, height, width, seed=0):
    shape = (batch, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def parts(batch, height, width, **kwargs):
    """Returns the box and the flip of each image, as images of their own coordinates show them."""
    ramps = np.stack(np.mgrid[:height, :width], -1).astype("float32")
    found = augmented(np.repeat(ramps[None], batch, 0), **kwargs)
    low, high = found.min((1, 2)).astype(int), found.max((1, 2)).astype(int) + 1
    return low, high, found[:, 0, 0, 1] > found[:, 0, -1, 1]


def test_inference_returns_its_input():
    x = oracles.images(4, 8, 9, 3)
    np.testing.assert_array_equal(oracles.numpy(RandomResizedCropFlip(seed=0)(x)), x)


def test_each_part_is_enlarged_as_pillow_does_it():
    x = pictures(16, 24, 20)
    results = augmented(x).astype("float64")
    for image, result, low, high, flip in zip(x, results, *parts(16, 24, 20), strict=True):
        part = image[low[0] : high[0], low[1] : high[1]]
        expected = np.asarray(Image.fromarray(part).resize((20, 24), Image.Resampling.BILINEAR))
        difference = np.abs(result[:, ::-1] if flip else result, dtype="float64") - expected
        assert np.abs(difference).max() <= 3  # weights have 8 bits
        assert np.abs(difference).mean() < 0.5


def test_a_part_as_large_as_the_image_is_the_image():
    x = pictures(8, 6, 9)
    whole = augmented(x, area=(1.0, 1.0), ratio=(1.0, 1.0), horizontal_flip=False)
    np.testing.assert_array_equal(whole, x)


def test_parts_have_the_areas_and_ratios_that_are_allowed_and_lie_everywhere():
    size, images = 100, 256
    low, high, flip = parts(images, size, size, area=(0.2, 0.8), ratio=(0.5, 2.0))
    height, width = np.maximum(high - low, 1).T
    area, ratio = height * width / size**2, np.log2(width / height)
    assert 0.19 < area.min() < 0.23 and 0.7 < area.max() < 0.81
    assert abs(area.mean() - 0.5) < 0.04
    assert -1.05 < ratio.min() < -0.8 and 0.8 < ratio.max() < 1.05
    assert abs(ratio.mean()) < 0.1
    assert abs(flip.mean() - 0.5) < 0.1
    free = size - np.stack([height, width], 1)
    places = low[free > 20] / free[free > 20]
    assert places.min() >= 0 and places.max() <= 1
    assert abs(places.mean() - 0.5) < 0.04
    assert abs(places.std() - 12**-0.5) < 0.03


def test_no_part_is_larger_than_the_image():
    low, high, _ = parts(64, 9, 4, area=(0.5, 1.0), ratio=(0.01, 100))
    assert low.min() >= 0 and high[:, 0].max() <= 9 and high[:, 1].max() <= 4


def test_bytes_are_the_same_under_every_backend():
    result = augmented(pictures(8, 17, 23), seed=123456789)
    assert result.dtype == np.uint8
    assert hashlib.sha256(result.tobytes()).hexdigest()[:16] == "156f42780cefbc67"


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_every_precision_rounds_the_same_numbers(dtype):
    x = pictures(8, 12, 12).astype("float32")
    expected = augmented(x, dtype="float32")
    result = oracles.numpy(RandomResizedCropFlip(seed=0, dtype=dtype)(x, training=True))
    digits = {"float32": 0, "mixed_float16": 2**-11, "mixed_bfloat16": 2**-8}[dtype]
    np.testing.assert_allclose(result.astype("float32"), expected, rtol=digits)
    assert np.abs(augmented(x.astype("uint8")).astype("float32") - expected).max() <= 0.5


def test_channels_first_is_channels_last_transposed():
    x = pictures(8, 6, 7)
    result = augmented(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), data_format="channels_first")
    np.testing.assert_array_equal(result.transpose(0, 2, 3, 1), augmented(x))


def test_a_compiled_step_trains_on_the_parts_that_were_next(tmp_path):
    x = pictures(8, 6, 6).astype("float32")
    model = keras.Sequential(
        [keras.Input((None, None, 3)), RandomResizedCropFlip(seed=3), keras.layers.Conv2D(2, 3)]
    )
    model.compile("sgd", "mse", jit_compile="auto")
    model.fit(x, np.zeros((8, 4, 4, 2)), batch_size=4, verbose=0)
    layer = model.layers[0]
    assert oracles.numpy(layer.seed_generator.state).tolist() == [3, 2]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    assert loaded.get_config() == layer.get_config()
    result, expected = (oracles.numpy(each(x, training=True)) for each in (loaded, layer))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.once
@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("area", (0, 1)), ("area", (0.5, 1.1)), ("area", (0.9, 0.5)), ("area", 0.5),
        ("area", (0.5,)), ("area", ("a", "b")), ("ratio", (0, 1)), ("ratio", (1, 101)),
    ],
)  # fmt: skip
def test_area_and_ratio_must_be_intervals(argument, values):
    with pytest.raises(ValueError, match=rf"`{argument}` must be two numbers.*{argument}="):
        RandomResizedCropFlip(**{argument: values})


@pytest.mark.once
def test_builders_take_it_by_its_name_and_fold_removes_it():
    model = keras_lc.CIFARResNet(
        8, 8, input_shape=(16, 16, 3), augmentation="resized_crop_flip", seed=1
    )
    layer = model.layers[1]
    assert type(layer) is RandomResizedCropFlip and layer.name == "random_resized_crop_flip"
    assert RandomResizedCropFlip not in map(type, keras_lc.fold(model).layers)
