"""The conditions of a run's results: backend, device, versions and commit."""

import datetime
import importlib.metadata
import os
import platform
import subprocess

import keras

from .command_line import ROOT

_PACKAGES = ("keras-lc", "keras", "numpy", "tensorflow", "jax", "torch")

#: The keys of what `environment` returns.
ENVIRONMENT = ("backend", "device", "versions", "git_commit", "started")


def environment() -> dict:
    """Returns backend, device, versions, commit and time, in types that JSON can store."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "backend": keras.backend.backend(),
        "device": device(),
        "versions": versions,
        "git_commit": _git_commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def on_gpu() -> bool:
    """Returns whether Keras computes on a GPU or a TPU."""
    return bool(_accelerators())


def device() -> str:
    """Returns the name of the device that Keras computes on."""
    return ", ".join(_accelerators()) or f"{os.cpu_count()} CPU cores"


def _accelerators():
    if keras.backend.backend() == "torch":
        # Keras lists no devices under PyTorch.
        import torch

        return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return [name for name in keras.distribution.list_devices() if "cpu" not in name]


def _git_commit():
    # An installed package may lie inside another project's repository.
    if not (ROOT / ".git").exists():
        return None
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None
