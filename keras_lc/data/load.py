"""`load`: one door to all sources."""

import os
from dataclasses import replace
from pathlib import Path

import keras

from keras_lc.data import cifar, digits, idx, image_folder, svhn, tfds_source
from keras_lc.data.dataset import Dataset
from keras_lc.data.resize import resize
from keras_lc.paths import user_path

# What reads the original archives of each dataset.
_READERS = {"cifar10": cifar, "cifar100": cifar, "svhn_cropped": svhn, "fashion_mnist": idx}
_NAMES = (*_READERS, "digits")


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    progress: bool = True,
    data_format: str | None = None,
) -> Dataset:
    """Loads a dataset into memory.

    Nothing is downloaded unless `download=True`, and what lies in `data_dir` is only read.

    Args:
        name: `"cifar10"`, `"cifar100"`, `"svhn_cropped"`, `"fashion_mnist"` (upscaled to 32×32,
            as in the LC paper) or `"digits"` (the digits of scikit-learn, upscaled to 32×32,
            which need no download); or any name, if `data_dir` is an image folder.
        data_dir: Where the data lies, as one of

            - an image folder, `train/<class>/*` and `test/<class>/*` (or `val`, `valid`,
              `validation`) with png, jpeg, webp, bmp, gif or tiff images of one size. They are
              decoded to what a viewer shows (turned as their EXIF data say, transparency laid on
              white, of several frames the first) and cached in `$KERAS_LC_CACHE`, or else in
              `keras_lc` under Keras' home. If all are in shades of grey (a palette is colour),
              they have one channel, and else three;
            - the original archive, or a folder that holds it, packed or not: CIFAR's binary
              version, Fashion-MNIST's IDX files, SVHN's `train_32x32.mat` and `test_32x32.mat`;
            - a folder with data prepared by TensorFlow Datasets.

            `None` looks into TensorFlow Datasets' own folder (`$TFDS_DATA_DIR`, or else
            `~/tensorflow_datasets`): for prepared data first, then for the original archive in
            `downloads/manual`.
        download: Whether TensorFlow Datasets may download what is not there, into its own folder.
        progress: Whether to show progress bars.
        data_format: `"channels_last"`, the one there is. Defaults to Keras' setting, and where
            that is another, the images would not fit the networks.

    Returns:
        The `Dataset`: uint8 images, int32 labels, class names and statistics.

    Raises:
        ValueError: If the name is unknown, files are damaged or are not what they should be, or
            the data format is not `"channels_last"`.
        FileNotFoundError: If the data is nowhere; the message lists each place and how to get it.
        ImportError: If a package is missing; the message says what to install.

    Example:

    >>> data = keras_lc.data.load("cifar10", data_dir="~/archives/cifar-10-binary.tar.gz")
    >>> data.x_train.shape, data.x_train.dtype, data.class_names[3]
    ((50000, 32, 32, 3), dtype('uint8'), 'cat')

    References:
        - [The Power of Linear Combinations: Learning with Random Convolutions](
          https://arxiv.org/abs/2301.11360), Appendix A, for the size of Fashion-MNIST.
    """
    _check_data_format(data_format)
    if data_dir is not None and download:
        raise ValueError(
            "`data_dir` is only read, so it cannot be combined with `download=True`, which "
            "downloads into TensorFlow Datasets' folder (TFDS_DATA_DIR). "
            f"Received: data_dir={os.fspath(data_dir)!r}, download=True"
        )
    if data_dir is not None:
        dataset = _load_from(name, user_path(data_dir), progress)
    elif name not in _NAMES:
        raise ValueError(
            f"`name` must be one of {', '.join(_NAMES)}, unless `data_dir` is an image folder. "
            f"Received: name={name!r}"
        )
    elif name == "digits":
        dataset = digits.read()
    else:
        dataset = _load_from_tfds_folder(name, download, progress)
    if name == "fashion_mnist":
        dataset = replace(
            dataset, x_train=resize(dataset.x_train, 32), x_test=resize(dataset.x_test, 32)
        )
    return dataset


def _check_data_format(data_format: str | None) -> None:
    given = data_format or keras.config.image_data_format()
    if given != "channels_last":
        whose = "" if data_format else ", Keras' setting"
        raise ValueError(
            "Images are (n, height, width, channels): pass data_format='channels_last', here and "
            f"to the network. Received: data_format={given!r}{whose}"
        )


def _load_from(name: str, path: Path, progress: bool) -> Dataset:
    if not path.exists():
        raise FileNotFoundError(f"`data_dir` does not exist: {path}. {_how_to_get(name)}")
    dataset = None
    if path.is_dir():
        dataset = image_folder.read(name, path, progress)
    if dataset is None and name in _READERS:
        dataset = _READERS[name].read(name, path) or tfds_source.read(name, path)
    if dataset is not None:
        return dataset
    tried = [f"an image folder: {path}/train/<class>/* and {path}/test/<class>/*"]
    if name in _READERS:
        tried.append(f"the original archive: {_READERS[name].ARCHIVES[name]}")
        tried.append(f"data prepared by TensorFlow Datasets: {path / name}")
    raise FileNotFoundError(_not_found(name, f" in {path}", tried))


def _load_from_tfds_folder(name: str, download: bool, progress: bool) -> Dataset:
    data_dir = tfds_source.default_data_dir()
    manual = data_dir / "downloads" / "manual"
    reader = _READERS[name]
    dataset = tfds_source.read(name, data_dir) or reader.read(name, manual)
    if dataset is None and download:
        dataset = tfds_source.download(name, data_dir, progress)
    if dataset is not None:
        return dataset
    tried = [
        f"data prepared by TensorFlow Datasets: {data_dir / name}",
        f"the original archive, in {manual}: {reader.ARCHIVES[name]}",
    ]
    raise FileNotFoundError(_not_found(name, "", tried))


def _not_found(name: str, where: str, tried: list[str]) -> str:
    places = "".join(f"\n  - {place}" for place in tried)
    return f"Found no data for {name!r}{where}. Looked for{places}\n{_how_to_get(name)}"


def _how_to_get(name: str) -> str:
    if name == "digits":
        return "Leave `data_dir` out: the digits come with scikit-learn."
    if name not in _READERS:
        return f"Without an image folder, `name` must be one of {', '.join(_NAMES)}."
    return (
        "To get the data, call `load` with `download=True` and without `data_dir`, or with "
        f"`data_dir` as the folder that holds {_READERS[name].ARCHIVES[name]}."
    )
