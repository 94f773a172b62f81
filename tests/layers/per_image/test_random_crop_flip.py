"""A crop and a flip for each image, the same under every backend."""

import keras
import numpy as np
import pytest

from keras_lc import RandomCropFlip
from tests import oracles
from tests.layer_test_case import LayerTestCase


class RandomCropFlipTest(LayerTestCase):
    def test_keras_contract(self):
        self.run_layer_test(
            RandomCropFlip,
            {"padding": 2, "seed": 1},
            input_shape=(2, 6, 7, 3),
            expected_output_shape=(2, 6, 7, 3),
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            expected_num_seed_generators=1,
            run_training_check=False,
        )


def augmented(layer, x):
    return oracles.numpy(layer(x, training=True))


def found_crop(image, padding, result):
    """Returns the (top, left, flip) at which NumPy's slicing gives the result."""
    padded = np.pad(image, [(padding, padding), (padding, padding), (0, 0)])
    height, width = image.shape[:2]
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[top : top + height, left : left + width]
            for flip in (False, True):
                if np.array_equal(crop[:, ::-1] if flip else crop, result):
                    return top, left, flip
    raise AssertionError("The result is no crop of the padded image.")


def test_inference_returns_its_input():
    x = oracles.images(4, 8, 9, 3)
    np.testing.assert_array_equal(oracles.numpy(RandomCropFlip(seed=0)(x)), x)


def test_every_image_gets_a_crop_of_its_own():
    x = oracles.images(64, 8, 9, 3)
    result = augmented(RandomCropFlip(padding=2, seed=0), x)
    crops = [found_crop(image, 2, out) for image, out in zip(x, result, strict=True)]
    assert len(set(crops)) > 30  # of 50 there are


def test_places_and_flips_are_equally_frequent_and_independent():
    x = np.arange(1, 1 + 8 * 8, dtype="float32").reshape(1, 8, 8, 1).repeat(256, 0)
    layer = RandomCropFlip(padding=1, seed=0)
    crops = [found_crop(x[0], 1, out) for _ in range(8) for out in augmented(layer, x)]
    counts = np.unique(np.array(crops), axis=0, return_counts=True)[1]
    assert len(counts) == 18
    expected = 8 * 256 / 18
    assert ((counts - expected) ** 2 / expected).sum() < 41  # 17 degrees of freedom: 0.1 %


def test_all_places_of_the_standard_padding_occur_equally_often():
    row, column = np.mgrid[:16, :16].astype("float32")
    x = np.stack([row, column], -1)[None].repeat(4096, 0)
    layer = RandomCropFlip(padding=4, seed=2)
    results = np.concatenate([augmented(layer, x) for _ in range(4)]).astype(int)
    # The middle pixel never comes from the padding: it tells the place, its neighbour the flip.
    middle, neighbour = results[:, 8, 8], results[:, 8, 9]
    flip = neighbour[:, 1] < middle[:, 1]
    top, left = middle[:, 0] - 4, middle[:, 1] - np.where(flip, 3, 4)
    counts = np.zeros((9, 9, 2))
    np.add.at(counts, (top, left, flip.astype(int)), 1)
    expected = 4 * 4096 / counts.size
    assert ((counts - expected) ** 2 / expected).sum() < 222  # 161 degrees of freedom: 0.1 %


def test_batches_get_other_crops():
    x = oracles.images(16, 8, 8, 3)
    layer = RandomCropFlip(padding=2, seed=0)
    assert (augmented(layer, x) != augmented(layer, x)).any()


def test_seed_determines_the_crops():
    x = oracles.images(16, 8, 8, 3)
    first, same, other = (augmented(RandomCropFlip(2, seed=s), x) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_crops_are_the_same_under_every_backend():
    x = np.arange(1, 1 + 6 * 10 * 10, dtype="float32").reshape(6, 10, 10, 1)
    result = augmented(RandomCropFlip(padding=4, seed=123456789), x)
    assert [found_crop(a, 4, b) for a, b in zip(x, result, strict=True)] == [
        (7, 6, True),
        (0, 4, True),
        (0, 4, False),
        (7, 8, True),
        (4, 0, True),
        (6, 2, True),
    ]


def test_bytes_stay_bytes():
    x = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype="uint8")
    result = augmented(RandomCropFlip(padding=2, seed=0), x)
    assert result.dtype == np.uint8
    for image, out in zip(x, result, strict=True):
        found_crop(image, 2, out)


