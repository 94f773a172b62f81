import os
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from keras_lc.data import image_folder, load
from keras_lc.data.memory import free_memory

pytestmark = pytest.mark.once

REAL_IMAGES = Path(__file__).parents[3] / "shared/data/cifar10-jpeg.tar.gz"


def picture(seed, mode="RGB", size=(6, 5)):
    channels = Image.new(mode, (1, 1)).getbands()
    shape = (size[1], size[0], len(channels)) if len(channels) > 1 else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode)


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


@pytest.fixture
def root(tmp_path):
    """Two classes, with two training images and one test image each."""
    root = tmp_path / "pictures"
    for seed, name in enumerate(
        [
            "train/cat/a.png",
            "train/cat/b.png",
            "train/dog/a.png",
            "train/dog/b.png",
            "test/cat/a.png",
            "test/dog/a.png",
        ]
    ):
        save(picture(seed), root / name)
    return root


@pytest.fixture
def never_decode(monkeypatch):
    def fail(*_):
        raise RuntimeError("decoded")

    return lambda: monkeypatch.setattr(image_folder, "_decode", fail)


def test_images_come_sorted_by_class_and_name(root):
    data = load("pets", root)
    expected = [np.asarray(picture(seed)) for seed in range(6)]
    np.testing.assert_array_equal(data.x_train, expected[:4])
    np.testing.assert_array_equal(data.x_test, expected[4:])
    assert data.x_train.dtype == np.uint8


def test_labels_and_class_names_are_those_of_the_folders(root):
    data = load("pets", root)
    assert data.name == "pets"
    assert data.class_names == ("cat", "dog")
    assert data.y_train.tolist() == [0, 0, 1, 1]
    assert data.y_test.tolist() == [0, 1]
    assert data.y_train.dtype == np.int32


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Test", "VALID"])
def test_the_test_split_may_have_another_name(name, root):
    (root / "test").rename(root / name)
    assert load("pets", root).y_test.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["Train", "TRAIN"])
def test_the_training_split_may_be_written_in_capitals(name, root):
    (root / "train").rename(root / name)
    assert load("pets", root).y_train.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("names", [("train", "Train"), ("Valid", "VALID")])
def test_splits_that_differ_in_case_alone_are_refused(names, root):
    (root / "test").rename(root / names[1])
    (root / names[0]).mkdir(exist_ok=True)
    with pytest.raises(
        ValueError, match=rf"one folder `{names[0].lower()}`\. Received: {names[1]}"
    ):
        load("pets", root)


