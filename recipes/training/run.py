"""A training run: data, model, fit, files. Imports Keras, so the backend must be chosen before."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_lc
from keras_lc.layers.random_basis import derive_seed
from keras_lc.training.resume import write_json
from recipes.training.callbacks import InterruptBetweenBatches, TrainingTime
from recipes.training.folder import as_json, output_folder, resume_command
from recipes.training.images import describe, take_subset
from recipes.training.networks import build

EXPORTED = {
    "tf_saved_model": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "torch": "model.pt2",
}
_EVALUATION_BATCH = 500


def run(arguments) -> dict:
    """Trains, evaluates and writes the files of one run.

    Args:
        arguments: `recipes.train.Arguments`.

    Returns:
        The results, as they stand in `config.json`.
    """
    devices = begin(arguments)
    console = Console(quiet=not devices.is_first)
    name = f"{arguments.dataset}-{arguments.spatial}"
    output = output_folder(arguments, name, devices.processes)
    keras.config.set_dtype_policy(arguments.precision)
    keras.utils.set_random_seed(arguments.seed % 2**32)

    dataset = keras_lc.data.load(
        arguments.dataset, data_dir=arguments.data_dir, download=arguments.download
    )
    data = describe(dataset, arguments.data_dir)
    if arguments.subset is not None:
        dataset = take_subset(dataset, arguments.subset)
    checkpoints = keras_lc.training.ResumableRun(output, write=devices.is_first)
    batch_size = devices.batch_size(arguments.batch_size, len(dataset.x_train))
    with devices.scope():
        model, first_epoch = (arguments.resume and checkpoints.restore()) or (
            build(arguments, dataset),
            0,
        )
        if not model.compiled:
            # Weighted, since what fills up the last batch of an evaluation weighs nothing.
            keras_lc.training.CIFAR.compile(
                model,
                steps=arguments.epochs * (len(dataset.x_train) // batch_size),
                weighted_metrics=["accuracy"],
            )
    # Before the first file: all processes have now seen whether there is a run in the folder.
    devices.prepare(model)
    config = {
        "arguments": as_json(arguments),
        "data": data,
        "replicas": devices.replicas,
        "processes": devices.processes,
        **environment(),
    }
    if devices.is_first:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "config.json", config)
    console.print(
        f"{model.name} on {dataset.name}: {len(dataset.x_train):,} training and "
        f"{len(dataset.x_test):,} test images, {dataset.num_classes} classes. "
        f"Keras {keras.__version__} on {keras.backend.backend()}, {config['device']}"
        f"{describe_replicas(devices)}.\n"
        f"Files: {output}",
        highlight=False,
        soft_wrap=True,
    )

    speed, interrupt = (
        TrainingTime(output, first_epoch, write=devices.is_first),
        InterruptBetweenBatches(),
    )
    try:
        interrupt.arm()
        model.fit(
            devices.training_batches(_batches(model, dataset, batch_size, first_epoch)),
            epochs=arguments.epochs,
            initial_epoch=first_epoch,
            validation_data=devices.evaluation_batches(
                dataset.x_test, dataset.y_test, _EVALUATION_BATCH
            ),
            # Else Keras would shuffle the batches, with a generator of its own.
            shuffle=False,
            callbacks=[speed, checkpoints, interrupt],
            verbose=(1 if sys.stdout.isatty() else 2) if devices.is_first else 0,
        )
    except KeyboardInterrupt:
        console.print(
            f"\nStopped. Go on with: {resume_command('recipes.train', output)}",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(130)
    finally:
        interrupt.disarm()

    correct = devices.count_correct(model, dataset.x_test, dataset.y_test, _EVALUATION_BATCH)
    trained, frozen = count_parameters(model)
    images = len(dataset.x_train) // batch_size * batch_size
    results = {
        "test_accuracy": correct / len(dataset.x_test),
        "test_correct": correct,
        "test_images": len(dataset.x_test),
        "trained_parameters": trained,
        "frozen_parameters": frozen,
        "images_per_second": images / speed.median if speed.seconds else None,
        "seconds": sum(speed.epochs),
    }
    if not devices.is_first:
        return results
    keras_lc.analysis.plot_curves(
        checkpoints.history, output / "curves.png", f"{model.name}, {dataset.name}"
    )
    if arguments.export:
        exported = output / EXPORTED[arguments.export_format]
        keras_lc.export(model, exported, format=arguments.export_format)
        console.print(f"Exported and verified: {exported}", highlight=False, soft_wrap=True)
    write_json(output / "config.json", {**config, "results": results})
    # Last, since a run with a model is finished, and cannot be resumed.
    checkpoints.finish(output / "model.keras")
    _report(console, results)
    return results


def begin(arguments) -> keras_lc.distribution.Distribution:
    """Returns the devices that `--distribute` asks for, or ends the program."""
    try:
        devices = keras_lc.distribution.distribute(arguments.distribute)
    except ValueError as error:
        raise SystemExit(f"--distribute {arguments.distribute}: {error}") from None
    if arguments.export and devices.processes > 1:
        raise SystemExit(
            "--export runs in one process: leave it out here, and then call "
            "keras_lc.export(keras.saving.load_model('model.keras'), …)."
        )
    return devices


def describe_replicas(devices) -> str:
    """Returns the end of a sentence: `", 4 replicas in 2 processes"`, or nothing for one."""
    if devices.replicas == devices.processes == 1:
        return ""
    return f", {devices.replicas} replicas in {devices.processes} processes"


def _batches(model, dataset, batch_size, first_epoch):
    return keras_lc.training.ShuffledBatches(
        dataset.x_train,
        dataset.y_train,
        batch_size,
        seed=derive_seed(model.seed, "batches"),
        first_epoch=first_epoch,
    )


def environment():
    """Returns backend, device, versions and commit: what a figure must be read with."""
    versions = {"python": platform.python_version()}
    for package in ("keras-lc", "keras", "numpy", "tensorflow", "jax", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "backend": keras.backend.backend(),
        "device": _device(),
        "versions": versions,
        "git_commit": _git_commit(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def on_gpu() -> bool:
    """Returns whether Keras computes on a GPU, or a TPU."""
    return bool(_accelerators())


def _device():
    return ", ".join(_accelerators()) or f"{os.cpu_count()} CPU cores"


def _accelerators():
    if keras.backend.backend() == "torch":
        # Keras lists no devices under PyTorch.
        import torch

        return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return [name for name in keras.distribution.list_devices() if "cpu" not in name]


def _git_commit():
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None


def count_parameters(model):
    """Returns the numbers of trained and of frozen parameters."""
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    basis = {id(v): v for layer in _layers_with_basis(model) for v in layer.non_trainable_weights}
    return trained, sum(int(np.prod(v.shape)) for v in basis.values())


def _layers_with_basis(model):
    for layer in model.layers:
        layer = getattr(layer, "basis_conv", layer)
        if hasattr(layer, "basis"):
            yield layer


def _report(console, results):
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row(
        "test accuracy",
        f"{results['test_accuracy']:.2%} "
        f"({results['test_correct']:,} of {results['test_images']:,})",
    )
    table.add_row("trained parameters", f"{results['trained_parameters']:,}")
    table.add_row("frozen parameters", f"{results['frozen_parameters']:,}")
    if results["images_per_second"]:
        table.add_row("training", f"{results['images_per_second']:,.0f} images/s")
    console.print(table, highlight=False)
