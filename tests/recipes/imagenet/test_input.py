"""The stream of batches: a function of seed and epoch, whatever the backend and the threads."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_lc.data import image_folder
from recipes.imagenet import pictures, sources
from recipes.imagenet.input import AUGMENTATIONS, Augmentation, Batches, Corrupt

pytestmark = pytest.mark.once

CLASSES, SIZE = 12, 16


def write_folder(root, train=1, test=1):
    """Pictures of random sizes, noisy around a colour of their own; `train` of each class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", test)):
        for label in range(CLASSES):
            folder = root / split / f"class{label:02}"
            folder.mkdir(parents=True)
            for i in range(count):
                shape = (*rng.integers(20, 40, 2), 3)
                image = (20 * label + rng.integers(0, 20, shape)).astype("uint8")
                Image.fromarray(image).save(folder / f"{i}.JPEG")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("pictures"))


def batches(seed=0, batch_size=6, corrupt=0, size=SIZE, **parts):
    return Batches(
        classes=CLASSES,
        image_size=size,
        batch_size=batch_size,
        crop_ratio=0.875,
        seed=seed,
        corrupt=Corrupt(corrupt),
        **parts,
    )


def training(folder, augmentation, steps=2, first=0, last=1, seed=0, **kwargs):
    train, _, _ = sources.find(folder, seed)
    data = batches(seed, **kwargs).training(train, augmentation, steps, first, last)
    return list(data.as_numpy_iterator())


def labels(of_batches):
    return np.concatenate([np.argmax(shares, axis=-1) for _, shares in of_batches])


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


LIGHT = AUGMENTATIONS["light"]
MIXED = Augmentation(crop=True, mixup=0.5, cutmix=1.0, repeats=3)


def test_a_batch_is_uint8_images_and_shares_of_the_classes(folder):
    for images, shares in training(folder, MIXED):
        assert images.shape == (6, SIZE, SIZE, 3) and images.dtype == np.uint8
        assert shares.shape == (6, CLASSES) and shares.dtype == np.float32
        np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-6)


def test_an_epoch_has_every_image_once(folder):
    assert sorted(labels(training(folder, LIGHT))) == list(range(CLASSES))


def test_an_epoch_of_more_steps_has_further_passes_in_other_orders(folder):
    order = labels(training(folder, LIGHT, steps=6)).reshape(3, CLASSES)
    assert all(sorted(one) == list(range(CLASSES)) for one in order.tolist())
    assert len(set(map(tuple, order.tolist()))) == 3


def test_every_epoch_has_an_order_and_crops_of_its_own(folder):
    first, second = training(folder, LIGHT, steps=1, last=2, batch_size=12)
    orders = [np.argsort(np.argmax(shares, axis=-1)) for _, shares in (first, second)]
    assert (orders[0] != orders[1]).any()
    changed = first[0][orders[0]] != second[0][orders[1]]
    assert changed.any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("augmentation", [LIGHT, MIXED], ids=["light", "mixed"])
def test_the_same_seed_gives_the_same_stream(folder, augmentation):
    stream = training(folder, augmentation, last=2)
    assert_equal(stream, training(folder, augmentation, last=2))
    other = training(folder, augmentation, last=2, seed=1)
    assert any((a[0] != b[0]).any() for a, b in zip(stream, other, strict=True))


@pytest.mark.parametrize("augmentation", [LIGHT, MIXED], ids=["light", "mixed"])
def test_a_stream_that_begins_at_an_epoch_is_the_rest_of_the_whole(folder, augmentation):
    whole = training(folder, augmentation, last=3)
    assert_equal(whole[2:], training(folder, augmentation, first=1, last=3))