SUFFIXES = ["PNG", "jpg", "JPEG", "jfif", "webp", "BMP", "tif", "Tiff", "GIF"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_suffixes_are_those_of_common_formats_in_any_case(suffix, root):
    save(picture(9), root / f"train/cat/c.{suffix}")
    with Image.open(root / f"train/cat/c.{suffix}") as image:
        expected = np.asarray(image.convert("RGB"))
    data = load("pets", root)
    assert data.y_train.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(data.x_train[2], expected)


LEFT_BEHIND = [".DS_Store", "Thumbs.db", "._a.png", "desktop.ini", "Icon\r", "@eaDir", "__MACOSX"]


@pytest.mark.parametrize("name", LEFT_BEHIND)
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_what_systems_and_archives_leave_behind_is_ignored(name, is_folder, root):
    for folder in ("train", "train/cat"):
        left = root / folder / name
        if is_folder:
            left.mkdir()
        (left / "a.txt" if is_folder else left).write_bytes(b"not an image")
    assert load("pets", root).y_train.tolist() == [0, 0, 1, 1]


def test_only_grayscale_images_keep_one_channel(tmp_path):
    for seed, name in enumerate(("train", "test")):
        save(picture(seed, "L"), tmp_path / name / "cat/a.png")
    data = load("pets", tmp_path)
    assert data.image_shape == (5, 6, 1)
    np.testing.assert_array_equal(data.x_train[0, ..., 0], np.asarray(picture(0, "L")))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_one_picture_of_colour_gives_all_three_channels(mode, root):
    image = picture(7, "L")
    save(image.convert(mode), root / "train/cat/c.png")
    data = load("pets", root)
    assert data.image_shape == (5, 6, 3)
    expected = np.asarray(image.convert(mode).convert("RGB"))
    np.testing.assert_array_equal(data.x_train[2], expected)


def test_pictures_that_are_turned_have_the_size_that_a_viewer_shows(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "train/cat/a.png").unlink()
    turned = picture(0, size=(5, 6))
    turned.save(root / "train/cat/a.png", exif=exif)
    expected = np.rot90(np.asarray(turned), -1)
    np.testing.assert_array_equal(load("pets", root).x_train[0], expected)


def test_images_with_16_bits_are_refused(root):
    save(Image.fromarray(np.zeros((5, 6), np.uint16)), root / "train/cat/c.png")
    with pytest.raises(ValueError, match=r"c.png must have 8 bits per channel.*'I;16'"):
        load("pets", root)


def test_second_load_decodes_nothing(root, never_decode):
    first = load("pets", root)
    never_decode()
    second = load("pets", root)
    np.testing.assert_array_equal(second.x_train, first.x_train)
    np.testing.assert_array_equal(second.y_train, first.y_train)
    np.testing.assert_array_equal(second.x_test, first.x_test)
    np.testing.assert_array_equal(second.y_test, first.y_test)
    assert second.class_names == first.class_names


def test_cache_lies_outside_the_folder(root, tmp_path):
    before = sorted(root.rglob("*"))
    load("pets", root)
    assert sorted(root.rglob("*")) == before
    assert len(list((tmp_path / "keras_lc_cache").iterdir())) == 1


@pytest.mark.parametrize("folder", ["home/.keras/keras_lc", "keras_home/keras_lc"])
def test_cache_lies_in_the_home_of_keras_by_default(folder, root, tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_LC_CACHE")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    if "keras_home" in folder:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras_home"))
    load("pets", root)
    assert len(list((tmp_path / folder).iterdir())) == 1


def test_a_changed_image_is_decoded_again(root, tmp_path):
    load("pets", root)
    save(picture(99), root / "train/cat/a.png")
    np.testing.assert_array_equal(load("pets", root).x_train[0], np.asarray(picture(99)))
    assert len(list((tmp_path / "keras_lc_cache").iterdir())) == 1


def test_a_renamed_image_is_decoded_again(root):
    load("pets", root)
    (root / "train/cat/a.png").rename(root / "train/cat/z.png")
    np.testing.assert_array_equal(load("pets", root).x_train[1], np.asarray(picture(0)))


def flip_a_bit(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [flip_a_bit, lambda data: data[:-200], lambda data: b"", lambda data: b"nonsense"]
)
def test_a_damaged_cache_is_rebuilt(damage, root, tmp_path, never_decode):
    load("pets", root)
    (cache,) = (tmp_path / "keras_lc_cache").iterdir()
    good = cache.read_bytes()
    cache.write_bytes(damage(good))
    np.testing.assert_array_equal(load("pets", root).x_train[0], np.asarray(picture(0)))
    never_decode()
    load("pets", root)


def drop(name):
    return lambda arrays: arrays.pop(name)


def put(name, value):
    return lambda arrays: arrays.update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        drop("images"), drop("contents"), put("z", np.zeros(1)),
        put("images", np.zeros((5, 5, 6, 3), np.uint8)), put("images", np.zeros((6, 5, 6, 3))),
        put("images", np.zeros((6, 5, 6), np.uint8)), put("contents", np.zeros((5, 16), np.uint8)),
        put("contents", np.zeros((6, 16))),
    ],
    ids=["one less", "no hashes", "one more", "fewer images", "type", "axes", "fewer", "floats"],
)  # fmt: skip
def test_a_cache_with_other_arrays_is_decoded_anew(change, root, tmp_path, never_decode):
    first = load("pets", root)
    (cache,) = (tmp_path / "keras_lc_cache").iterdir()
    with np.load(cache) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(cache, **arrays)
    again = load("pets", root)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name), strict=True)
    never_decode()
    load("pets", root)


