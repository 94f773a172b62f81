"""Checkpoints of a run that can be killed at any moment and finished later."""

import json
import os
import pathlib
import re
import tempfile
import uuid
import warnings
import zipfile
from typing import Any

import keras
import numpy as np

from keras_lc.files import rename, whole_file, write_json
from keras_lc.paths import user_path

_KEPT = 2
_NAME = "checkpoint-{epoch:04d}.keras"
_PATTERN = re.compile(r"checkpoint-(\d{4,})\.keras")
# In each file: the state that Keras does not write.
_STATE = "run.json"
_WAY_OUT = "Move it out of the folder, or start a new run in another folder."


class ResumableRun(keras.callbacks.Callback):
    """Writes a checkpoint and the history after every epoch, so that a run can be resumed.

    A checkpoint is a complete `.keras` file (model, optimizer, learning-rate schedule). In
    `run.json`, it also contains what Keras does not write: the state of the random numbers of
    dropout and augmentation, the history, the run and the epoch. The file is written under a
    temporary name and then renamed, and the last two checkpoints are kept. So there is always a
    complete checkpoint, even if the process is killed. A folder belongs to one run, and a
    `ResumableRun` belongs to one model. Files of another run are refused.

    Args:
        folder: Path of the folder for checkpoints and `history.json`. Created if missing.
        write: Boolean. If several processes train one model, one of them writes. All others pass
            `False`: they restore, and they take part in the computations of saving.
        config: The settings of the run as JSON data, such as a dict. A checkpoint with other
            settings is refused.

    Attributes:
        history: Dict of lists with one value per epoch, over all parts of the run.
        id: String, unique for each run.

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
        # In the form in which a file returns it.
        self.config = json.loads(json.dumps(config))
        self.history: dict[str, list[float]] = {}
        self.id = uuid.uuid4().hex
        self._torch_state = None
        self._trained = None
        # The number of finished epochs. `fit` continues from there.
        self._done = None

    def restore(self) -> tuple[keras.Model, int] | None:
        """Loads the newest checkpoint and the history up to it.

        If a checkpoint is damaged, the one before it is used, with a warning.

        Returns:
            The compiled model and its number of trained epochs. `None` if there is no checkpoint.

        Raises:
            ValueError: If no checkpoint can be read. If a checkpoint belongs to another run, or
                its name says another epoch.
        """
        found = self._read_checkpoints()
        if not found:
            return None
        epoch, path, state = found[0]
        model = keras.saving.load_model(path)
        iterations = _iterations(model)
        if iterations != state["iterations"]:
            raise ValueError(
                f"{path} was written after {state['iterations']} steps, but its optimizer has "
                f"taken {iterations}. {_WAY_OUT}"
            )
        for variable, value in zip(_seed_variables(model), state["seed_generators"], strict=True):
            variable.assign(np.array(value).astype(variable.dtype))
        self._torch_state = state["torch"]
        self.history = state["history"]
        self.id = state["run"]
        self._trained, self._done = model, epoch
        return model, epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._trained is None:
            if self.write and self._checkpoints():
                raise ValueError(
                    f"{self.folder} holds checkpoints of another run. Call `restore()` to continue "
                    "that run, or choose another folder."
                )
            if self.write and (self.folder / "model.keras").exists():
                raise ValueError(
                    f"{self.folder} holds the `model.keras` of a finished run. Choose another "
                    "folder."
                )
            self._trained = self.model
        if self._trained is not self.model:
            raise ValueError(
                "A `ResumableRun` belongs to the model that it restored, or to the first model "
                f"that was trained with it. Received: another model, {self.model.name!r}. Make "
                "another `ResumableRun` with its own folder."
            )
        if self.write:
            for half in self.folder.glob(".checkpoint-*.tmp.keras"):
                half.unlink(missing_ok=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._done is None:
            self._done = epoch
        if epoch != self._done:
            raise ValueError(
                f"The run has finished {self._done} epochs, so `fit` must continue with "
                f"`initial_epoch={self._done}`. Received: initial_epoch={epoch}"
            )
        # Not earlier: the start of `fit` draws from PyTorch's generator.
        if self._torch_state is not None:
            _set_torch_state(self._torch_state)
            self._torch_state = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self._done = epoch + 1
        if not self.write:
            take_part_in_saving(self.model)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # First the history: it may be one epoch ahead of the checkpoint, but never behind.
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
        """Moves the newest checkpoint to `path` as the finished model, and deletes the others."""
        newest = self._path(self._done or 0)
        if not newest.exists():
            raise FileNotFoundError(
                f"{self.folder} holds no checkpoint, because no epoch was finished there. Train "
                "at least one epoch first."
            )
        write_json(self.folder / "history.json", self.history)
        for done, checkpoint in self._checkpoints():
            if done < self._done:
                checkpoint.unlink()
        # Last, so that a finished model means that nothing is left to delete.
        rename(newest, user_path(path))

    def _path(self, epoch):
        return self.folder / _NAME.format(epoch=epoch)

    def _checkpoints(self):
        found = []
        for path in self.folder.glob("checkpoint-*.keras"):
            if match := _PATTERN.fullmatch(path.name):
                found.append((int(match[1]), path))
        return sorted(found)

    def _read_checkpoints(self):
        """Returns the undamaged checkpoints with their states, newest first."""
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
            raise ValueError(f"{' '.join(damage)} There is no other checkpoint: start a new run.")
        for message in damage:
            warnings.warn(f"{message} The run continues from an older one.", stacklevel=3)
        return found

    def _check(self, epoch, path, state, newer):
        if state is None or "iterations" not in state:
            raise ValueError(f"{path} is not a checkpoint, but another model's file. {_WAY_OUT}")
        if state["epoch"] != epoch:
            raise ValueError(
                f"{path} was written after epoch {state['epoch']}, but its name says another "
                f"epoch. {_WAY_OUT}"
            )
        if newer and state["run"] != newer[0][2]["run"]:
            raise ValueError(f"{path} and {newer[0][1].name} are from different runs. {_WAY_OUT}")
        if state["config"] != self.config:
            raise ValueError(
                f"{path} is from a run with other settings: "
                f"{_difference(state['config'], self.config)}. {_WAY_OUT}"
            )


class DamagedFile(ValueError):
    """The error for a damaged `.keras` file."""


def save_with_state(model: keras.Model, path: pathlib.Path, state: dict) -> None:
    """Saves a model and a state in one file, so that `path` never contains half a file."""
    # Keras needs this ending.
    with whole_file(path, ending=".keras") as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_STATE, json.dumps(state))


def read_state(path: pathlib.Path) -> dict | None:
    """Returns the state in a `.keras` file, or `None` if the file has none.

    Raises:
        DamagedFile: If the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (name := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"Bad CRC-32 for file {name!r}")
            return json.loads(archive.read(_STATE)) if _STATE in archive.namelist() else None
    # With wrong bits, `zipfile` raises many kinds of errors.
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


# Under PyTorch, Keras' dropout uses PyTorch's generators and not Keras' seed generators.
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
    """Does the same computations as the process that saves the model, but leaves no file."""
    # Under JAX, Keras computes while it saves. If the devices belong to several processes, this
    # computation waits for all of them.
    with tempfile.TemporaryDirectory() as nowhere:
        model.save(pathlib.Path(nowhere, "model.keras"))
