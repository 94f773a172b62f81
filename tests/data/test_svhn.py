import numpy as np
import pytest
import scipy.io

from keras_lc.data import load

pytestmark = pytest.mark.once


def write(path, x, labels):
    content = {"X": x.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, None]}
    scipy.io.savemat(path, content, do_compression=True)


@pytest.fixture
def x():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, x):
    write(tmp_path / "train_32x32.mat", x[:3], [1, 10, 9])
    write(tmp_path / "test_32x32.mat", x[3:], [10, 5])
    return tmp_path


def test_reads_images(folder, x):
    data = load("svhn_cropped", folder)
    np.testing.assert_array_equal(data.x_train, x[:3])
    np.testing.assert_array_equal(data.x_test, x[3:])
    assert data.x_train.flags.c_contiguous


def test_label_10_is_the_digit_0(folder):
    data = load("svhn_cropped", folder)
    assert data.y_train.tolist() == [1, 0, 9]
    assert data.y_test.tolist() == [0, 5]
    assert data.y_train.dtype == np.int32
    assert data.class_names == tuple("0123456789")


def test_data_dir_may_be_one_of_the_files(folder):
    assert load("svhn_cropped", folder / "train_32x32.mat").y_test.tolist() == [0, 5]


@pytest.mark.parametrize("kept", [0, 100, 4000])
def test_truncated_file_is_named_with_its_size(kept, folder):
    path = folder / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:kept])
    message = rf"train_32x32.mat is truncated.* it has {kept:,} bytes, .* 182,040,794"
    with pytest.raises(ValueError, match=message):
        load("svhn_cropped", folder)


def test_a_flipped_bit_is_found(folder):
    good = load("svhn_cropped", folder).x_train
    path = folder / "train_32x32.mat"
    data = path.read_bytes()
    found = 0
    for place in range(200, len(data), len(data) // 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            np.testing.assert_array_equal(load("svhn_cropped", folder).x_train, good)
        except ValueError:
            found += 1
    assert found > 35


@pytest.mark.parametrize("name", ["X", "y"])
def test_a_variable_that_is_too_large_is_not_read(name, folder, monkeypatch):
    content = {"X": np.zeros((32, 32, 3, 1), np.uint8), "y": np.ones((1, 1), np.uint8)}
    content[name] = np.zeros((32, 32, 3, 26_033), np.uint8)
    scipy.io.savemat(folder / "test_32x32.mat", content, do_compression=True)
    load_mat = scipy.io.loadmat

    def load_small(path, **options):
        assert path.name != "test_32x32.mat"
        return load_mat(path, **options)

    monkeypatch.setattr(scipy.io, "loadmat", load_small)
    with pytest.raises(ValueError, match=r"test_32x32.mat must hold at most 26,032 images"):
        load("svhn_cropped", folder)


def test_a_missing_file_is_named(folder):
    (folder / "test_32x32.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks test_32x32.mat"):
        load("svhn_cropped", folder)


def test_missing_variables_are_named(folder):
    scipy.io.savemat(folder / "test_32x32.mat", {"X": np.zeros(3)})
    with pytest.raises(ValueError, match=r"test_32x32.mat lacks the variable\(s\) y"):
        load("svhn_cropped", folder)


def test_images_of_another_shape_are_refused(folder, x):
    write(folder / "test_32x32.mat", x[:, :16], [1] * 5)
    with pytest.raises(ValueError, match=r"must hold `X` as uint8 .*Received: .*\(16, 32, 3, 5\)"):
        load("svhn_cropped", folder)