def test_a_cache_that_cannot_be_written_is_only_a_warning(root, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_LC_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="could not be cached.* Set KERAS_LC_CACHE"):
        assert load("pets", root).y_test.tolist() == [0, 1]


def test_progress_can_be_silenced(root, capfd):
    load("pets", root, progress=False)
    assert capfd.readouterr().err == ""


def test_progress_is_shown_while_decoding(root, capfd):
    load("pets", root)
    assert "Decoding: 100%" in capfd.readouterr().err


@pytest.mark.parametrize("cut", [1, 2, 50, 300])
@pytest.mark.parametrize("tolerant", [False, True])
def test_a_truncated_jpeg_is_named(cut, tolerant, root, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    path = root / "train/dog/c.jpg"
    save(picture(3), path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=r"train/dog/c.jpg is truncated or damaged"):
        load("pets", root)
    assert tolerant == ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_truncated_png_is_named(root):
    path = root / "test/dog/a.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"test/dog/a.png is truncated or damaged"):
        load("pets", root)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_a_file_that_is_no_image_inside_is_named(content, root):
    (root / "train/cat/a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"train/cat/a.png is truncated or damaged"):
        load("pets", root)


def test_a_file_that_is_no_image_by_name_is_named(root):
    (root / "train/cat/notes.txt").touch()
    with pytest.raises(ValueError, match=r"train/cat/notes.txt is not an image .* .png, .jpg"):
        load("pets", root)


def test_all_images_that_cannot_be_read_are_named_at_once(root):
    (root / "train/cat/a.png").write_bytes(b"")
    truncated = root / "test/dog/a.png"
    truncated.write_bytes(truncated.read_bytes()[:-40])
    save(Image.fromarray(np.zeros((5, 6), np.uint16)), root / "train/dog/c.png")
    with pytest.raises(ValueError, match="image") as error:
        load("pets", root)
    lines = str(error.value).splitlines()
    broken = ["train/cat/a.png", "train/dog/c.png", "test/dog/a.png"]
    for line, path in zip(lines, broken, strict=True):
        assert line.startswith(f"The image {root}/{path} ")


def test_a_folder_of_broken_images_alone_is_refused(root):
    for path in root.rglob("*.png"):
        path.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"train/cat/a.png is truncated or damaged") as error:
        load("pets", root)
    assert len(str(error.value).splitlines()) == 6


def test_very_many_broken_images_are_counted(root):
    for i in range(120):
        (root / f"train/cat/{i:03}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="image") as error:
        load("pets", root)
    lines = str(error.value).splitlines()
    assert len(lines) == 101 and lines[-1] == "and 20 more"


def test_an_image_that_vanishes_is_named(root, monkeypatch):
    decode = image_folder._decode

    def vanish(*arguments):
        (root / "train/dog/b.png").unlink()
        return decode(*arguments)

    monkeypatch.setattr(image_folder, "_decode", vanish)
    with pytest.raises(ValueError, match=r"train/dog/b.png is truncated or damaged: .*No such"):
        load("pets", root)


def test_names_that_are_not_utf_8_work(root):
    os.rename(root / "train/cat/a.png", os.fsencode(root) + b"/train/cat/\xe9.png")
    for split in ("train", "test"):
        os.rename(root / split / "dog", os.fsencode(root / split) + b"/z\xfcrich")
    data = load("pets", root)
    np.testing.assert_array_equal(data.x_train[1], np.asarray(picture(0)))
    assert data.class_names == ("cat", os.fsdecode(b"z\xfcrich"))
    np.testing.assert_array_equal(load("pets", root).x_train, data.x_train)


def test_all_that_does_not_belong_into_the_folder_is_named_at_once(root):
    (root / "train/cat/notes.txt").touch()
    (root / "test/labels.csv").touch()
    (root / "test/horse").mkdir()
    with pytest.raises(ValueError, match="is not an image") as error:
        load("pets", root)
    for words in ("notes.txt is not an image", "labels.csv is not a", "horse is empty"):
        assert words in str(error.value)


def test_a_folder_inside_a_class_folder_is_named(root):
    (root / "train/cat/more.png").mkdir()
    with pytest.raises(ValueError, match=r"train/cat/more.png is not an image"):
        load("pets", root)


def test_a_file_beside_the_class_folders_is_named(root):
    (root / "train/labels.csv").touch()
    with pytest.raises(ValueError, match=r"train/labels.csv is not a class folder"):
        load("pets", root)


def test_different_classes_are_named_on_each_side(root):
    (root / "test/dog").rename(root / "test/wolf")
    message = r"differ in classes: only in train: dog; only in test: wolf"
    with pytest.raises(ValueError, match=message):
        load("pets", root)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("caf\u00e9", "caf\u00e9"),
        ("cafe\u0301", r"'cafe\\u0301'"),
        ("dog\u200b", r"'dog\\u200b'"),
        ("dog ", "'dog '"),
        ("\u3164", r"'\\u3164'"),
    ],
    ids=ascii,
)
def test_class_names_are_written_so_that_one_sees_what_they_are(name, seen, root):
    (root / "test/dog").rename(root / "test" / name)
    with pytest.raises(ValueError, match=rf"only in train: dog; only in test: {seen}$"):
        load("pets", root)


