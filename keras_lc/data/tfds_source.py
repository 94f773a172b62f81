"""Reads and downloads data with TensorFlow Datasets.

TensorFlow is imported only when prepared data is read. Without TensorFlow, a process can read the
original archives instead.
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
    """Returns the default folder of TensorFlow Datasets."""
    # Not `tfds.core.constants.DATA_DIR`: it is read only once, and tfds takes a second to import.
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def read(name: str, data_dir: Path) -> Dataset | None:
    """Reads data that TensorFlow Datasets has prepared. It does not use the network.

    Args:
        name: Name of the dataset in TensorFlow Datasets.
        data_dir: Folder that contains `<name>/<version>/`.

    Returns:
        The dataset, or `None` if `data_dir` has no prepared data with this name.

    Raises:
        ImportError: If TensorFlow or TensorFlow Datasets is not installed.
    """
    if not any(data_dir.glob(f"{name}/*/dataset_info.json")):
        return None
    return _as_dataset(name, _import_tfds(), builder(name, data_dir))


def builder(name: str, data_dir: Path) -> Any:
    """Returns the builder of data that TensorFlow Datasets has prepared in `data_dir`."""
    # With a wildcard, tfds takes the newest version on disk, not the newest version it knows.
    return _import_tfds().builder(name, data_dir=data_dir, version="*.*.*")


def download(name: str, data_dir: Path, progress: bool) -> Dataset:
    """Downloads and prepares a dataset. Without a network, it fails only after minutes.

    Args:
        name: Name of the dataset in TensorFlow Datasets.
        data_dir: Folder for the prepared data.
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
        # Otherwise TensorFlow would take all of the GPU's memory from PyTorch or JAX.
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
