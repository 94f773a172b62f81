"""Checkpoints of a run that can be killed at any moment and finished later."""

import contextlib
import json
import os
import pathlib
import re
import tempfile
import uuid
import warnings
import zipfile

import keras
import numpy as np

from keras_lc.paths import user_path

_KEPT = 2
_NAME = "checkpoint-{epoch:04d}.keras"
_PATTERN = re.compile(r"checkpoint-(\d{4,})\.keras")
# In each file: what Keras does not write there.
_STATE = "run.json"
_WAY_OUT = "Move it out of the folder, or begin anew in another one."


class ResumableRun(keras.callbacks.Callback):
    """Writes a checkpoint and the history after every epoch, so that a run can be resumed.

    A checkpoint is a whole `.keras` file (model, optimizer, learning-rate schedule). As `run.json`
    it also holds what Keras writes to no file: the state of the random numbers of dropout and
    augmentation, the history, and of which run and epoch it is. It is written to a temporary name
    and renamed, and the last two are kept, so that whenever the process is killed a complete one
    is there. A folder belongs to one run, and a `ResumableRun` to one model: files of another run
    are refused.

    Args:
        folder: Path of the folder of checkpoints and of `history.json`; made if missing.
        write: Boolean. Of several processes that train one model, one writes and all others pass
            `False`: they restore, and take part in what saving computes.
        config: What the run is begun with, as JSON can hold it, such as a dict of settings. A
            checkpoint that was begun with another one is refused.

    Attributes:
        history: Dict of lists, one value an epoch, over all parts of the run.
        id: String, which no other run has.

    Example:

    ```python
    run = keras_lc.training.ResumableRun("runs/1")
    model, epoch = run.restore() or (keras_lc.ResNetLC(depth=20, expansion=8, seed=1), 0)
    model.fit(x, y, epochs=75, initial_epoch=epoch, callbacks=[run])
    ```
    """

    def __init__(self, folder: str | os.PathLike, write: bool = True, config: object = None):
        super().__init__()
        self.folder = user_path(folder)
        self.write = write
        # As a file gives it back.
        self.config = json.loads(json.dumps(config))
        self.history: dict[str, list[float]] = {}
        self.id = uuid.uuid4().hex
        self._torch_state = None
        self._trained = None
        # The epochs that are done, from where `fit` goes on.
        self._done = None

    def restore(self) -> tuple[keras.Model, int] | None:
        """Loads the newest checkpoint and the history up to it.

        A damaged checkpoint is passed over for the one before it, with a warning.

        Returns:
            The compiled model and the number of epochs that it was trained, or `None` where
            there is no checkpoint.

        Raises:
            ValueError: If no checkpoint can be read, or one is not of this run and its epoch.
        """
        found = self._read_checkpoints()
        if not found:
            return None
        epoch, path, state = found[0]
        model = keras.saving.load_model(path)
        iterations = _iterations(model)
        if iterations != state["iterations"]:
            raise ValueError(
                f"{path} was written after {state['iterations']} steps, and its optimizer has "
                f"taken {iterations}. {_WAY_OUT}"
            )
        for variable, value in zip(_seed_variables(model), state["seed_generators"], strict=True):
            variable.assign(np.array(value).astype(variable.dtype))
        self._torch_state = state["torch"]
        self.history = state["history"]
        self.id = state["run"]
        self._trained, self._done = model, epoch
        return model, epoch

    def on_train_begin(self, logs=None):
        if self._trained is None:
            if self.write and self._checkpoints():
                raise ValueError(
                    f"{self.folder} holds checkpoints of another run. Call `restore()` to go on "
                    "with it, or choose another folder."
                )
            if self.write and (self.folder / "model.keras").exists():
                raise ValueError(
                    f"{self.folder} holds the `model.keras` of a run that is finished. Choose "
                    "another folder."
                )
            self._trained = self.model
        if self._trained is not self.model:
            raise ValueError(
                "A `ResumableRun` belongs to the model that it restored, or that was trained with "
                f"it first. Received: another model, {self.model.name!r}. Make another "
                "`ResumableRun` with a folder of its own."
            )
        if self.write:
            for half in self.folder.glob(".checkpoint-*.tmp.keras"):
                half.unlink(missing_ok=True)

    def on_epoch_begin(self, epoch, logs=None):
        if self._done is None:
            self._done = epoch
        if epoch != self._done:
            raise ValueError(
                f"The run has ended {self._done} epochs, so `fit` must go on with "
                f"`initial_epoch={self._done}`. Received: initial_epoch={epoch}"
            )
        # Not before: what `fit` does first draws from PyTorch's generator.
        if self._torch_state is not None:
            _set_torch_state(self._torch_state)
            self._torch_state = None

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self._done = epoch + 1
        if not self.write:
            take_part_in_saving(self.model)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # The history first: it may be an epoch ahead of the checkpoint, never behind.
        write_json(self.folder / "history.json", self.history)
        state = {
            "run": self.id,
            "config": self.config,
            "epoch": self._done,
            "iterations": _iterations(self.model),
            "history": self.history,
            **_random_state(self.model),
        }
        save_with_state(self.model, self._path(self._done), state)
        for done, path in self._checkpoints():
            if done <= self._done - _KEPT:
                path.unlink()

    def finish(self, path: str | os.PathLike) -> None:
        """Makes the newest checkpoint the finished model at `path`, and deletes the others."""
        newest = self._path(self._done or 0)
        if not newest.exists():
            raise FileNotFoundError(f"{self.folder} holds no checkpoint: no epoch has ended there.")
        write_json(self.folder / "history.json", self.history)
        for done, checkpoint in self._checkpoints():
            if done < self._done:
                checkpoint.unlink()
        # Last: whoever finds the finished model finds nothing left to tidy up.
        os.replace(newest, user_path(path))

    def _path(self, epoch):
        return self.folder / _NAME.format(epoch=epoch)

    def _checkpoints(self):
        found = []
        for path in self.folder.glob("checkpoint-*.keras"):
            if match := _PATTERN.fullmatch(path.name):
                found.append((int(match[1]), path))
        return sorted(found)

    def _read_checkpoints(self):
        """Returns the checkpoints that are whole, newest first, with their states."""
        found, damage = [], []
        for epoch, path in reversed(self._checkpoints()):
            try:
                state = read_state(path)
            except DamagedFile as error:
                damage.append(str(error))
                continue
            self._check(epoch, path, state, found)
            found.append((epoch, path, state))
        if damage and not found:
            raise ValueError(f"{' '.join(damage)} No other checkpoint is there: begin anew.")
        for message in damage:
            warnings.warn(f"{message} It is passed over for an older one.", stacklevel=3)
        return found

    def _check(self, epoch, path, state, newer):
        if state is None or "iterations" not in state:
            raise ValueError(f"{path} is no checkpoint, but another model's file. {_WAY_OUT}")
        if state["epoch"] != epoch:
            raise ValueError(
                f"{path} was written after epoch {state['epoch']}, as its name does not say. "
                f"{_WAY_OUT}"
            )
        if newer and state["run"] != newer[0][2]["run"]:
            raise ValueError(f"{path} and {newer[0][1].name} are of different runs. {_WAY_OUT}")
        if state["config"] != self.config:
            raise ValueError(
                f"{path} is of a run that was begun with other settings: "
                f"{_difference(state['config'], self.config)}. {_WAY_OUT}"
            )


