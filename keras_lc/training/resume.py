"""Checkpoints of a run that can be killed at any moment and finished later."""

import json
import os
import pathlib
import re
import tempfile

import keras
import numpy as np

from keras_lc.paths import user_path

_KEPT = 2
_NAME = "checkpoint-{epoch:04d}.keras"
_PATTERN = re.compile(r"checkpoint-(\d{4,})\.keras")


class ResumableRun(keras.callbacks.Callback):
    """Writes a checkpoint and the history after every epoch, so that a run can be resumed.

    A checkpoint is a whole `.keras` file (model, optimizer, learning-rate schedule) and, in a
    `.seeds.json` beside it, the state of the random numbers of dropout and augmentation, which
    Keras writes to no file. Each is written to a temporary name and renamed, and the last two
    are kept, so that whenever the process is killed a complete one is there.

    Args:
        folder: Path of the folder of checkpoints and of `history.json`; made if missing.
        write: Boolean. Of several processes that train one model, one writes and all others pass
            `False`: they restore, and take part in what saving computes.

    Attributes:
        history: Dict of lists, one value an epoch, over all parts of the run.

    Example:

    ```python
    run = keras_lc.training.ResumableRun("runs/1")
    model, epoch = run.restore() or (keras_lc.ResNetLC(depth=20, expansion=8, seed=1), 0)
    model.fit(x, y, epochs=75, initial_epoch=epoch, callbacks=[run])
    ```
    """

    def __init__(self, folder: str | os.PathLike, write: bool = True):
        super().__init__()
        self.folder = user_path(folder)
        self.write = write
        self.history: dict[str, list[float]] = {}
        self._torch_state = None

    def restore(self) -> tuple[keras.Model, int] | None:
        """Loads the newest checkpoint and the history up to it.

        Returns:
            The compiled model and the number of epochs that it was trained, or `None` where
            there is no checkpoint.
        """
        checkpoints = self._checkpoints()
        if not checkpoints:
            return None
        epoch, path = checkpoints[-1]
        model = keras.saving.load_model(path)
        state = json.loads(_seeds_of(path).read_text())
        for variable, value in zip(_seed_variables(model), state["seed_generators"], strict=True):
            variable.assign(np.array(value).astype(variable.dtype))
        self._torch_state = state["torch"]
        history = json.loads((self.folder / "history.json").read_text())
        # A figure may not be there in each epoch. Files from before that was written do without.
        lengths = state.get("history", dict.fromkeys(history, epoch))
        self.history = {name: history[name][:length] for name, length in lengths.items()}
        return model, epoch

    def on_epoch_begin(self, epoch, logs=None):
        # Not before: what `fit` does first draws from PyTorch's generator.
        if self._torch_state is not None:
            _set_torch_state(self._torch_state)
            self._torch_state = None

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if not self.write:
            take_part_in_saving(self.model)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        # The history first: it may be an epoch ahead of the checkpoint, never behind.
        write_json(self.folder / "history.json", self.history)
        path = self.folder / _NAME.format(epoch=epoch + 1)
        lengths = {name: len(values) for name, values in self.history.items()}
        write_json(_seeds_of(path), {**_random_state(self.model), "history": lengths})
        # Keras goes by the ending; the leading dot hides the file from `_checkpoints`.
        temporary = path.with_name(f".{path.name}.tmp.keras")
        self.model.save(temporary)
        rename(temporary, path)
        for _, path in self._checkpoints()[:-_KEPT]:
            _delete(path)

    def finish(self, path: str | os.PathLike) -> None:
        """Makes the newest checkpoint the finished model at `path`, and deletes the others."""
        checkpoints = self._checkpoints()
        if not checkpoints:
            raise FileNotFoundError(f"{self.folder} holds no checkpoint: no epoch has ended there.")
        *others, (_, newest) = checkpoints
        for _, checkpoint in others:
            _delete(checkpoint)
        # Last: whoever finds the finished model finds nothing left to tidy up, but these states.
        os.replace(newest, user_path(path))
        _seeds_of(newest).unlink(missing_ok=True)

    def _checkpoints(self):
        found = []
        for path in self.folder.glob("checkpoint-*.keras"):
            if match := _PATTERN.fullmatch(path.name):
                found.append((int(match[1]), path))
        return sorted(found)


def _seeds_of(checkpoint):
    return checkpoint.with_suffix(".seeds.json")


def _delete(checkpoint):
    # In this order: a checkpoint without its states could not be restored.
    checkpoint.unlink()
    _seeds_of(checkpoint).unlink(missing_ok=True)


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
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    rename(temporary, path)


def rename(temporary: str | os.PathLike, path: str | os.PathLike) -> None:
    """Gives a file that is written its name, so that `path` never holds half a file."""
    # On disk before it has its name, or a power cut could leave the name without the content.
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
