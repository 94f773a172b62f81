"""Reads CIFAR-10 and CIFAR-100 from their original binary archives.

References:
    - [Learning Multiple Layers of Features from Tiny Images](
      https://www.cs.toronto.edu/~kriz/cifar.html), Krizhevsky 2009. The page describes the format.
"""

import lzma
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from keras_lc.data.dataset import Dataset

_IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True)
class _Variant:
    archive: str
    archive_bytes: int
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    # Records in each training file, and in each test file.
    records: tuple[int, int]
    # The bytes before each image. The last of them is the class.
    label_bytes: int
    python_archive: str
    python_folder: str
    class_names: tuple[str, ...]

    @property
    def record_bytes(self) -> int:
        return self.label_bytes + _IMAGE_BYTES


_VARIANTS = {
    "cifar10": _Variant(
        archive="cifar-10-binary.tar.gz",
        archive_bytes=170_052_171,
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test=("test_batch.bin",),
        records=(10_000, 10_000),
        label_bytes=1,
        python_archive="cifar-10-python.tar.gz",
        python_folder="cifar-10-batches-py",
        class_names=tuple(
            "airplane automobile bird cat deer dog frog horse ship truck".split(),
        ),
    ),
    "cifar100": _Variant(
        archive="cifar-100-binary.tar.gz",
        archive_bytes=168_513_733,
        folder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        records=(50_000, 10_000),
        label_bytes=2,
        python_archive="cifar-100-python.tar.gz",
        python_folder="cifar-100-python",
        class_names=tuple(
            """
            apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
            butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
            couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
            house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
            motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
            pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
            rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
            streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
            trout tulip turtle wardrobe whale willow_tree wolf woman worm
            """.split()
        ),
    ),
}

ARCHIVES = {
    name: f"{variant.archive} (from https://www.cs.toronto.edu/~kriz/cifar.html), or its .bin files"
    for name, variant in _VARIANTS.items()
}


def read(name: str, path: Path) -> Dataset | None:
    """Reads the binary version of CIFAR.

    Args:
        name: `"cifar10"`, or `"cifar100"` with its 100 fine labels.
        path: The archive, or a folder that contains the archive, its unpacked folder or its
            `.bin` files.

    Returns:
        The dataset, or `None` if `path` is a folder without any of these.

    Raises:
        ValueError: If a file is truncated, is damaged or is the Python version of CIFAR.
        FileNotFoundError: If some of the files are missing.
    """
    variant = _VARIANTS[name]
    contents = _contents(variant, path)
    if not contents:
        return None
    missing = sorted({*variant.train, *variant.test} - set(contents))
    if missing:
        raise FileNotFoundError(f"{path} lacks {', '.join(missing)} of {variant.archive}")
    x_train, y_train = _decode(variant, [contents[f] for f in variant.train], variant.records[0])
    x_test, y_test = _decode(variant, [contents[f] for f in variant.test], variant.records[1])
    return Dataset(name, x_train, y_train, x_test, y_test, variant.class_names)


def _contents(variant: _Variant, path: Path) -> dict[str, bytes]:
    """Returns the content of each file of the archive that exists."""
    if path.is_file():
        return _unpack(variant, path)
    for folder in (path, path / variant.folder):
        files = [f for name in (*variant.train, *variant.test) if (f := folder / name).is_file()]
        for file in files:
            _check_size(variant, file.name, file, file.stat().st_size)
        if files:
            return {file.name: file.read_bytes() for file in files}
    if (path / variant.archive).is_file():
        return _unpack(variant, path / variant.archive)
    for python in (path / variant.python_archive, path / variant.python_folder):
        if python.exists():
            raise _python_version(variant, python)
    if path.name == variant.python_folder:
        raise _python_version(variant, path)
    return {}


def _unpack(variant: _Variant, archive: Path) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                location = PurePosixPath(member.name)
                if variant.python_folder in location.parts:
                    raise _python_version(variant, archive)
                if location.name in (*variant.train, *variant.test) and member.isfile():
                    _check_size(variant, location.name, f"{archive}/{location}", member.size)
                    contents[location.name] = tar.extractfile(member).read()
            _read_to_the_end(tar.fileobj)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(
            f"{archive} is truncated, damaged or not a tar archive: it has "
            f"{archive.stat().st_size:,} bytes, the original {variant.archive} has "
            f"{variant.archive_bytes:,} ({error})"
        ) from error
    if not contents:
        raise ValueError(f"{archive} holds none of the files of {variant.archive}")
    return contents


def _read_to_the_end(stream: BinaryIO) -> None:
    """Reads a compressed stream to its end, so that its checksum is compared."""
    while stream.read(2**20):
        pass


def _python_version(variant: _Variant, path: Path) -> ValueError:
    return ValueError(
        f"{path} is the Python version of CIFAR. Its files are pickles and can run any code when "
        f"they are read, so they are refused. For the binary version, get {variant.archive}"
    )


def _check_size(variant: _Variant, name: str, location: str | Path, size: int) -> None:
    """Refuses a file with a wrong size, before it takes memory."""
    records = variant.records[name in variant.test]
    if size != records * variant.record_bytes:
        raise ValueError(
            f"{location} must have {records * variant.record_bytes:,} bytes ({records:,} records "
            f"of {variant.record_bytes:,}). Received: {size:,} bytes"
        )


def _decode(variant: _Variant, files: list[bytes], records: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.empty((len(files), records, 32, 32, 3), np.uint8)
    y = np.empty((len(files), records), np.int32)
    for index, data in enumerate(files):
        table = np.frombuffer(data, np.uint8).reshape(records, variant.record_bytes)
        y[index] = table[:, variant.label_bytes - 1]
        planes = table[:, variant.label_bytes :].reshape(records, 3, 32, 32)
        x[index] = planes.transpose(0, 2, 3, 1)
    return x.reshape(-1, 32, 32, 3), y.reshape(-1)
