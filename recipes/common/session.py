"""Everything around the `fit` of a training run: devices, folder, Ctrl-C, files."""

import contextlib
import functools
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
from rich.table import Table
from rich.text import Text

import keras_lc

from .callbacks import InterruptBetweenBatches
from .command_line import remedy_of
from .console import plain_console
from .environment import device, environment
from .files import check_whole, read_state, write_checked
from .finished import check_run, read_run
from .folder import (
    as_json,
    begun_with,
    claimed_folder,
    read_checked_or_end,
    record,
    resume_command,
    way_out_of_damage,
)
from .images import spread

_EXPORTED = {
    "tf_saved_model": ("saved_model", ""),
    "onnx": ("model", ".onnx"),
    "litert": ("model", ".tflite"),
    "torch": ("model", ".pt2"),
}
# Images for a quantized export.
_CALIBRATION = 256


class Session:
    """One training run, from its arguments to its files. Ends the program if the run is impossible.

    It is a context manager; the folder belongs to this process inside. After an interruption or a
    full disk, the program ends with one line that says how to resume.

    Args:
        arguments: A dataclass with `batch_size`, `distribute`, `export`, `export_format`,
            `output` and `resume`, as `recipes.common.settings.Settings`. It can have the other
            settings of `--export`.
        module: String, the module of the command: `"recipes.train"`.
        name: String for the name of a new folder in `runs/`.
        writes: Boolean, whether the run writes to a folder.

    Attributes:
        devices: `keras_lc.distribution.Distribution`, the devices of the run.
        output: Path of the run's folder.
        checkpoints: `keras_lc.training.ResumableRun` of the folder, after `start`.
        verbose: Integer for `fit`.
    """

    def __init__(self, arguments, module: str, name: str, writes: bool = True):
        self.devices = _distribute(arguments)
        self.verbose = (1 if sys.stdout.isatty() else 2) if self.devices.is_first else 0
        self.output = None
        self._console = plain_console(quiet=not self.devices.is_first)
        self._arguments = arguments
        self._module = module
        self._name = name
        self._writes = writes
        self._finished = False
        self._held = contextlib.ExitStack()

    def __enter__(self):
        if self._writes:
            devices = self.devices
            folder = claimed_folder(
                self._arguments, self._name, devices.processes, devices.is_first
            )
            self.output = self._held.enter_context(folder)
        return self

    def __exit__(self, kind, error, traceback):
        self._held.close()
        if kind is KeyboardInterrupt:
            self.say(f"\nStopped. {self._way_on('Resume with')}")
            sys.exit(130)
        if (remedy := remedy_of(error)) is not None:
            way_on = self._way_on(f"{remedy}, then resume with")
            raise SystemExit(f"{error}. {way_on}") from None

    def _way_on(self, what):
        if self.output is None:
            return "Nothing was written."
        if self._finished:
            return f"The run is finished: {self.output / 'model.keras'}"
        return f"{what}: {resume_command(self._module, self.output)}"

    def batch_size(self, images: int) -> int:
        """Returns the number of images in one step of this process, at most `images`."""
        try:
            return self.devices.batch_size(self._arguments.batch_size, images=images)
        except ValueError as error:
            raise SystemExit(f"--batch-size: {error}") from None

    def start(
        self,
        build: Callable[[], keras.Model],
        compile: Callable[[keras.Model], None],
        class_names: Sequence[str] | None = None,
        **config,
    ) -> tuple[keras.Model, int]:
        """Returns the compiled model, from the folder or new, and its first epoch.

        Args:
            build, compile: Functions that build a new model, and compile one.
            class_names: Sequence of strings for a new model. Its files and exports keep them.
            **config: Content of `config.json` besides arguments and environment. `data` must be a
                dict with the `fingerprint` of the images.
        """
        config = {
            "arguments": as_json(self._arguments),
            **config,
            "replicas": self.devices.replicas,
            "processes": self.devices.processes,
            **environment(),
        }
        # `claimed_folder` has checked that only a resumed run has this file.
        before = read_checked_or_end(self.output / "config.json")
        self._config = record(before, config)
        self.checkpoints = keras_lc.training.ResumableRun(
            self.output, write=self.devices.is_first, config=begun_with(config, self._arguments)
        )
        with self.devices.scope(), in_one_line():
            model, first_epoch = self._restore(before) or (_named(build(), class_names), 0)
            if not model.compiled:
                compile(model)
        self._config["run"] = self.checkpoints.id
        # Before the first file is written: now all processes know whether the folder holds a run.
        self.devices.prepare(model)
        if self.devices.is_first:
            write_checked(self.output / "config.json", self._config)
        return model, first_epoch

    def _restore(self, before):
        restored = self.checkpoints.restore()
        if restored is not None and before["run"] != self.checkpoints.id:
            raise SystemExit(
                f"The checkpoints and the config.json in {self.output} belong to different runs. "
                "Restore the files of one run, or pass another --output."
            )
        return restored

    def best(self) -> keras_lc.training.BestModel:
        """Returns the callback that saves the best model as `best.keras`. Call it after `start`."""
        with in_one_line():
            return keras_lc.training.BestModel(
                self.output / "best.keras",
                history=self.checkpoints.history,
                write=self.devices.is_first,
                run=self.checkpoints.id,
            )

    @property
    def machine(self) -> str:
        """`"Keras 3.15.1 on jax, 2 CPU cores, 4 replicas in 2 processes"`."""
        name = f"Keras {keras.__version__} on {keras.backend.backend()}, {device()}"
        if self.devices.replicas == self.devices.processes == 1:
            return name
        return f"{name}, {self.devices.replicas} replicas in {self.devices.processes} processes"

    def say(self, text: str) -> None:
        """Prints text as it is, without breaking lines. Only the first process prints."""
        self._console.print(text, soft_wrap=True)

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[InterruptBetweenBatches]:
        """Lets Ctrl-C stop `fit` between two batches. Yields the callback for `fit`."""
        interrupt = InterruptBetweenBatches()
        interrupt.arm()
        try:
            yield interrupt
        finally:
            interrupt.disarm()

    @property
    def finished(self) -> bool:
        """Whether the run to resume is already finished; see `make_up`."""
        return self._writes and (self.output / "model.keras").exists()

    def make_up(self, images: Callable[[], np.ndarray] | None = None) -> dict:
        """Writes missing files of a finished run: it was killed, or has new options.

        Args:
            images: Function that returns the training images. A quantized export needs it.

        Returns:
            The results of the run.
        """
        file = self.output / "model.keras"
        with way_out_of_damage():
            check_whole(file)
            config = read_run(self.output)
        self._finished = True
        self.say(f"The run in {self.output} is finished: see its config.json.")
        missing = [path for path in self._decoration() if not path.exists()]
        if missing and self.devices.is_first:
            self._decorate(self._reported(config), read_state(file)["history"], missing, images)
        return config["results"]

    def _reported(self, config):
        """Returns the model that the results of a finished run describe."""
        name = "best.keras" if "best_epoch" in config["results"] else "model.keras"
        file = self.output / name
        with way_out_of_damage():
            check_whole(file)
            check_run(config, read_state(file).get("run"), file)
        return keras.saving.load_model(file)

    def finish(
        self,
        model,
        results: dict,
        rows: dict[str, str],
        images: Callable[[], np.ndarray] | None = None,
    ) -> dict:
        """Writes the files of a finished run and prints its results.

        Args:
            model: The trained `keras.Model`.
            results: Dict for `config.json`.
            rows: Dict of strings, names of results and their text on the screen.
            images: As in `make_up`.

        Returns:
            The results, with the numbers of the model's parameters.
        """
        trained, frozen = count_parameters(model)
        results = {
            **results,
            "trained_parameters": trained,
            "frozen_parameters": frozen,
            "multiplications": _count_multiplications(model),
        }
        if not self.devices.is_first:
            return results
        write_checked(self.output / "config.json", {**self._config, "results": results})
        # A run with model.keras is finished. The rest may fail without loss.
        self.checkpoints.finish(self.output / "model.keras")
        self._finished = True
        self._decorate(model, self.checkpoints.history, self._decoration(), images)

        rows = {**rows, "trained parameters": f"{trained:,}", "frozen parameters": f"{frozen:,}"}
        if results["images_per_second"]:
            rows["training"] = f"{results['images_per_second']:,.0f} images/s"
        if results["compile_seconds"] is not None:
            rows["compiling"] = f"{results['compile_seconds']:.1f} s, in the first epoch"
        table = Table(show_header=False, box=None, pad_edge=False)
        for row in rows.items():
            table.add_row(*map(Text, row))
        self._console.print(table)
        return results

    def _decoration(self):
        """The paths of the files after the model. Writing them may fail."""
        names = ["curves.png"]
        if self._arguments.export:
            names.append(_exported_name(self._arguments))
        return [self.output / name for name in names]

    def _decorate(self, model, history, paths, images):
        for path in paths:
            if path.name == "curves.png":
                dataset = getattr(self._arguments, "dataset", None)
                title = ", ".join(filter(None, [model.name, dataset]))
                plot = functools.partial(keras_lc.analysis.plot_curves, history, title=title)
                self._try_to_write(path, plot)
                continue
            export = functools.partial(_export, model, arguments=self._arguments, images=images)
            if self._try_to_write(path, export):
                self.say(f"Exported and verified: {path}")

    def _try_to_write(self, path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> bool:
        """Returns whether a file could be written. A failure must not cost the model."""
        try:
            write(path)
        except Exception as error:
            self.say(f"Warning: {path} was not written: {error}")
            return False
        return True


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Ends the program with the message of a `ValueError`."""
    try:
        yield
    except ValueError as error:
        raise SystemExit(str(error)) from None


def _distribute(arguments):
    try:
        devices = keras_lc.distribution.distribute(arguments.distribute)
    except ValueError as error:
        raise SystemExit(f"--distribute {arguments.distribute}: {error}") from None
    if arguments.export and devices.processes > 1:
        raise SystemExit(
            "--export runs in one process only. Leave it out here, and call "
            "keras_lc.export(keras.saving.load_model('model.keras'), …) afterwards."
        )
    return devices


def _exported_name(arguments):
    """Returns a name for each kind of export, so that a resumed run writes a new kind."""
    stem, suffix = _EXPORTED[arguments.export_format]
    words = [
        name if value is True else f"{name}{value}" if name == "opset" else value
        for name, value in _export_options(arguments).items()
    ]
    return "-".join([stem, *words]) + suffix


def _export_options(arguments):
    # Not all commands have all of them.
    names = ("quantization", "probabilities", "resize", "opset")
    options = {name: getattr(arguments, f"export_{name}", None) for name in names}
    return {name: value for name, value in options.items() if value not in (None, False, "none")}


def _export(model, path, arguments, images):
    options = _export_options(arguments)
    if "quantization" in options:
        options["calibration"] = spread(images(), _CALIBRATION)
    keras_lc.export(model, path, format=arguments.export_format, **options)


def _named(model, class_names):
    model.class_names = class_names
    return model


def count_parameters(model: keras.Model) -> tuple[int, int]:
    """Returns the numbers of a model's trained parameters and of its frozen ones."""
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    frozen = {id(v): v for layer in _with_kernel(model) for v in layer.non_trainable_weights}
    frozen |= {
        id(v): v
        for layer in model.layers
        if not layer.trainable
        for v in layer.weights
        # Statistics of a normalization are not parameters.
        if not v.name.startswith("moving_")
    }
    return trained, sum(int(np.prod(v.shape)) for v in frozen.values())


def _with_kernel(model):
    layers = (getattr(layer, "basis_conv", layer) for layer in model.layers)
    return (layer for layer in layers if hasattr(layer, "kernel"))


def _count_multiplications(model):
    try:
        return keras_lc.analysis.count_multiplications(model)
    except ValueError:  # a layer of the user's own, of which it is not known
        return None