def test_repeated_images_stand_three_times_in_a_batch_cropped_differently(folder):
    epoch = training(folder, Augmentation(crop=True, repeats=3))
    for images, shares in epoch:
        chosen = np.argmax(shares, axis=-1)
        np.testing.assert_array_equal(chosen, np.repeat(chosen[::3], 3))
        for copies in images.reshape(2, 3, -1):
            assert len(np.unique(copies, axis=0)) == 3
    # A third of the images, in an epoch as long as without.
    assert len(set(labels(epoch))) == CLASSES // 3


def test_without_augmentation_training_sees_the_view_of_the_test(folder):
    ((images, shares),) = training(folder, AUGMENTATIONS["none"], steps=1, batch_size=CLASSES)
    for image, label in zip(images, np.argmax(shares, axis=-1), strict=True):
        encoded = (folder / "train" / f"class{label:02}" / "0.JPEG").read_bytes()
        expected = pictures.central_crop(tf.constant(encoded), SIZE, 0.875)
        np.testing.assert_array_equal(image, expected)


def test_evaluation_has_every_image_once_and_in_order(folder):
    _, test, _ = sources.find(folder, 0)
    data = batches(batch_size=8).evaluation(test)
    assert int(data.cardinality()) == 2
    found = list(data.as_numpy_iterator())
    assert [len(images) for images, _, _ in found] == [8, 4]
    np.testing.assert_array_equal(
        np.concatenate([np.argmax(shares, axis=-1) for _, shares, _ in found]), range(CLASSES)
    )
    assert all((weights == 1).all() for _, _, weights in found)


@pytest.mark.parametrize("augmentation", [LIGHT, Augmentation(crop=True, repeats=3)])
def test_processes_have_equal_parts_of_the_batches_of_one(folder, augmentation):
    whole = training(folder, augmentation, last=2)
    parts = [training(folder, augmentation, last=2, parts=2, part=part) for part in range(2)]
    assert_equal(
        [tuple(map(np.concatenate, zip(*both, strict=True))) for both in zip(*parts, strict=True)],
        whole,
    )


def test_evaluation_in_whole_batches_has_every_image_once_and_black_ones_that_weigh_nothing(folder):
    _, test, _ = sources.find(folder, 0)
    found = []
    for part in range(2):
        data = batches(batch_size=8, parts=2, part=part, whole=True).evaluation(test)
        assert int(data.cardinality()) == 2
        found.append(list(data.as_numpy_iterator()))
    assert [len(images) for part in found for images, _, _ in part] == [4] * 4
    images, shares, weights = (
        np.concatenate([part[batch][i] for batch in range(2) for part in found]) for i in range(3)
    )
    np.testing.assert_array_equal(weights, [1] * CLASSES + [0] * (16 - CLASSES))
    np.testing.assert_array_equal(np.argmax(shares[weights > 0], axis=-1), range(CLASSES))
    assert not images[weights == 0].any()


@pytest.fixture
def damaged(tmp_path):
    """The first half of one picture, and no picture at all, among twelve."""
    root = write_folder(tmp_path)
    truncated = root / "train" / "class03" / "0.JPEG"
    truncated.write_bytes(truncated.read_bytes()[:400])
    text = root / "train" / "class07" / "0.JPEG"
    text.write_text("<html>404</html>")
    (root / "val" / "class05" / "0.JPEG").write_bytes(b"")
    return root, {str(truncated), str(text)}


@pytest.mark.parametrize("augmentation", [LIGHT, MIXED], ids=["light", "mixed"])
def test_damaged_images_are_named_once_and_others_take_their_place(damaged, augmentation):
    root, names = damaged
    train, _, _ = sources.find(root, 0)
    made = batches(corrupt=2)
    with pytest.warns(UserWarning, match="Skipped a damaged image: .*class0[37].0.JPEG") as said:
        data = made.training(train, augmentation, 8, 0, 1)
        epoch = list(data.as_numpy_iterator())
    assert [len(images) for images, _ in epoch] == [6] * 8
    assert set(made.corrupt.names) == names and len(made.corrupt.names) == 2
    assert len([one for one in said if "damaged" in str(one.message)]) == 2


