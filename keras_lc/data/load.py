"""`load`: one function for all sources."""

import numbers
import os
from dataclasses import replace
from pathlib import Path

from keras_lc.data import cifar, digits, idx, image_folder, svhn, tfds_source
from keras_lc.data.dataset import Dataset
from keras_lc.data.resize import square
from keras_lc.paths import user_path
from keras_lc.seeds import resolve_seed

# The modules that read the original archives of each dataset.
_READERS = {"cifar10": cifar, "cifar100": cifar, "svhn_cropped": svhn, "fashion_mnist": idx}
_NAMES = (*_READERS, "digits")
#: The smallest `image_size`.
SMALLEST = 16


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    progress: bool = True,
    data_format: str | None = None,
    image_size: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Loads a dataset into memory.

    `load` downloads only with `download=True`. It only reads from `data_dir`.

    Args:
        name: `"cifar10"`, `"cifar100"`, `"svhn_cropped"`, `"fashion_mnist"` (upscaled to 32×32,
            as in the LC paper) or `"digits"` (the digits of scikit-learn, upscaled to 32×32,
            without download). If `data_dir` is an image folder, any name is allowed.
        data_dir: The place of the data. One of:

            - An image folder, `train/<class>/*` and `test/<class>/*` (or `val`, `valid`,
              `validation`), or only `<class>/*`, with png, jpeg, webp, bmp, gif or tiff images.
              Without `image_size`, all must have one size. They are decoded as a viewer shows
              them: rotated by their EXIF data, with a white background, and only the first frame.
              They are cached in `$KERAS_LC_CACHE` if it is set, otherwise in `keras_lc` under
              Keras' home. If all images are grey (without a palette), they have one channel,
              otherwise three. A warning names equal files in training and test.
            - The original archive, or a folder that contains it, packed or unpacked: CIFAR's
              binary version, Fashion-MNIST's IDX files, SVHN's `train_32x32.mat` and
              `test_32x32.mat`.
            - A folder with data prepared by TensorFlow Datasets.

            `None` searches the folder of TensorFlow Datasets (`$TFDS_DATA_DIR`, which defaults to
            `~/tensorflow_datasets`): first for prepared data, then for the original archive in
            `downloads/manual`.
        download: Whether TensorFlow Datasets may download missing data into its own folder.
        progress: Whether to show progress bars.
        data_format: Must be `"channels_last"`. Defaults to Keras' setting; if that is another
            format, an error is raised, because the images would not fit the networks.
        image_size: Integer, at least 16, the height and width of the images. Each image is cut to
            the square in its centre and resized (bilinear, antialiased). `None`: as they are.
        test_share: Number between 0 and 1. In an image folder without `train` and `test`, about
            this share of each class is for testing. `seed` and a file's content decide which: a
            file that is added or renamed does not move the others.
        seed: Integer, the seed of this choice.

    Returns:
        The `Dataset`: uint8 images, int32 labels, class names and statistics.

    Raises:
        ValueError: If an argument has a value that is not allowed. If a file is damaged or is not
            the expected file. If the images do not fit into memory. If an image folder has fewer
            than two classes, or a class with fewer than two pictures to choose from.
        FileNotFoundError: If the data is not found. The message lists all searched places and how
            to get the data.
        ImportError: If a package is missing. The message says what to install.

    Example:

    >>> data = keras_lc.data.load("cifar10", data_dir="~/archives/cifar-10-binary.tar.gz")
    >>> data.x_train.shape, data.x_train.dtype, data.class_names[3]
    ((50000, 32, 32, 3), dtype('uint8'), 'cat')
    >>> own = keras_lc.data.load("pets", data_dir="~/Pictures/pets", image_size=96)

    References:
        - [The Power of Linear Combinations: Learning with Random Convolutions](
          https://arxiv.org/abs/2301.11360), Appendix A, for the size of Fashion-MNIST.
    """
    _check_data_format(data_format)
    check_image_size(image_size)
    check_test_share(test_share)
    if data_dir is not None and download:
        raise ValueError(
            "`data_dir` is only read, so `download=True` is not possible with it. Leave out "
            "`data_dir` to download into TensorFlow Datasets' folder (TFDS_DATA_DIR). "
            f"Received: data_dir={os.fspath(data_dir)!r}, download=True"
        )
    if data_dir is not None:
        dataset = _load_from(
            name, user_path(data_dir), progress, image_size, test_share, resolve_seed(seed)
        )
    elif name not in _NAMES:
        raise ValueError(
            f"`name` must be one of {', '.join(_NAMES)}, unless `data_dir` is an image folder. "
            f"Received: name={name!r}"
        )
    elif name == "digits":
        dataset = digits.read()
    else:
        dataset = _load_from_tfds_folder(name, download, progress)
    size = 32 if image_size is None and name == "fashion_mnist" else image_size
    if size is None or dataset.image_shape[:2] == (size, size):
        return dataset
    x_train, x_test = (square(x, size) for x in (dataset.x_train, dataset.x_test))
    return replace(dataset, x_train=x_train, x_test=x_test)


def check_image_size(image_size: int | None) -> None:
    """Raises `ValueError` for a size that images cannot have."""
    if image_size is not None and not (
        isinstance(image_size, numbers.Integral) and image_size >= SMALLEST
    ):
        raise ValueError(
            f"`image_size` must be an integer of at least {SMALLEST}, or None. "
            f"Received: image_size={image_size!r}"
        )


def check_test_share(test_share: float) -> None:
    """Raises `ValueError` for a share that leaves nothing for training, or for testing."""
    if not (isinstance(test_share, numbers.Real) and 0 < test_share < 1):
        raise ValueError(
            f"`test_share` must be between 0 and 1. Received: test_share={test_share!r}"
        )


def _check_data_format(data_format: str | None) -> None:
    # Here, since the module must import no backend.
    import keras

    given = data_format or keras.config.image_data_format()
    if given != "channels_last":
        whose = "" if data_format else ", Keras' setting"
        raise ValueError(
            "`data_format` must be 'channels_last': images are (n, height, width, channels). Pass "
            "data_format='channels_last' here and to the network. "
            f"Received: data_format={given!r}{whose}"
        )


def _load_from(
    name: str, path: Path, progress: bool, image_size: int | None, test_share: float, seed: int
) -> Dataset:
    if not path.exists():
        raise FileNotFoundError(f"`data_dir` does not exist: {path}. {_how_to_get(name)}")
    dataset = None
    if path.is_dir():
        dataset = image_folder.read(name, path, progress, image_size)
    if dataset is None and name in _READERS:
        dataset = _READERS[name].read(name, path) or tfds_source.read(name, path)
    # Last, because such folders can also lie beside an archive.
    if dataset is None and path.is_dir():
        dataset = image_folder.read_classes(name, path, test_share, seed, progress, image_size)
    if dataset is not None:
        return dataset
    tried = [
        f"an image folder: {path}/train/<class>/* and {path}/test/<class>/*, or {path}/<class>/*"
    ]
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
    return f"Found no data for {name!r}{where}. Looked for:{places}\n{_how_to_get(name)}"


def _how_to_get(name: str) -> str:
    if name == "digits":
        return "Leave `data_dir` out: the digits come with scikit-learn."
    if name not in _READERS:
        return f"Without an image folder, `name` must be one of {', '.join(_NAMES)}."
    return (
        "To get the data, call `load` with `download=True` and without `data_dir`. Or pass as "
        f"`data_dir` the folder that contains {_READERS[name].ARCHIVES[name]}."
    )
