import dataclasses
import io
import pickle
import tarfile

import numpy as np
import pytest

from keras_lc.data import cifar, load

pytestmark = pytest.mark.once

CIFAR10_FILES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


@pytest.fixture
def few_records(monkeypatch):
    """Files of 4 records stand for the original ones of 10,000 and 50,000."""
    small = {
        name: dataclasses.replace(variant, records=(4, 4))
        for name, variant in cifar._VARIANTS.items()
    }
    monkeypatch.setattr(cifar, "_VARIANTS", small)


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), np.uint8)


def record(labels, image):
    """The label bytes, then the red, the green and the blue plane, each row by row."""
    planes = [image[:, :, channel].tobytes() for channel in range(3)]
    return bytes(labels) + b"".join(planes)


def cifar10_files():
    x = images(24)
    y = np.arange(24) % 10
    records = [record([label], image) for label, image in zip(y, x, strict=True)]
    files = {name: b"".join(records[4 * i : 4 * i + 4]) for i, name in enumerate(CIFAR10_FILES)}
    return x, y, files


def write_folder(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_tar(path, files, compression="gz"):
    level = {"preset": 0} if compression == "xz" else {"compresslevel": 1}
    with tarfile.open(path, f"w:{compression}", **level) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def assert_is_cifar10(data, x, y):
    np.testing.assert_array_equal(data.x_train, x[:20])
    np.testing.assert_array_equal(data.y_train, y[:20])
    np.testing.assert_array_equal(data.x_test, x[20:])
    np.testing.assert_array_equal(data.y_test, y[20:])


def lay_out_files(folder, files):
    return write_folder(folder, files)


def lay_out_unpacked_folder(folder, files):
    write_folder(folder / "cifar-10-batches-bin", files)
    return folder


def lay_out_folder_with_archive(folder, files):
    write_tar(folder / "cifar-10-binary.tar.gz", in_archive(files))
    return folder


def lay_out_renamed_archive(folder, files):
    return write_tar(folder / "mine.tgz", in_archive(files))


def in_archive(files):
    return {f"cifar-10-batches-bin/{name}": data for name, data in files.items()}


@pytest.mark.parametrize(
    "lay_out",
    [
        lay_out_files,
        lay_out_unpacked_folder,
        lay_out_folder_with_archive,
        lay_out_renamed_archive,
    ],
)
def test_reads_cifar10_however_it_lies_there(lay_out, few_records, tmp_path):
    x, y, files = cifar10_files()
    data = load("cifar10", lay_out(tmp_path, files))
    assert_is_cifar10(data, x, y)
    assert data.y_train.dtype == np.int32
    assert data.x_train.flags.c_contiguous
    assert data.class_names[0] == "airplane"
    assert data.class_names[9] == "truck"


def test_reads_the_archive_in_the_manual_folder_of_tfds(few_records, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    x, y, files = cifar10_files()
    write_tar(manual / "cifar-10-binary.tar.gz", in_archive(files))
    assert_is_cifar10(load("cifar10"), x, y)


def test_leaves_the_archive_as_it_was(few_records, tmp_path):
    _, _, files = cifar10_files()
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", in_archive(files))
    before = archive.read_bytes()
    load("cifar10", archive)
    assert archive.read_bytes() == before
    assert list(tmp_path.iterdir()) == [archive]


def test_cifar100_has_its_fine_labels(few_records, tmp_path):
    x = images(8)
    coarse, fine = [19, 3, 0, 7, 11, 1, 2, 5], [99, 29, 0, 11, 1, 86, 90, 28]
    records = [record(labels, image) for *labels, image in zip(coarse, fine, x, strict=True)]
    write_folder(tmp_path, {"train.bin": b"".join(records[:4]), "test.bin": b"".join(records[4:])})
    data = load("cifar100", tmp_path)
    np.testing.assert_array_equal(data.x_train, x[:4])
    np.testing.assert_array_equal(data.x_test, x[4:])
    assert [*data.y_train, *data.y_test] == fine
    assert [data.class_names[label] for label in (0, 29, 99)] == ["apple", "dinosaur", "worm"]


def test_cifar100_has_100_classes_in_alphabetical_order():
    names = cifar._VARIANTS["cifar100"].class_names
    assert len(set(names)) == 100
    assert list(names) == sorted(names)


def test_original_files_have_10000_records(tmp_path):
    for name in CIFAR10_FILES:
        with open(tmp_path / name, "wb") as file:
            file.truncate(10_000 * 3073)
    data = load("cifar10", tmp_path)
    assert data.x_train.shape == (50_000, 32, 32, 3)
    assert data.x_test.shape == (10_000, 32, 32, 3)


@pytest.mark.parametrize("cut", [1, 3073])
def test_truncated_file_is_named_with_its_size(cut, few_records, tmp_path):
    _, _, files = cifar10_files()
    files["data_batch_3.bin"] = files["data_batch_3.bin"][:-cut]
    write_folder(tmp_path, files)
    message = (
        rf"data_batch_3.bin must have 12,292 bytes \(4 records of 3,073\). "
        rf"Received: {12292 - cut:,} bytes"
    )
    with pytest.raises(ValueError, match=message):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01])