@pytest.mark.filterwarnings("ignore:Skipped a damaged image")
def test_too_many_damaged_images_end_the_run_and_are_named(damaged):
    root, names = damaged
    train, _, _ = sources.find(root, 0)
    made = batches(corrupt=1)
    with pytest.raises(tf.errors.OpError):
        list(made.training(train, LIGHT, 4, 0, 1))
    with pytest.raises(
        ValueError, match=r"2 images are damaged, more than --max-corrupt 1"
    ) as error:
        made.corrupt.check()
    assert all(name in str(error.value) for name in names)


@pytest.mark.filterwarnings("ignore:Skipped a damaged image")
def test_a_damaged_test_image_weighs_nothing(damaged):
    _, test, _ = sources.find(damaged[0], 0)
    ((images, _, weights),) = batches(batch_size=12, corrupt=1).evaluation(test).as_numpy_iterator()
    np.testing.assert_array_equal(weights, [*[1] * 5, 0, *[1] * 6])
    assert (images[5] == 0).all()


@pytest.mark.filterwarnings("ignore:Skipped a damaged image")
@pytest.mark.parametrize("augmentation", [LIGHT, MIXED], ids=["light", "mixed"])
def test_a_split_of_damaged_images_alone_ends(augmentation, tmp_path):
    root = write_folder(tmp_path)
    for path in root.rglob("*.JPEG"):
        path.write_bytes(b"<html>404</html>")
    train, test, _ = sources.find(root, 0)
    for run in (
        lambda made: made.training(train, augmentation, 2, 0, 1),
        lambda made: made.evaluation(test),
    ):
        made = batches(corrupt=100)
        with pytest.raises(ValueError, match=r"All images of a split are damaged:\n  .*/0.JPEG"):
            with made.corrupt.explained():
                list(run(made))


@pytest.mark.filterwarnings("ignore:Skipped a damaged image")
def test_a_file_that_vanishes_counts_as_damaged(tmp_path):
    root = write_folder(tmp_path)
    train, test, _ = sources.find(root, 0)
    gone = [root / split / "class04" / "0.JPEG" for split in ("train", "val")]
    for path in gone:
        path.unlink()
    made = batches(corrupt=2, batch_size=12)
    ((images, shares),) = made.training(train, LIGHT, 1, 0, 1)
    # Another one comes twice in its place.
    assert images.shape[0] == 12 and 4 not in np.argmax(shares, axis=-1)
    ((_, _, weights),) = made.evaluation(test)
    np.testing.assert_array_equal(weights, [*[1] * 4, 0, *[1] * 7])
    assert sorted(made.corrupt.names) == sorted(map(str, gone))


@pytest.mark.filterwarnings("ignore:Skipped a damaged image")
def test_names_that_are_not_utf_8_are_read_described_and_reported(tmp_path):
    root = write_folder(tmp_path)
    before = sources.describe(*sources.find(root, 0))
    folder = os.fsencode(root / "val" / "class02")
    os.rename(folder + b"/0.JPEG", folder + b"/\xe9.JPEG")
    assert sources.describe(*sources.find(root, 0))["fingerprint"] != before["fingerprint"]
    _, test, _ = sources.find(root, 0)
    ((_, _, weights),) = batches(batch_size=12).evaluation(test)
    assert all(weights == 1)
    with open(folder + b"/\xe9.JPEG", "wb"):
        pass
    made = batches(batch_size=12, corrupt=1)
    list(made.evaluation(test))
    assert made.corrupt.names == [os.fsdecode(folder + b"/\xe9.JPEG")]