def test_many_different_classes_are_counted(root):
    for i in range(9):
        save(picture(0), root / f"train/{i}/a.png")
    with pytest.raises(ValueError, match=r"only in train: 0, 1, 2, 3, 4, and 4 more; only in test"):
        load("pets", root)


def test_classes_that_differ_in_their_unicode_form_alone_are_refused(root):
    for split in ("train", "test"):
        (root / split / "cat").rename(root / split / "caf\u00e9")
        (root / split / "dog").rename(root / split / "cafe\u0301")
    with pytest.raises(ValueError, match=r"'cafe\\u0301' and café of .*train differ only in"):
        load("pets", root)


def test_a_class_without_test_images_is_named(root):
    save(picture(0), root / "train/horse/a.png")
    with pytest.raises(ValueError, match=r"only in train: horse; only in test: none"):
        load("pets", root)


def test_an_empty_class_folder_is_named(root):
    (root / "test/dog/a.png").rename(root / "test/dog/.hidden.png")
    with pytest.raises(ValueError, match=r"class folder .*test/dog is empty"):
        load("pets", root)


def test_images_of_different_sizes_are_named(root):
    save(picture(0, size=(7, 5)), root / "train/dog/b.png")
    message = r"same size, but .*train/cat/a.png has 6 x 5 pixels and .*train/dog/b.png has 7 x 5"
    with pytest.raises(ValueError, match=message):
        load("pets", root)


def test_a_split_without_class_folders_is_named(root):
    for path in sorted((root / "test").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=r"test holds no class folders"):
        load("pets", root)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", r"holds `test`, but no folder `train`"),
        ("test", r"holds `train`, but no folder `test` \(nor `val`, `valid`, `validation`\)"),
    ],
)
def test_a_missing_split_is_named(split, message, root):
    (root / split).rename(root.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match=message):
        load("pets", root)


