"""A training run: data, model, fit, files. Imports Keras, so the backend must be chosen before."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import time

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_lc
from keras_lc.training.resume import write_json
from recipes.images import describe, take_subset
from recipes.networks import build

# What a run may be resumed with: none of these change its result.
_FREE_ON_RESUME = {"resume", "export", "export_format", "output", "data_dir", "download"}
_EXPORTED = {
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
    console = Console()
    output = _output_folder(arguments)
    keras.config.set_dtype_policy(arguments.precision)
    keras.utils.set_random_seed(arguments.seed % 2**32)

    dataset = keras_lc.data.load(
        arguments.dataset, data_dir=arguments.data_dir, download=arguments.download
    )
    data = describe(dataset, arguments.data_dir)
    if arguments.subset is not None:
        dataset = take_subset(dataset, arguments.subset)
    checkpoints = keras_lc.training.ResumableRun(output)
    model, first_epoch = (arguments.resume and checkpoints.restore()) or (
        build(arguments, dataset),
        0,
    )
    config = {"arguments": _as_json(arguments), "data": data, **environment()}
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "config.json", config)
    console.print(
        f"{model.name} on {dataset.name}: {len(dataset.x_train):,} training and "
        f"{len(dataset.x_test):,} test images, {dataset.num_classes} classes. "
        f"Keras {keras.__version__} on {keras.backend.backend()}, {config['device']}.\n"
        f"Files: {output}",
        highlight=False,
        soft_wrap=True,
    )

    speed, interrupt = _TrainingTime(output, first_epoch), _InterruptBetweenBatches()
    try:
        interrupt.arm()
        model.fit(
            dataset.x_train,
            dataset.y_train,
            batch_size=arguments.batch_size,
            epochs=arguments.epochs,
            initial_epoch=first_epoch,
            validation_data=(dataset.x_test, dataset.y_test),
            validation_batch_size=_EVALUATION_BATCH,
            callbacks=[speed, checkpoints, interrupt],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except KeyboardInterrupt:
        console.print(
            f"\nStopped. Go on with: {_resume_command(output)}", highlight=False, soft_wrap=True
        )
        sys.exit(130)
    finally:
        interrupt.disarm()

    logits = model.predict(dataset.x_test, batch_size=_EVALUATION_BATCH, verbose=0)
    correct = int(np.sum(np.argmax(logits, axis=-1) == dataset.y_test))
    trained, frozen = _count_parameters(model)
    batch_size = min(arguments.batch_size, len(dataset.x_train))
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
    keras_lc.analysis.plot_curves(
        checkpoints.history, output / "curves.png", f"{model.name}, {dataset.name}"
    )
    if arguments.export:
        exported = output / _EXPORTED[arguments.export_format]
        keras_lc.export(model, exported, format=arguments.export_format)
        console.print(f"Exported and verified: {exported}", highlight=False, soft_wrap=True)
    write_json(output / "config.json", {**config, "results": results})
    # Last, since a run with a model is finished, and cannot be resumed.
    checkpoints.finish(output / "model.keras")
    _report(console, results)
    return results


class _TrainingTime(keras.callbacks.Callback):
    """Seconds of each epoch's training, without validation, in this process.

    And of each whole epoch, over all parts of a run that was stopped, in `seconds.json`.
    """

    def __init__(self, folder, first_epoch):
        super().__init__()
        self.seconds = []
        self._begin = None
        self._file = folder / "seconds.json"
        before = first_epoch and self._file.exists()
        self.epochs = json.loads(self._file.read_text())[:first_epoch] if before else []

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = self._epoch_begin = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        # Before the checkpoint: an epoch ahead of it at the most, never behind.
        self.epochs.append(time.perf_counter() - self._epoch_begin)
        write_json(self._file, self.epochs)

    def on_test_begin(self, logs=None):
        # Validation runs inside the epoch, and ends what is to be timed.
        if self._begin is not None:
            self.seconds.append(time.perf_counter() - self._begin)
            self._begin = None

    @property
    def median(self):
        # The first epoch compiles.
        return statistics.median(self.seconds[1:] or self.seconds)


class _InterruptBetweenBatches(keras.callbacks.Callback):
    """Raises `KeyboardInterrupt` between two batches after Ctrl-C; at once after a second one.

    Raised wherever it falls, it can fall into JAX's garbage collection, which swallows it.
    """

    def arm(self):
        self._asked = False
        self._before = signal.signal(signal.SIGINT, self._ask)

    def disarm(self):
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_):
        self.disarm()
        self._asked = True

    def _raise_if_asked(self, *_):
        if self._asked:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self._raise_if_asked()

    def on_train_batch_end(self, batch, logs=None):
        self._raise_if_asked()


def _output_folder(arguments):
    if arguments.output is None:
        if arguments.resume:
            raise SystemExit("--resume needs --output, the folder of the run to go on with.")
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        return pathlib.Path("runs") / f"{now}-{arguments.dataset}-{arguments.spatial}"
    written = arguments.output / "config.json"
    if not written.exists():
        return arguments.output
    if not arguments.resume:
        raise SystemExit(
            f"{arguments.output} holds a run already. Pass --resume to go on with it, or another "
            "--output."
        )
    if (arguments.output / "model.keras").exists():
        raise SystemExit(f"The run in {arguments.output} is finished: see its config.json.")
    before = json.loads(written.read_text())
    now = _as_json(arguments)
    changed = [
        f"--{name.replace('_', '-')}: {before['arguments'].get(name)} then, {value} now"
        for name, value in now.items()
        if name not in _FREE_ON_RESUME and before["arguments"].get(name) != value
    ]
    if changed:
        raise SystemExit(
            f"The run in {arguments.output} was started with other arguments:\n  "
            + "\n  ".join(changed)
        )
    return arguments.output


def _as_json(arguments):
    values = dataclasses.asdict(arguments)
    return {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in values.items()}


def _resume_command(output):
    given = [word for word in sys.argv[1:] if word != "--resume"]
    if "--output" not in given:
        given += ["--output", str(output)]
    return " ".join(["python -m recipes.train", *given, "--resume"])


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


def _device():
    if keras.backend.backend() == "torch":
        # Keras lists no devices under PyTorch.
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    elif gpus := [name for name in keras.distribution.list_devices() if "cpu" not in name]:
        return ", ".join(gpus)
    return f"{os.cpu_count()} CPU cores"


def _git_commit():
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None


def _count_parameters(model):
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
