"""Kills training runs at random moments and resumes them: `python -m tests.recipes.chaos FOLDER`.

Trains a small ResNet-LC on real digits with `recipes.train`, once without being disturbed, and
then killed with SIGKILL and resumed again and again, at moments drawn from the whole duration of
the first run; each time such a run comes to its end, another one begins. Prints, as the last
line, JSON: the moments, and whatever differs in the end.
"""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import tyro

ROOT = pathlib.Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How often to kill, and when."""

    folder: tyro.conf.Positional[pathlib.Path]
    kills: int = 20
    seed: int = 0
    """Of the moments."""
    compact: bool = False


def main(arguments):
    runs = Runs(arguments)
    begin = time.monotonic()
    assert runs.start("whole").wait() == 0, runs.log("whole")
    duration = time.monotonic() - begin

    generator = random.Random(arguments.seed)
    kills, differ, finished = [], {}, 0
    while True:
        name = f"killed-{finished}"
        process = runs.start(name)
        if len(kills) < arguments.kills:
            moment = generator.uniform(0, duration)
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills.append({"run": name, "after": round(moment, 2), "in": runs.place(name)})
        process.wait()
        if not (arguments.folder / name / "model.keras").exists():
            assert process.returncode == -signal.SIGKILL, runs.log(name)
            continue
        differ[name] = differences(arguments.folder / "whole", arguments.folder / name)
        finished += 1
        if len(kills) == arguments.kills:
            break
    print(json.dumps({"duration": round(duration, 2), "kills": kills, "differ": differ}))


class Runs:
    def __init__(self, arguments):
        self.folder = arguments.folder
        self.command = [
            sys.executable, "-m", "recipes.train", "--depth", "8", "--width", "4",
            "--expansion", "16", "--epochs", "6", "--batch-size", "256",
            "--augmentation", "crop_flip", "--compact" if arguments.compact else "--no-compact",
        ]  # fmt: skip

    def start(self, name):
        output = self.folder / name
        resume = ["--resume"] if output.exists() else []
        with open(self.folder / f"{name}.log", "a") as log:
            log.write("--- start\n")
            log.flush()
            return subprocess.Popen(
                [*self.command, "--output", str(output), *resume],
                cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def place(self, name):
        """Where a run was killed: the last thing it said, and whether a file was half written."""
        epochs = self.log(name).rpartition("--- start")[2]
        said = next((s for s in reversed(epochs.splitlines()) if s.startswith("Epoch ")), "start")
        output = self.folder / name
        half = [path.name for path in output.glob(".*")] if output.exists() else []
        return ", ".join([said, *half])


def differences(first, second):
    """The names of what differs, bit for bit, between the models and histories of two runs."""
    models = [arrays(folder / "model.keras") for folder in (first, second)]
    names = sorted(models[0].keys() | models[1].keys())
    differ = [name for name in names if models[0].get(name) != models[1].get(name)]
    histories = [(folder / "history.json").read_text() for folder in (first, second)]
    return differ + (["history.json"] if histories[0] != histories[1] else [])


def arrays(path):
    """All arrays of a `.keras` file, the optimizer's too, as bytes."""
    found = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes()

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        h5py.File(file).visititems(collect)
    return found


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