class DamagedFile(ValueError):
    """A `.keras` file that is not as it was written."""


def save_with_state(model: keras.Model, path: pathlib.Path, state: dict) -> None:
    """Saves a model, and in its file a state, so that `path` never holds half a file."""
    # Keras goes by the ending; the leading dot hides the file from what looks for models.
    temporary = path.with_name(f".{path.name}.tmp.keras")
    with _removed_if_half(temporary):
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_STATE, json.dumps(state))
        rename(temporary, path)


@contextlib.contextmanager
def _removed_if_half(temporary):
    try:
        yield
    except BaseException:
        # Half a model would fill a disk that is full already.
        temporary.unlink(missing_ok=True)
        raise


def read_state(path: pathlib.Path) -> dict | None:
    """Returns the state in a `.keras` file that is whole, `None` if there is none in it.

    Raises:
        DamagedFile: If the file is not as it was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"Bad CRC-32 for file {name!r}")
            return json.loads(archive.read(_STATE)) if _STATE in archive.namelist() else None
    # Where bits are wrong, `zipfile` fails in many ways.
    except Exception as error:
        raise DamagedFile(f"{path} is damaged ({error}).") from error


def _difference(then, now):
    if not isinstance(then, dict) or not isinstance(now, dict):
        return f"{then} then, {now} now"
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return "; ".join(f"{name}: {then.get(name)} then, {now.get(name)} now" for name in names)


def _iterations(model):
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))


def _seed_variables(model):
    return [v for v in model.variables if v.name == "seed_generator_state"]


def _random_state(model):
    states = [keras.ops.convert_to_numpy(v.value).tolist() for v in _seed_variables(model)]
    return {"seed_generators": states, "torch": _torch_state()}


# Under PyTorch, Keras' dropout draws from PyTorch's own generators, past its seed generators.
def _torch_state():
    if keras.backend.backend() != "torch":
        return None
    import torch

    states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    return [state.tolist() for state in states]


def _set_torch_state(states):
    if keras.backend.backend() != "torch":
        return
    import torch

    cpu, *gpus = (torch.tensor(state, dtype=torch.uint8, device="cpu") for state in states)
    torch.set_rng_state(cpu)
    if len(gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(gpus)


def take_part_in_saving(model: keras.Model) -> None:
    """Does what the process does that saves a model which several train, and leaves no file."""
    # Under JAX, Keras computes while it saves, and what one process computes on devices of
    # several waits for the others.
    with tempfile.TemporaryDirectory() as nowhere:
        model.save(pathlib.Path(nowhere, "model.keras"))


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes JSON so that `path` never holds half a file."""
    temporary = path.with_name(f".{path.name}.tmp")
    with _removed_if_half(temporary):
        temporary.write_text(json.dumps(content, indent=1) + "\n")
        rename(temporary, path)


def rename(temporary: str | os.PathLike, path: str | os.PathLike) -> None:
    """Gives a file that is written its name, so that `path` never holds half a file."""
    # On disk before it has its name, or a power cut could leave the name without the content.
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
