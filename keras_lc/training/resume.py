"""Checkpoints of a run that can be killed at any moment and finished later."""

import json
import os
import pathlib
import re

import keras

_KEPT = 2
_NAME = "checkpoint-{epoch:04d}.keras"
_PATTERN = re.compile(r"checkpoint-(\d{4,})\.keras")


class ResumableRun(keras.callbacks.Callback):
    """Writes a checkpoint and the history after every epoch, so that a run can be resumed.

    A checkpoint is a whole `.keras` file: model, optimizer, learning-rate schedule and the state
    of the augmentation. It is written to a temporary name and renamed, and the last two are
    kept, so that whenever the process is killed a complete one is there.

    Args:
        folder: Path of the folder of checkpoints and of `history.json`; made if missing.

    Attributes:
        history: Dict of lists, one value an epoch, over all parts of the run.

    Example:

    ```python
    run = keras_lc.training.ResumableRun("runs/1")
    model, epoch = run.restore() or (keras_lc.ResNetLC(depth=20, expansion=8, seed=1), 0)
    model.fit(x, y, epochs=75, initial_epoch=epoch, callbacks=[run])
    ```
    """

    def __init__(self, folder: str | os.PathLike):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.history: dict[str, list[float]] = {}

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
        history = json.loads((self.folder / "history.json").read_text())
        self.history = {name: values[:epoch] for name, values in history.items()}
        return model, epoch

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self.folder.mkdir(parents=True, exist_ok=True)
        # The history first: it may be an epoch ahead of the checkpoint, never behind.
        write_json(self.folder / "history.json", self.history)
        path = self.folder / _NAME.format(epoch=epoch + 1)
        # Keras goes by the ending; the leading dot hides the file from `_checkpoints`.
        temporary = path.with_name(f".{path.name}.tmp.keras")
        self.model.save(temporary)
        rename(temporary, path)
        for _, path in self._checkpoints()[:-_KEPT]:
            path.unlink()

    def finish(self, path: str | os.PathLike) -> None:
        """Makes the newest checkpoint the finished model at `path`, and deletes the others."""
        *others, (_, newest) = self._checkpoints()
        os.replace(newest, path)
        for _, checkpoint in others:
            checkpoint.unlink()

    def _checkpoints(self):
        found = []
        for path in self.folder.glob("checkpoint-*.keras"):
            if match := _PATTERN.fullmatch(path.name):
                found.append((int(match[1]), path))
        return sorted(found)


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