def test_flip_and_crop_can_be_left_out():
    x = oracles.images(32, 8, 8, 3)
    unflipped = augmented(RandomCropFlip(2, horizontal_flip=False, seed=0), x)
    assert not any(found_crop(a, 2, b)[2] for a, b in zip(x, unflipped, strict=True))
    uncropped = augmented(RandomCropFlip(0, seed=0), x)
    assert {found_crop(a, 0, b)[2] for a, b in zip(x, uncropped, strict=True)} == {False, True}


def test_channels_first_is_channels_last_transposed():
    x = oracles.images(8, 6, 7, 3)
    last = augmented(RandomCropFlip(2, data_format="channels_last", seed=3), x)
    first = RandomCropFlip(2, data_format="channels_first", seed=3)
    result = augmented(first, np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    np.testing.assert_array_equal(result.transpose(0, 2, 3, 1), last)


def test_saved_model_goes_on_with_the_crops_that_were_next(tmp_path):
    x = oracles.images(8, 6, 6, 3)
    model = keras.Sequential([keras.Input((6, 6, 3)), RandomCropFlip(2, seed=3)])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        oracles.numpy(loaded(x, training=True)), oracles.numpy(model(x, training=True))
    )


def test_jit_stays_on():
    layer = RandomCropFlip(2, seed=0)
    model = keras.Sequential([keras.Input((6, 6, 3)), layer, keras.layers.Conv2D(2, 3)])
    model.compile("sgd", "mse")
    model.fit(oracles.images(4, 6, 6, 3), np.zeros((4, 4, 4, 2)), verbose=0)
    assert layer.supports_jit
    assert model.jit_compile or keras.backend.backend() != "jax"


def test_fit_counts_its_batches():
    layer = RandomCropFlip(2, seed=7)
    model = keras.Sequential([keras.Input((6, 6, 3)), layer, keras.layers.Conv2D(2, 3)])
    model.compile("sgd", "mse")
    model.fit(oracles.images(12, 6, 6, 3), np.zeros((12, 4, 4, 2)), batch_size=4, verbose=0)
    assert oracles.numpy(layer.seed_generator.state).tolist() == [7, 3]


@pytest.mark.once
@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (-1, ValueError, r"`seed` must be at least 0.*seed=-1"),
        (2**31, ValueError, r"`seed` must be below 2\*\*31.*seed=2147483648"),
        (0.5, TypeError, r"`seed` must be an integer or None.*0\.5"),
    ],
)
def test_seeds_that_some_backend_cannot_hold_are_refused(seed, error, message):
    with pytest.raises(error, match=message):
        RandomCropFlip(seed=seed)


def test_largest_seed_gives_the_same_crops_under_every_backend():
    x = np.arange(1, 1 + 4 * 10 * 10, dtype="float32").reshape(4, 10, 10, 1)
    result = augmented(RandomCropFlip(padding=4, seed=2**31 - 1), x)
    assert [found_crop(a, 4, b) for a, b in zip(x, result, strict=True)] == [
        (7, 8, False),
        (0, 2, False),
        (2, 0, False),
        (5, 2, False),
    ]


@pytest.mark.once
@pytest.mark.parametrize("padding", [-1, 1.5])
def test_padding_must_be_a_non_negative_integer(padding):
    with pytest.raises(ValueError, match=rf"`padding` must be .*padding={padding}"):
        RandomCropFlip(padding)


@pytest.mark.once
def test_data_format_must_be_one_of_two():
    with pytest.raises(ValueError, match=r"`data_format` must be .*'channel_last'"):
        RandomCropFlip(data_format="channel_last")


@pytest.mark.parametrize("size", [(6, 7), (9, 5)])
def test_images_of_any_size_are_cropped(size):
    x = oracles.images(8, *size, 3)
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            RandomCropFlip(2, seed=3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, use_bias=False, kernel_initializer="identity"),
        ]
    )
    model.compile("sgd", "mse")
    loss = model.fit(x, np.zeros((8, 3)), shuffle=False, verbose=0).history["loss"]
    means = augmented(RandomCropFlip(2, seed=3), x).mean(axis=(1, 2))
    np.testing.assert_allclose(loss, np.mean(means**2), rtol=1e-5)
