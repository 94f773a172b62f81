"""All that surrounds the `fit` of a training run: devices, folder, Ctrl-C, files."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_lc
from recipes.files import read_json, write_json
from recipes.training.callbacks import InterruptBetweenBatches
from recipes.training.environment import device, environment
from recipes.training.folder import as_json, output_folder, record, resume_command

_EXPORTED = {
    "tf_saved_model": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
    "torch": "model.pt2",
}


class Session:
    """One training run, from its arguments to its files. Ends the program where it cannot be.

    Args:
        arguments: A dataclass with `batch_size`, `distribute`, `export`, `export_format`,
            `output` and `resume`, as of `recipes.train.Arguments`.
        module: String, what the run was started with: `"recipes.train"`.
        name: String for the name of a new folder under `runs/`.

    Attributes:
        devices: `keras_lc.distribution.Distribution`, what the run is trained on.
        output: Path of the run's folder.
        checkpoints: `keras_lc.training.ResumableRun` of the folder.
        verbose: Integer for `fit`.
    """

    def __init__(self, arguments, module: str, name: str):
        self.devices = _distribute(arguments)
        self._console = Console(quiet=not self.devices.is_first)
        self.output = output_folder(arguments, name, self.devices.processes)
        self.checkpoints = keras_lc.training.ResumableRun(self.output, write=self.devices.is_first)
        self.verbose = (1 if sys.stdout.isatty() else 2) if self.devices.is_first else 0
        self._arguments = arguments
        self._module = module

    def batch_size(self, images: int) -> int:
        """Returns the images of one step in this process, of `images` at the most."""
        try:
            return self.devices.batch_size(self._arguments.batch_size, images=images)
        except ValueError as error:
            raise SystemExit(f"--batch-size: {error}") from None

    def start(
        self,
        build: Callable[[], keras.Model],
        compile: Callable[[keras.Model], None],
        **config,
    ) -> tuple[keras.Model, int]:
        """Returns the compiled model, as the folder has it or new, and its first epoch.

        Args:
            build, compile: What makes a new model, and what compiles one.
            **config: What `config.json` shall hold beside arguments and environment; as `data`,
                a dict with the `fingerprint` of the images.
        """
        config = {
            "arguments": as_json(self._arguments),
            **config,
            "replicas": self.devices.replicas,
            "processes": self.devices.processes,
            **environment(),
        }
        # A run that is not resumed has no folder yet; see `output_folder`.
        self._config = record(read_json(self.output / "config.json"), config)
        with self.devices.scope():
            model, first_epoch = (self._arguments.resume and self.checkpoints.restore()) or (
                build(),
                0,
            )
            if not model.compiled:
                compile(model)
        # Before the first file: all processes have now seen whether there is a run in the folder.
        self.devices.prepare(model)
        if self.devices.is_first:
            write_json(self.output / "config.json", self._config)
        return model, first_epoch

    @property
    def machine(self) -> str:
        """`"Keras 3.15.1 on jax, 2 CPU cores, 4 replicas in 2 processes"`."""
        name = f"Keras {keras.__version__} on {keras.backend.backend()}, {device()}"
        if self.devices.replicas == self.devices.processes == 1:
            return name
        return f"{name}, {self.devices.replicas} replicas in {self.devices.processes} processes"

    def say(self, text: str) -> None:
        """Prints text as it is, on lines as long as they are; in one process of several."""
        self._console.print(text, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[InterruptBetweenBatches]:
        """Ends the program after Ctrl-C with the command that goes on. Yields a callback."""
        interrupt = InterruptBetweenBatches()
        try:
            interrupt.arm()
            yield interrupt
        except KeyboardInterrupt:
            self.say(f"\nStopped. Go on with: {resume_command(self._module, self.output)}")
            sys.exit(130)
        finally:
            interrupt.disarm()

    def finish(self, model, results: dict, rows: dict[str, str], title: str) -> dict:
        """Writes the files of a finished run and prints its results.

        Args:
            model: The trained `keras.Model`.
            results: Dict for `config.json`.
            rows: Dict of strings, names of results and what is printed of them.
            title: String, the heading of `curves.png`.

        Returns:
            The results, with the numbers of the model's parameters.
        """
        trained, frozen = _count_parameters(model)
        results = {**results, "trained_parameters": trained, "frozen_parameters": frozen}
        if not self.devices.is_first:
            return results
        keras_lc.analysis.plot_curves(self.checkpoints.history, self.output / "curves.png", title)
        if self._arguments.export:
            exported = self.output / _EXPORTED[self._arguments.export_format]
            keras_lc.export(model, exported, format=self._arguments.export_format)
            self.say(f"Exported and verified: {exported}")
        write_json(self.output / "config.json", {**self._config, "results": results})
        # Last, since a run with a model is finished, and cannot be resumed.
        self.checkpoints.finish(self.output / "model.keras")

        rows = {**rows, "trained parameters": f"{trained:,}", "frozen parameters": f"{frozen:,}"}
        if results["images_per_second"]:
            rows["training"] = f"{results['images_per_second']:,.0f} images/s"
        table = Table(show_header=False, box=None, pad_edge=False)
        for row in rows.items():
            table.add_row(*row)
        self._console.print(table, highlight=False)
        return results


def _distribute(arguments):
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


def _count_parameters(model):
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    basis = {id(v): v for layer in _layers_with_basis(model) for v in layer.non_trainable_weights}
    return trained, sum(int(np.prod(v.shape)) for v in basis.values())


def _layers_with_basis(model):
    for layer in model.layers:
        layer = getattr(layer, "basis_conv", layer)
        if hasattr(layer, "basis"):
            yield layer