def test_the_limit_of_damaged_images_is_at_least_0():
    with pytest.raises(ValueError, match=r"`limit` must be at least 0.*limit=-1"):
        Corrupt(-1)


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    """The pictures of the folder as TFDS' own writer prepares `imagenet2012`, in several files."""
    import tensorflow_datasets as tfds

    def examples(split):
        for label, directory in enumerate(sorted((folder / split).iterdir())):
            image = str(directory / "0.JPEG")
            yield {"image": image, "label": label, "file_name": f"{split}_{label}.JPEG"}

    class Imagenet2012(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("5.1.0")

        def _info(self):
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(encoding_format="jpeg"),
                        "label": tfds.features.ClassLabel(num_classes=CLASSES),
                        "file_name": tfds.features.Text(),
                    }
                )
            )

        def _split_generators(self, _):
            return {
                "train": ((one["label"], one) for one in examples("train")),
                "validation": ((one["label"], one) for one in examples("val")),
            }

        def _generate_examples(self):
            raise NotImplementedError

    data_dir = tmp_path_factory.mktemp("tensorflow_datasets")
    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(num_shards=3)
    builder = Imagenet2012(data_dir=data_dir)
    builder.download_and_prepare(download_config=config)
    assert len(builder.info.splits["train"].filepaths) == 3
    return data_dir


def listed(data):
    return [(name.decode(), content, int(label)) for name, content, label in data]


def test_reads_what_tfds_prepared_and_leaves_it_encoded(prepared, folder):
    train, test, names = sources.find(prepared, 0)
    assert (len(train), len(test), len(names)) == (CLASSES, CLASSES, CLASSES)
    expected = {
        (f"val_{label}.JPEG", (folder / "val" / f"class{label:02}" / "0.JPEG").read_bytes(), label)
        for label in range(CLASSES)
    }
    assert set(listed(test.in_order().as_numpy_iterator())) == expected


def test_what_tfds_prepared_is_shuffled_by_seed_and_pass(prepared):
    train, _, _ = sources.find(prepared, 0)
    passes = [
        listed(train.shuffled(tf.constant(n, tf.int64)).as_numpy_iterator()) for n in (0, 1, 0)
    ]
    assert passes[0] == passes[2] != passes[1]
    assert sorted(label for *_, label in passes[1]) == list(range(CLASSES))


def test_streams_what_tfds_prepared(prepared):
    stream = training(prepared, MIXED, last=2)
    assert [images.shape for images, _ in stream] == [(6, SIZE, SIZE, 3)] * 4
    assert_equal(stream[2:], training(prepared, MIXED, first=1, last=2))


def test_sources_differ_by_their_files(folder, tmp_path):
    described = sources.describe(*sources.find(folder, seed=0))
    assert described == sources.describe(*sources.find(folder, seed=1))
    copy = shutil.copytree(folder, tmp_path / "moved")
    assert sources.describe(*sources.find(copy, seed=0)) == described
    first = next(copy.glob("val/*/*"))
    first.rename(first.with_name(f"other-{first.name}"))
    assert sources.describe(*sources.find(copy, seed=0))["fingerprint"] != described["fingerprint"]


def test_a_folder_without_splits_is_divided_as_for_small_images(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LC_CACHE", str(tmp_path / "cache"))
    root = write_folder(tmp_path / "pictures", train=3) / "train"
    train, test, names = sources.find(root, 3, 0.4)
    parts = image_folder.list_parts(root, 0.4, 3)
    for source, part in zip((train, test), parts, strict=True):
        assert source.files == [os.fsencode(f.path) for name in names for f in part[name]]
        assert sorted(set(source.labels)) == list(range(CLASSES))


def test_what_tfds_prepared_is_described_by_its_version_and_size(prepared, folder):
    described = sources.describe(*sources.find(prepared, 0))
    assert described["source"] == "imagenet2012"
    assert (described["training_images"], described["classes"]) == (CLASSES, CLASSES)
    assert described["fingerprint"] != sources.describe(*sources.find(folder, 0))["fingerprint"]


def test_where_nothing_is_the_error_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither train/<class>.*imagenet2012.*--data-dir"):
        sources.find(tmp_path, 0)


def test_the_default_folder_is_that_of_tfds(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert isinstance(sources.find(None, 0)[0], sources.TFRecords)