def test_truncated_archive_is_named_with_its_size(kept, few_records, tmp_path):
    _, _, files = cifar10_files()
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", in_archive(files))
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * kept)])
    message = rf"cifar-10-binary.tar.gz is truncated.*{archive.stat().st_size:,} bytes.*170,052,171"
    with pytest.raises(ValueError, match=message):
        load("cifar10", archive)


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_flipped_bit_of_an_archive_is_found(compression, few_records, tmp_path):
    x, y, files = cifar10_files()
    archive = write_tar(tmp_path / f"a.tar.{compression}", in_archive(files), compression)
    data = archive.read_bytes()
    found = 0
    for place in range(20, len(data), len(data) // 40):
        archive.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            assert_is_cifar10(load("cifar10", archive), x, y)
        except (ValueError, FileNotFoundError):
            found += 1
    assert found > 35


@pytest.mark.parametrize("compression", ["gz", "xz"])
def test_an_archive_without_its_checksum_is_refused(compression, few_records, tmp_path):
    _, _, files = cifar10_files()
    archive = write_tar(tmp_path / f"a.tar.{compression}", in_archive(files), compression)
    archive.write_bytes(archive.read_bytes()[:-4])
    with pytest.raises(ValueError, match=rf"a.tar.{compression} is truncated, damaged or not a"):
        load("cifar10", archive)


def test_a_member_that_is_too_large_is_not_read(few_records, tmp_path, monkeypatch):
    _, _, files = cifar10_files()
    files["data_batch_1.bin"] += bytes(2**20)
    archive = write_tar(tmp_path / "cifar.tar.gz", in_archive(files))
    monkeypatch.delattr(tarfile.TarFile, "extractfile")
    with pytest.raises(ValueError, match=r"data_batch_1.bin must have 12,292 bytes .* 1,060,868"):
        load("cifar10", archive)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    for name in CIFAR10_FILES:
        with open(tmp_path / name, "wb") as file:
            file.truncate(2**40)
    with pytest.raises(ValueError, match=r"data_batch_1.bin must have 30,730,000 bytes"):
        load("cifar10", tmp_path)


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "cifar.npz").write_bytes(b"no archive at all")
    with pytest.raises(ValueError, match=r"cifar.npz is truncated, damaged or not a tar archive"):
        load("cifar10", tmp_path / "cifar.npz")


def test_an_archive_of_something_else_is_named(few_records, tmp_path):
    write_tar(tmp_path / "other.tar.gz", {"readme.txt": b"hello"})
    with pytest.raises(ValueError, match=r"other.tar.gz holds none of the files of cifar-10-bin"):
        load("cifar10", tmp_path / "other.tar.gz")


def test_a_missing_file_is_named(few_records, tmp_path):
    _, _, files = cifar10_files()
    del files["data_batch_2.bin"]
    with pytest.raises(FileNotFoundError, match=r"lacks data_batch_2.bin of cifar-10-binary"):
        load("cifar10", write_folder(tmp_path, files))


def test_a_label_out_of_range_is_found(few_records, tmp_path):
    _, _, files = cifar10_files()
    files["test_batch.bin"] = b"\x0b" + files["test_batch.bin"][1:]
    with pytest.raises(ValueError, match=r"`y_test` must hold labels from 0 to 9. .* to 11"):
        load("cifar10", write_folder(tmp_path, files))


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize("lies_as", ["folder", "unpacked", "archive", "archive in a folder"])
@pytest.mark.parametrize(
    ("name", "folder", "member", "archive", "binary"),
    [
        (
            "cifar10",
            "cifar-10-batches-py",
            "data_batch_1",
            "cifar-10-python.tar.gz",
            "cifar-10-binary.tar.gz",
        ),
        (
            "cifar100",
            "cifar-100-python",
            "train",
            "cifar-100-python.tar.gz",
            "cifar-100-binary.tar.gz",
        ),
    ],
)
def test_the_python_version_is_refused(lies_as, name, folder, member, archive, binary, tmp_path):
    content = pickle.dumps(Bomb())
    if lies_as.startswith("archive"):
        path = write_tar(tmp_path / archive, {f"{folder}/{member}": content})
        path = path if lies_as == "archive" else tmp_path
    else:
        path = write_folder(tmp_path / folder, {member: content})
        path = path if lies_as == "folder" else tmp_path
    with pytest.raises(ValueError, match=rf"is the Python version of CIFAR.*get {binary}"):
        load(name, path)
