import keras
import numpy as np
import pytest
from PIL import Image

import keras_lc
from keras_lc.analysis import FilterEvolution

pytestmark = pytest.mark.once


def model_and_data():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras_lc.LCConv2D(4, 3, expansion=2, seed=0, name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    generator = np.random.default_rng(0)
    images = generator.normal(size=(8, 8, 8, 3)).astype("float32")
    return model, images, np.arange(8) % 2


def fit(callback, epochs, initial_epoch=0):
    model, *data = model_and_data()
    model.fit(*data, epochs=epochs, initial_epoch=initial_epoch, callbacks=[callback], verbose=0)


def frames(path):
    with Image.open(path) as gif:
        found = []
        for place in range(gif.n_frames):
            gif.seek(place)
            found.append(np.asarray(gif.convert("RGB")))
    return found


def test_gif_holds_a_picture_before_training_and_one_an_epoch(tmp_path):
    fit(FilterEvolution("conv", tmp_path / "new" / "filters.gif"), epochs=3)
    pictures = frames(tmp_path / "new" / "filters.gif")
    assert len(pictures) == 4
    assert len({picture.tobytes() for picture in pictures}) == 4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["filters.gif"]


def test_every_leaves_epochs_out_but_not_the_last(tmp_path):
    fit(FilterEvolution("conv", tmp_path / "filters.gif", every=2), epochs=5)
    assert len(frames(tmp_path / "filters.gif")) == 4  # epochs 0, 2, 4, 5


def test_a_run_that_goes_on_keeps_the_pictures_up_to_there(tmp_path):
    path = tmp_path / "filters.gif"
    fit(FilterEvolution("conv", path), epochs=4)
    before = frames(path)
    fit(FilterEvolution("conv", path), epochs=4, initial_epoch=2)
    after = frames(path)
    # Before training and the epochs 1 and 2 from before, 3 and 4 anew.
    assert len(after) == 5
    for old, kept in zip(before[:3], after[:3], strict=True):
        # A GIF has 256 colours, chosen anew each time it is written.
        assert np.abs(old.astype(int) - kept).mean() < 2


def test_event_file_is_read_by_tensorflow(tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    fit(FilterEvolution("conv", log_dir=tmp_path / "logs"), epochs=2)
    (path,) = (tmp_path / "logs").iterdir()
    events = [
        tensorflow.compat.v1.Event.FromString(record.numpy())
        for record in tensorflow.data.TFRecordDataset(str(path))
    ]
    assert events[0].file_version == "brain.Event:2"
    assert [event.step for event in events[1:]] == [0, 1, 2]
    for event in events[1:]:
        (value,) = event.summary.value
        assert value.tag == "filters/conv"
        assert value.image.encoded_image_string.startswith(b"\x89PNG")


def test_a_layer_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(ValueError, match=r"one of \['conv'\]\. Received: layer='stem'"):
        fit(FilterEvolution("stem", tmp_path / "filters.gif"), epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "One of `path` and `log_dir` must be given"),
        (dict(path="a.gif", every=0), r"`every` must be an integer of at least 1"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FilterEvolution("conv", **options)