def test_real_cifar10_jpegs(tmp_path):
    if not REAL_IMAGES.exists():
        pytest.skip(f"{REAL_IMAGES} is not there")
    classes = "airplane automobile bird cat deer dog frog horse ship truck".split()
    wanted = {f"{split}/{name}" for split in ("train", "test") for name in classes}
    kept = dict.fromkeys(wanted, 0)
    with tarfile.open(REAL_IMAGES) as tar:
        for member in tar:
            folder = "/".join(Path(member.name).parts[-3:-1])
            if member.isfile() and kept.get(folder, 3) < 3:
                kept[folder] += 1
                target = tmp_path / "cifar10" / folder / Path(member.name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load("cifar10", tmp_path / "cifar10", progress=False)
    assert data.x_train.shape == (30, 32, 32, 3)
    assert data.x_test.shape == (30, 32, 32, 3)
    assert data.y_train.tolist() == data.y_test.tolist() == [k for k in range(10) for _ in "abc"]
    assert data.class_names == tuple(classes)
    assert all(60 < mean < 190 for mean in data.mean)


# --- pictures of any size, and folders without train and test ---


@pytest.fixture
def photos(tmp_path):
    """Two classes of pictures of many sizes, without train and test."""
    for name, count in (("cat", 30), ("dog", 40)):
        for i in range(count):
            save(picture(100 * count + i, size=(20 + i, 45 - i)), tmp_path / f"all/{name}/{i}.png")
    return tmp_path / "all"


def names_of(folder, **kwargs):
    train, test = image_folder.list_parts(folder, **{"test_share": 0.3, "seed": 1, **kwargs})
    return (
        {f"{name}/{file.name}" for name, files in part.items() for file in files}
        for part in (train, test)
    )


def centre(image, size):
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def test_pictures_of_any_size_show_their_centre(root):
    for i, size in enumerate([(40, 25), (16, 16), (23, 50)]):
        save(picture(i, size=size), root / f"train/cat/{i}.png")
    data = load("pets", root, image_size=18)
    assert data.image_shape == (18, 18, 3)
    for i, size in enumerate([(40, 25), (16, 16), (23, 50)]):
        np.testing.assert_array_equal(data.x_train[i], centre(picture(i, size=size), 18))


def test_a_turned_photo_is_cut_as_a_viewer_shows_it(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = picture(5, size=(20, 31))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(root / "train/cat/a.png", exif=exif)
    data = load("pets", root, image_size=16)
    np.testing.assert_array_equal(data.x_train[0], centre(upright, 16))


def test_each_size_has_its_own_cache(root, never_decode):
    small, large = (load("pets", root, image_size=size).x_train for size in (16, 17))
    never_decode()
    np.testing.assert_array_equal(load("pets", root, image_size=16).x_train, small)
    np.testing.assert_array_equal(load("pets", root, image_size=17).x_train, large)


def test_other_sources_come_in_the_size_too():
    digits = load("digits", image_size=16)
    assert digits.image_shape == (16, 16, 1)
    full = load("digits")
    expected = centre(Image.fromarray(full.x_test[7, ..., 0]), 16)
    np.testing.assert_array_equal(digits.x_test[7, ..., 0], expected)


def test_a_folder_of_classes_is_divided(photos):
    data = load("pets", photos, image_size=16, test_share=0.3, seed=1)
    assert data.class_names == ("cat", "dog")
    train, test = names_of(photos)
    assert (len(train), len(test)) == (len(data.x_train), len(data.x_test))
    assert len(train) + len(test) == 70 and not train & test
    assert 0.15 < np.mean(data.y_test == 0) < 0.85 and 10 < len(test) < 35
    first = min(name for name in test if name.startswith("cat"))
    with Image.open(photos / first) as image:
        np.testing.assert_array_equal(data.x_test[0], centre(image, 16))


def test_the_share_holds_on_average():
    contents = np.random.default_rng(0).integers(0, 256, (4000, 16), np.uint8)
    labels = np.arange(4000) % 2
    for share in (0.1, 0.2, 0.5):
        chosen = image_folder._choose("ab", labels, contents, share, 3)
        assert abs(chosen.mean() - share) < 4 * (share / 4000) ** 0.5


def test_seed_decides_what_is_for_testing(photos):
    (_, first), (_, same), (_, other) = (names_of(photos, seed=seed) for seed in (1, 1, 2))
    assert first == same != other


def test_renamed_and_added_files_do_not_move_others(photos):
    train, test = names_of(photos)
    moved, stays = min(test), min(train)
    (photos / moved).rename(photos / "cat" / "zz.png")
    (photos / stays).rename(photos / "cat" / "yy.png")
    for i in range(20):
        save(picture(7000 + i, size=(9, 9)), photos / f"cat/new{i}.png")
    now_train, now_test = names_of(photos)
    assert "cat/zz.png" in now_test and test - {moved} <= now_test
    assert "cat/yy.png" in now_train and train - {stays} <= now_train
    assert len(now_train) > len(train) and len(now_test) > len(test)


def test_equal_files_stay_together(photos):
    train, test = names_of(photos)
    for i, name in enumerate([*sorted(train)[:9], *sorted(test)[:9]]):
        (photos / name.partition("/")[0] / f"copy{i}.png").write_bytes((photos / name).read_bytes())
    now_train, now_test = names_of(photos)
    copies = {name for name in now_train if "copy" in name}
    assert {int(name.partition("copy")[2][:-4]) for name in copies} == set(range(9))
    assert len(now_test) == len(test) + 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("pets", photos, image_size=16)


def test_each_class_has_a_picture_in_each_part(tmp_path):
    for seed in range(6):
        save(picture(seed), tmp_path / f"all/{'abc'[seed % 3]}/{seed}.png")
    for share in (0.001, 0.999):
        data = load("three", tmp_path / "all", test_share=share)
        assert data.y_train.tolist() == data.y_test.tolist() == [0, 1, 2]


def test_equal_files_in_both_splits_or_in_two_classes_are_reported(root):
    data = (root / "train/cat/a.png").read_bytes()
    (root / "test/cat/again.png").write_bytes(data)
    with pytest.warns(UserWarning, match=r"test accuracy is too high: .*cat/a.png = "):
        load("pets", root)
    (root / "test/cat/again.png").unlink()
    (root / "train/dog/again.png").write_bytes(data)
    with pytest.warns(UserWarning, match=r"in different classes: .*cat/a.png = .*dog/again.png"):
        load("pets", root)


def test_classes_may_be_called_train_and_test(tmp_path):
    for seed in range(9):
        save(picture(seed), tmp_path / f"{('bus', 'test', 'train')[seed % 3]}/{seed}.png")
    assert load("traffic", tmp_path).class_names == ("bus", "test", "train")


def test_a_folder_with_only_train_can_be_divided(root):
    (root / "test").rename(root.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no folder `test`.*pass the folder .*/train$"):
        load("pets", root)
    assert len(load("pets", root / "train").x_test) == 2


def test_a_class_with_one_picture_is_named(photos):
    save(picture(1, size=(9, 9)), photos / "rat/a.png")
    save(picture(1, size=(9, 9)), photos / "rat/equal.png")
    save(picture(2, size=(9, 9)), photos / "mouse/a.png")
    message = r"two different pictures.*Received: mouse \(1\), rat \(2\)$"
    for read in (lambda: load("pets", photos, image_size=16), lambda: names_of(photos)):
        with pytest.raises(ValueError, match=message):
            read()


def test_a_single_class_is_refused(photos):
    (photos / "dog").rename(photos.parent / "dog")
    with pytest.raises(ValueError, match=r"folder for each class, at least two. Received: cat$"):
        load("pets", photos, image_size=16)


def test_pictures_without_class_folders_are_refused(tmp_path):
    save(picture(0), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"folder for each class.*without class folders$"):
        load("pets", tmp_path)


@pytest.mark.parametrize("size", [15, 0, 96.0, "96"])
def test_sizes_below_16_are_refused(size, root):
    with pytest.raises(ValueError, match=rf"`image_size` must be .* 16.*image_size={size!r}"):
        load("pets", root, image_size=size)


@pytest.mark.parametrize("share", [0, 1, -0.5, None])
def test_a_share_must_leave_something(share, root):
    with pytest.raises(ValueError, match=rf"`test_share` must be .*test_share={share}"):
        load("pets", root, test_share=share)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(photos, monkeypatch):
    monkeypatch.setattr(image_folder, "free_memory", lambda: 2 * 70 * 96 * 96 * 3 - 1)
    monkeypatch.setattr(image_folder, "_try_decode", None)
    message = r"70 pictures.*0\.0 GB.*recipes.imagenet --data-dir .*/all --image-size 96$"
    with pytest.raises(ValueError, match=message):
        load("pets", photos, image_size=96)
    monkeypatch.undo()
    assert len(load("pets", photos, image_size=96).x_train)


def test_memory_is_known_here():
    assert 2**20 < free_memory() < 2**50


def test_one_size_without_image_size_is_named_with_the_way_out(root):
    save(picture(0, size=(7, 5)), root / "train/dog/b.png")
    with pytest.raises(ValueError, match=r"pass `image_size`, for example image_size=96"):
        load("pets", root)
