"""`classify`: which pictures it takes, what a model sees of them, and what it answers."""

import functools
import pathlib

import keras
import matplotlib.image
import numpy as np
import pytest
from PIL import Image

import keras_lc
from keras_lc.surgery.exported import ExportedModel

pytestmark = pytest.mark.once

NAMES = ("red", "green", "blue")
COLOURS = {"red": (250, 20, 20), "green": (20, 250, 20), "blue": (20, 20, 250)}


@functools.cache
def network(activation=None, shape=(16, 16, 3), names=NAMES, data_format="channels_last"):
    """Answers with the colour of the upper half."""
    inputs = keras.Input(shape)
    half = (0, shape[0] // 2) if shape[0] and data_format == "channels_last" else (0, 8)
    options = {"data_format": data_format}
    x = keras.layers.Cropping2D((half, (0, 0)), **options)(inputs)
    x = keras.layers.Rescaling(1 / 50)(keras.layers.GlobalAveragePooling2D(**options)(x))
    channels = x.shape[-1]
    kernel = keras.initializers.Constant(np.eye(3)[:channels])
    x = keras.layers.Dense(3, activation, kernel_initializer=kernel, use_bias=False)(x)
    model = keras.Model(inputs, x)
    model.class_names = names
    return model


def halves(above, below, size=(20, 30)):
    image = Image.new("RGB", size, COLOURS[below])
    image.paste(COLOURS[above], (0, 0, size[0], size[1] // 2))
    return image


def probabilities(logits):
    return np.exp(logits) / np.exp(logits).sum()


@pytest.fixture
def photos(tmp_path):
    for name, above in (("b/1.png", "blue"), ("a.PNG", "green"), ("c.png", "red")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        halves(above, "green").save(path)
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "photos" / ".hidden.png").touch()
    return tmp_path / "photos"


def test_a_file_gets_names_and_probabilities_best_first(tmp_path):
    path = tmp_path / "photo.png"
    halves("red", "green", (16, 16)).save(path)
    (answer,) = keras_lc.classify(network(), path)
    assert answer.names == ("red", "green", "blue")
    expected = probabilities(np.array(COLOURS["red"]) / 50)
    np.testing.assert_allclose(answer.probabilities, expected, rtol=1e-5)
    assert answer.picture == str(path)


def test_a_folder_is_all_its_pictures_in_order(photos):
    answers = keras_lc.classify(network(), str(photos), top=1)
    found = [(pathlib.Path(answer.picture).name, *answer.names) for answer in answers]
    assert found == [("a.PNG", "green"), ("1.png", "blue"), ("c.png", "red")]


def test_arrays_files_and_folders_can_be_mixed(photos):
    single = np.asarray(halves("red", "blue"))
    several = np.stack([np.asarray(halves(name, "red")) for name in NAMES])
    answers = keras_lc.classify(network(), [single, photos / "b", several.astype("float64")], 1)
    assert [answer.names[0] for answer in answers] == ["red", "blue", *NAMES]
    assert [answer.picture for answer in answers if "/" not in answer.picture] == [
        f"picture {number}" for number in range(4)
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_answered_as_the_upright_one(orientation, tmp_path):
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = halves("red", "blue")
    if orientation in turns:
        stored = stored.transpose(turns[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)
    (answer,) = keras_lc.classify(network(), tmp_path / "photo.png", top=1)
    assert answer.names == ("red",)
    upright = keras_lc.classify(network(), np.asarray(halves("red", "blue")))[0].image
    np.testing.assert_array_equal(answer.image, upright)


def test_the_model_sees_what_it_would_see_in_training(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 37, 25, 3), np.uint8)
    for split in ("train", "test"):
        for name, image in zip("ab", noise ^ (split == "test"), strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(image).save(tmp_path / split / name / "1.png")
    data = keras_lc.data.load("noise", tmp_path, image_size=16)
    answers = keras_lc.classify(network(), tmp_path / "train")
    np.testing.assert_array_equal([answer.image for answer in answers], data.x_train)


@pytest.mark.parametrize("activation", [None, "softmax", "sigmoid"])
def test_outputs_may_be_logits_or_probabilities(activation):
    x = np.asarray(halves("green", "blue", (16, 16)))
    model = network(activation)
    (answer,) = keras_lc.classify(model, x)
    outputs = model.predict(x[None], verbose=0)[0]
    expected = probabilities(outputs) if activation is None else outputs
    np.testing.assert_allclose(sorted(answer.probabilities), sorted(expected), rtol=1e-5)


def test_names_can_be_given_and_default_to_numbers():
    x = np.asarray(halves("green", "blue"))
    assert keras_lc.classify(network(names=None), x, 1)[0].names == ("1",)
    assert keras_lc.classify(network(), x, 1, class_names=list("abc"))[0].names == ("b",)
    with pytest.raises(ValueError, match=r"`class_names` must .* 3 classes. Received: 2 names"):
        keras_lc.classify(network(), x, class_names=["a", "b"])


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_coloured_pictures_fit_every_model(channels):
    model = network(shape=(16, 16, channels), names=None)
    assert len(keras_lc.classify(model, np.zeros((20, 18, 1), np.uint8))[0].names) == 3
    assert len(keras_lc.classify(model, np.zeros((20, 18, 3), np.uint8))[0].names) == 3


def test_more_pictures_than_a_batch_get_their_own_answers():
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 3, 70)
    pictures = [np.asarray(halves(NAMES[k], "red", tuple(rng.integers(16, 40, 2)))) for k in chosen]
    answers = keras_lc.classify(network(), pictures, 1)
    assert [NAMES.index(answer.names[0]) for answer in answers] == chosen.tolist()


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((None, 16, 16, 3), (2, 16, 16, 3)), ((None, 3, 16, 16), (2, 3, 16, 16)),
     ((None, None, None, 3), (1, 30, 20, 3))],
)  # fmt: skip
def test_an_exported_file_gets_what_it_takes(shape, seen):
    shapes = []

    def run(images):
        shapes.append(images.shape)
        return np.tile([[0.0, 1.0, 0.0]], (len(images), 1))

    model = ExportedModel(
        path=pathlib.Path("model"), format="onnx", input_shape=shape, input_dtype="float32",
        output="probabilities", class_names=NAMES, _run=run,
    )  # fmt: skip
    answers = keras_lc.classify(model, [np.asarray(halves("red", "blue"))] * 2)
    assert set(shapes) == {seen}
    assert [answer.names[0] for answer in answers] == ["green"] * 2
    assert answers[0].probabilities[0] == 1


def test_what_is_no_picture_is_named(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for pictures, error, message in (
        (photos / "none.png", FileNotFoundError, r"no picture '.*none.png'"),
        (photos / "notes.txt", ValueError, r"notes.txt is truncated or damaged"),
        (tmp_path / "empty", ValueError, r"empty' must hold a picture. Allowed are .png"),
        ([], ValueError, r"at least one picture. Received: \[\]"),
        ([3], TypeError, r"files, folders or arrays. Received: int"),
        (np.zeros((4, 4)), ValueError, r"\(height, width, channels\).*\(4, 4\)"),
        (np.full((4, 4, 3), 256), ValueError, r"picture 0 must have values from 0 to 255.*256"),
        (np.zeros((4, 4, 2)), ValueError, r"picture 0 must have 1 or 3 channels"),
    ):
        with pytest.raises(error, match=message):
            keras_lc.classify(network(), pictures)


def test_what_is_no_model_for_pictures_is_refused():
    vectors = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"square images.*input shape \(None, 4\)"):
        keras_lc.classify(vectors, np.zeros((4, 4, 3)))
    with pytest.raises(TypeError, match=r"`model` must be a Keras model.*'model.keras'"):
        keras_lc.classify("model.keras", np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"`top` must be .*top=0"):
        keras_lc.classify(network(), np.zeros((4, 4, 3)), top=0)


def test_a_page_shows_the_pictures_with_their_answers(photos, tmp_path):
    answers = keras_lc.classify(network(names=("a" * 60, "$x$", "b\n")), photos)
    page = matplotlib.image.imread(keras_lc.analysis.plot_answers(answers, tmp_path / "page.png"))
    for colour in COLOURS.values():
        assert (np.abs(page[..., :3] * 255 - colour) < 2).all(-1).sum() > 1000
    with pytest.raises(ValueError, match=r"from 1 to 200 answers. Received: 0"):
        keras_lc.analysis.plot_answers([], tmp_path / "none.png")
