import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from keras_lc.data import load

pytestmark = pytest.mark.once

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx_images(x):
    return struct.pack(">4i", 0x00000803, *x.shape) + x.tobytes()


def idx_labels(y):
    return struct.pack(">2i", 0x00000801, len(y)) + bytes(y)


@pytest.fixture
def files():
    rng = np.random.default_rng(0)
    return {
        TRAIN_IMAGES: idx_images(rng.integers(0, 256, (6, 28, 28), np.uint8)),
        TRAIN_LABELS: idx_labels([9, 0, 3, 3, 2, 7]),
        TEST_IMAGES: idx_images(rng.integers(0, 256, (2, 28, 28), np.uint8)),
        TEST_LABELS: idx_labels([5, 8]),
    }


def write(folder, files, compressed=False):
    for name, data in files.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("compressed", [False, True])
def test_reads_labels_and_class_names(compressed, files, tmp_path):
    data = load("fashion_mnist", write(tmp_path, files, compressed))
    assert data.y_train.tolist() == [9, 0, 3, 3, 2, 7]
    assert data.y_test.tolist() == [5, 8]
    assert data.y_train.dtype == np.int32
    assert data.class_names[9] == "Ankle boot"


@pytest.mark.parametrize("compressed", [False, True])
def test_images_are_upscaled_bilinearly_and_keep_one_channel(compressed, files, tmp_path):
    data = load("fashion_mnist", write(tmp_path, files, compressed))
    assert data.x_train.shape == (6, 32, 32, 1)
    assert data.x_test.shape == (2, 32, 32, 1)
    original = np.frombuffer(files[TRAIN_IMAGES][16:], np.uint8).reshape(6, 28, 28)
    for image, source in zip(data.x_train, original, strict=True):
        expected = Image.fromarray(source).resize((32, 32), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image[..., 0], np.asarray(expected))


def test_data_dir_may_be_one_of_the_files(files, tmp_path):
    write(tmp_path, files, compressed=True)
    assert load("fashion_mnist", tmp_path / f"{TEST_LABELS}.gz").y_test.tolist() == [5, 8]


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_file_is_named_with_its_size(compressed, files, tmp_path):
    expected = len(files[TRAIN_IMAGES])
    files[TRAIN_IMAGES] = files[TRAIN_IMAGES][:-100]
    write(tmp_path, files, compressed)
    message = rf"{TRAIN_IMAGES}.* must hold {expected:,} bytes.*Received: {expected - 100:,} bytes"
    with pytest.raises(ValueError, match=message):
        load("fashion_mnist", tmp_path)


def test_truncated_gzip_file_is_named_with_its_size(files, tmp_path):
    write(tmp_path, files, compressed=True)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=rf"{TRAIN_IMAGES}.gz must hold 4,720 bytes.*Received: 2"):
        load("fashion_mnist", tmp_path)


def test_a_flipped_bit_of_a_gzip_file_is_found(files, tmp_path):
    good = load("fashion_mnist", write(tmp_path, files, compressed=True))
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    data = path.read_bytes()
    found = 0
    for place in range(10, len(data), len(data) // 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            np.testing.assert_array_equal(load("fashion_mnist", tmp_path).x_train, good.x_train)
        except ValueError:
            found += 1
    assert found > 35


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_gzip_file_without_its_checksum_is_refused(cut, files, tmp_path):
    write(tmp_path, files, compressed=True)
    path = tmp_path / f"{TRAIN_LABELS}.gz"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=rf"{TRAIN_LABELS}.gz is truncated .* checksum is missing"):
        load("fashion_mnist", tmp_path)


def test_what_follows_a_gzip_file_is_not_overlooked(files, tmp_path):
    write(tmp_path, files, compressed=True)
    path = tmp_path / f"{TRAIN_LABELS}.gz"
    path.write_bytes(path.read_bytes() + gzip.compress(b"more"))
    with pytest.raises(ValueError, match=rf"{TRAIN_LABELS}.gz is truncated or damaged"):
        load("fashion_mnist", tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_is_too_large_is_not_read_to_its_end(compressed, files, tmp_path):
    write(tmp_path, files)
    content = struct.pack(">4i", 0x00000803, 60_001, 28, 28) + bytes(60_001 * 28 * 28)
    if compressed:
        (tmp_path / f"{TEST_IMAGES}.gz").write_bytes(gzip.compress(content, 1))
        (tmp_path / TEST_IMAGES).unlink()
    else:
        (tmp_path / TEST_IMAGES).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{TEST_IMAGES}.* must hold at most 47,040,016 bytes"):
        load("fashion_mnist", tmp_path)


def test_a_file_that_is_no_gzip_file_is_named(files, tmp_path):
    write(tmp_path, files, compressed=True)
    (tmp_path / f"{TRAIN_LABELS}.gz").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=rf"{TRAIN_LABELS}.gz is not a gzip file"):
        load("fashion_mnist", tmp_path)


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", idx_labels([1, 2, 3])])
def test_a_file_of_another_format_is_named(data, files, tmp_path):
    write(tmp_path, {**files, TEST_IMAGES: data})
    with pytest.raises(ValueError, match=rf"{TEST_IMAGES} must begin with the bytes 00 00 08 03"):
        load("fashion_mnist", tmp_path)


def test_a_file_cut_inside_its_header_is_named(files, tmp_path):
    write(tmp_path, {**files, TEST_IMAGES: files[TEST_IMAGES][:10]})
    with pytest.raises(ValueError, match=rf"{TEST_IMAGES} must hold .* Received: 10 bytes"):
        load("fashion_mnist", tmp_path)


def test_labels_must_be_as_many_as_images(files, tmp_path):
    write(tmp_path, {**files, TEST_LABELS: idx_labels([1, 2, 3])})
    with pytest.raises(ValueError, match=r"`y_test` must be int32 of shape \(2,\)"):
        load("fashion_mnist", tmp_path)


def test_a_missing_file_is_named(files, tmp_path):
    del files[TEST_LABELS]
    with pytest.raises(FileNotFoundError, match=rf"lacks {TEST_LABELS}"):
        load("fashion_mnist", write(tmp_path, files))
