"""Sources of encoded images: an image folder, or `imagenet2012` prepared by TFDS.

A source is a stream: one pass gives every encoded image once, and keeps none in memory.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from keras_lc.data import image_folder, require, tfds_source
from keras_lc.seeds import derive_seed

_TFDS_NAME = "imagenet2012"
# Files that are read at the same time.
_INTERLEAVED = 16
# Encoded images that are shuffled together: about 450 MB of ImageNet, twice in memory.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Folder:
    """The files of one split of an image folder.

    Args:
        files: Paths as bytes, because names need not be text.
        labels: The class of each.
        seed: Integer. Together with the number of a pass it determines the order of the pass.
    """

    files: list[bytes]
    labels: list[int]
    seed: int

    def __len__(self):
        return len(self.files)

    def names(self) -> Iterable[bytes]:
        """The names that identify these images: `class/file` of each."""
        return (b"/".join(file.split(os.fsencode(os.sep))[-2:]) for file in self.files)

    def in_order(self) -> tf.data.Dataset:
        """Returns `(name, encoded image, label)` of all images, in order.

        A file that cannot be read gives an empty string.
        """
        return self._read(tf.data.Dataset.range(len(self)))

    def shuffled(self, number: tf.Tensor) -> tf.data.Dataset:
        """Returns the same in the order of pass `number`. Works inside and outside a graph."""
        order = tf.numpy_function(
            lambda n: shuffled_order(len(self), self.seed, n), [number], tf.int64
        )
        return self._read(tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [len(self)])))

    def _read(self, order):
        files, labels = tf.constant(self.files), tf.constant(self.labels, tf.int32)
        return order.map(
            lambda i: (files[i], _read_file(files[i]), labels[i]),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class TFRecords:
    """The TFRecord files of one split that TFDS prepared.

    A pass reads the files in a new order, several at the same time, and shuffles blocks of their
    images. TFDS already shuffled all images when it prepared them.

    Args:
        builder: The builder of TFDS.
        split: String, such as `"train"`.
        seed: As in `Folder`.
    """

    builder: object
    split: str
    seed: int

    def __post_init__(self):
        found = self.builder.info.file_format.value
        if found != "tfrecord":
            raise ValueError(
                f"{self.builder.data_path} must be prepared as tfrecord. Received: {found}"
            )

    def __len__(self):
        return self.builder.info.splits[self.split].num_examples

    def names(self) -> Iterable[bytes]:
        """As `Folder.names`: the version of the data set, and its number of images."""
        yield f"{self.builder.info.full_name}, {self.split}: {len(self)}".encode()

    def in_order(self) -> tf.data.Dataset:
        """As `Folder.in_order`."""
        return tf.data.TFRecordDataset(self._files()).map(self._parse)

    def shuffled(self, number: tf.Tensor) -> tf.data.Dataset:
        """As `Folder.shuffled`."""
        files = self._files()
        order = tf.numpy_function(
            lambda n: shuffled_order(len(files), self.seed, n), [number], tf.int64
        )
        order = tf.ensure_shape(order, [len(files)])
        records = tf.data.Dataset.from_tensor_slices(tf.gather(tf.constant(files), order))
        records = records.interleave(
            tf.data.TFRecordDataset,
            cycle_length=_INTERLEAVED,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        own = tf.stack([tf.cast(derive_seed(self.seed, "blocks"), tf.int64), number])
        records = (
            records.batch(_BLOCK)
            .enumerate()
            .map(
                lambda n, block: tf.random.experimental.stateless_shuffle(
                    block, tf.random.fold_in(own, n)
                )
            )
        )
        # Read a block while the block before it is used.
        records = records.prefetch(1).unbatch()
        return records.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _files(self):
        return list(map(str, self.builder.info.splits[self.split].filepaths))

    def _parse(self, record):
        encoded = {"image": require("tensorflow_datasets").decode.SkipDecoding()}
        example = self.builder.info.features.deserialize_example(record, decoders=encoded)
        name = example.get("file_name", tf.constant(f"{_TFDS_NAME}, split {self.split}"))
        return name, example["image"], tf.cast(example["label"], tf.int32)


Source = Folder | TFRecords


def try_or(compute: Callable[[], tf.Tensor], default: tf.Tensor) -> tf.Tensor:
    """Returns the result of `compute`, or the default if it fails. Works inside a graph too.

    A graph has no `try`. But a data set of one element becomes empty if computing the element
    fails; then the default comes first.
    """
    computed = tf.data.Dataset.from_tensors(0).map(lambda _: compute()).ignore_errors()
    default = tf.data.Dataset.from_tensors(default)
    return computed.concatenate(default).take(1).get_single_element()


def _read_file(path):
    return try_or(lambda: tf.io.read_file(path), tf.constant(b""))


def shuffled_order(count: int, seed: int, number: int) -> np.ndarray:
    """Returns the numbers below `count` in the order of pass `number`."""
    # Sort raw bits: NumPy's own permutation may change between versions.
    keys = np.random.Philox(key=derive_seed(seed, f"pass{number}"))
    return np.argsort(keys.random_raw(count), kind="stable")


def find(
    data_dir: pathlib.Path | None, seed: int, test_share: float = 0.2
) -> tuple[Source, Source, tuple[str, ...]]:
    """Finds ImageNet, or any images in the same format.

    Args:
        data_dir: An image folder (`train/<class>/*`, and `val/<class>/*` or `test/<class>/*`; or
            only `<class>/*`), or the folder of TFDS with a prepared `imagenet2012`. Defaults to
            TFDS' own folder.
        seed: Integer that determines the order of every pass.
        test_share: Number between 0 and 1. Without a folder of test images, this share of each
            class is for testing; see `keras_lc.data.image_folder.list_parts`.

    Returns:
        Sources of training and test images, and the names of the classes.

    Raises:
        FileNotFoundError: If the folder holds neither.
        ValueError: If the splits of a folder have different classes, or hold other files.
    """
    root = data_dir or tfds_source.default_data_dir()
    if any(root.glob(f"{_TFDS_NAME}/*/dataset_info.json")):
        builder = tfds_source.builder(_TFDS_NAME, root)
        train, test = (TFRecords(builder, split, seed) for split in ("train", "validation"))
        return train, test, tuple(builder.info.features["label"].names)
    train, test = _listings(root, seed, test_share) if root.is_dir() else (None, None)
    if train is None:
        raise FileNotFoundError(
            f"{root} holds neither train/<class>/* and val/<class>/*, nor <class>/*, nor "
            f"{_TFDS_NAME} prepared by tensorflow-datasets. Pass --data-dir."
        )
    return _folder(train, seed), _folder(test, seed), tuple(train)


def _listings(root, seed, test_share):
    splits = image_folder.list_splits(root)
    if splits is not None:
        return splits.values()
    return image_folder.list_parts(root, test_share, seed) or (None, None)


def describe(train: Source, test: Source, class_names: tuple[str, ...]) -> dict:
    """Returns a description that identifies these images, without reading them.

    Returns:
        A dict with the `fingerprint` of the images' names, their `source`, and the numbers of
        `training_images`, `test_images` and `classes`.
    """
    digest = hashlib.sha256()
    for split in (train, test):
        for name in split.names():
            digest.update(name + b"\n")
        digest.update(b"\n")
    return {
        "fingerprint": digest.hexdigest()[:12],
        "source": "image folder" if isinstance(train, Folder) else _TFDS_NAME,
        "training_images": len(train),
        "test_images": len(test),
        "classes": len(class_names),
    }


def _folder(listing, seed):
    files = [
        (os.fsencode(file.path), label)
        for label, name in enumerate(listing)
        for file in listing[name]
    ]
    return Folder(*map(list, zip(*files, strict=True)), seed)
