"""Data prepared by TensorFlow Datasets, and its downloads.

TensorFlow is imported only to read what is there; a process that trains with PyTorch or JAX and
has no TensorFlow can read the original archives instead.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from keras_lc.data.dataset import Dataset
from keras_lc.data.optional import require


def default_data_dir() -> Path:
    """Returns the folder where TensorFlow Datasets keeps its data, unless told otherwise."""
    # Not `tfds.core.constants.DATA_DIR`: that is read once, and importing tfds takes a second.
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def read(name: str, data_dir: Path) -> Dataset | None:
    """Reads data that TensorFlow Datasets has prepared, without any network access.

    Args:
        name: Name of the dataset in TensorFlow Datasets.
        data_dir: Folder that holds `<name>/<version>/`.

    Returns:
        The dataset, or `None` if `data_dir` holds no prepared data of this name.

    Raises:
        ImportError: If TensorFlow or TensorFlow Datasets is not installed.
    """
    if not any(data_dir.glob(f"{name}/*/dataset_info.json")):
        return None
    return _as_dataset(name, _import_tfds(), builder(name, data_dir))


def builder(name: str, data_dir: Path) -> Any:
    """Returns the builder of data that TensorFlow Datasets has prepared in `data_dir`."""
    # A wildcard makes tfds take the newest version on disk, not the newest that it knows.
    return _import_tfds().builder(name, data_dir=data_dir, version="*.*.*")


def download(name: str, data_dir: Path, progress: bool) -> Dataset:
    """Downloads and prepares a dataset; without a network, this fails only after minutes.

    Args:
        name: Name of the dataset in TensorFlow Datasets.
        data_dir: Folder to prepare it in.
        progress: Whether to show progress bars.

    Returns:
        The dataset.

    Raises:
        ImportError: If TensorFlow or TensorFlow Datasets is not installed.
    """
    tfds = _import_tfds()
    if not progress:
        tfds.disable_progress_bar()
    new = tfds.builder(name, data_dir=data_dir)
    new.download_and_prepare()
    return _as_dataset(name, tfds, new)


def _import_tfds() -> ModuleType:
    unused_by_keras = "tensorflow" not in sys.modules
    tensorflow = require("tensorflow", extra="data,tensorflow")
    if unused_by_keras:
        # TensorFlow would take all the GPU's memory, which PyTorch or JAX trains in.
        tensorflow.config.set_visible_devices([], "GPU")
    return require("tensorflow_datasets")


def _as_dataset(name: str, tfds: ModuleType, builder) -> Dataset:
    splits = builder.as_dataset(split=["train", "test"], batch_size=-1, shuffle_files=False)
    train, test = tfds.as_numpy(splits)
    return Dataset(
        name,
        train["image"],
        train["label"].astype(np.int32),
        test["image"],
        test["label"].astype(np.int32),
        tuple(builder.info.features["label"].names),
    )
