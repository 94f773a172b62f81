"""Disturbs training runs in every way, and looks at what comes of it.

    for backend in tensorflow jax torch; do
        KERAS_BACKEND=$backend python -m tests.recipes.chaos /tmp/chaos-$backend
    done

Trains a small ResNet-LC on real digits with `recipes.train`, once without being disturbed. Then it
is killed, stopped or left without disk space, at moments drawn from the whole duration of the first
run or at one of the places where files get their names, and resumed again and again; each time
such a run comes to its end, another one begins. And files of a run that was killed, and of one that
is finished, are damaged, before it goes on or is evaluated.

Each time a command must be exact, bit for bit, or end with one clear line. Prints, as the last
line, JSON: how often it was which, and everything else as `wrong`.
"""

import collections
import dataclasses
import errno
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import sys
import time
import zipfile

import h5py
import keras
import tensorflow  # noqa: F401
import tyro

# And TensorFlow: before processes are forked, which need not import it again.
import recipes.evaluate.run
import recipes.train.run  # noqa: F401
from recipes.common.command_line import run_command
from recipes.evaluate import command as evaluate
from recipes.train import command as train

EPOCHS = 4
# What TensorFlow prints while it starts, and Keras' `fit` and the command when all is well.
_NOISE = re.compile(r"I0000|WARNING: All log|Epoch \d|\d+/\d+ - |resnet_|Files: |\s*$")
# Of the replacing of files, by which each gets its name: config.json, then three an epoch.
_AFTER_EPOCH_3 = 1 + 3 * 3


@dataclasses.dataclass(frozen=True)
class Arguments:
    """How often to disturb, and when."""

    folder: tyro.conf.Positional[pathlib.Path]
    faults: int = 20
    damages: int = 17
    seed: int = 0
    """Of the moments, faults and files."""
    compact: bool = False


def main(arguments):
    chaos = Chaos(arguments)
    chaos.faults(arguments.faults)
    chaos.damages(arguments.damages)
    counts = {
        part: collections.Counter(verdict for _, verdict, _ in cases)
        for part, cases in chaos.cases.items()
    }
    wrong = [case for cases in chaos.cases.values() for case in cases if case[1] == "wrong"]
    said = sorted({text for cases in chaos.cases.values() for _, _, text in cases if text})
    print(json.dumps({"backend": keras.backend.backend(), **counts, "said": said, "wrong": wrong}))


class Chaos:
    def __init__(self, arguments):
        self.folder = arguments.folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.random = random.Random(arguments.seed)
        self.compact = "--compact" if arguments.compact else "--no-compact"
        self.cases = {"faults": [], "damages": []}
        begin = time.monotonic()
        assert self.train("whole") == 0, self.log("whole")
        self.duration = time.monotonic() - begin
        self.whole = self.folder / "whole"

    def note(self, part, case, verdict, text=""):
        self.cases[part].append((case, verdict, text))
        print(f"{part} {case}: {verdict} {text}", flush=True)

    # --- in a run ---

    def faults(self, count):
        done = 0
        for number in itertools.count():
            name, killed = f"run-{number}", []
            while True:
                case, fault = self.random_fault() if done < count else ("nothing", None)
                code = self.train(name, fault=fault)
                # It came to its end before the fault, or in spite of it.
                if code == 0 or fault is None:
                    break
                done += 1
                case = f"{name}, {case}"
                if code < 0:
                    killed.append(case)
                else:
                    self.note("faults", case, *self.verdict(name, code))
            # Of a run that was killed, what matters is the end.
            for case in killed or [f"{name}, not disturbed"]:
                self.note("faults", case, *self.verdict(name, code))
            if done >= count:
                break

    def random_fault(self):
        draw = self.random
        moment = draw.uniform(0.5, self.duration)
        size = draw.randrange(5_000, 250_000)
        # config.json with the results, the history and the model come after all epochs.
        place = draw.randrange(1 + 3 * EPOCHS + 3) + 1
        number = draw.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        return draw.choice(
            [
                (f"{number.name} after {moment:.1f} s", Timed(number, moment)),
                (f"SIGKILL before file {place}", AtFile(place, "kill before")),
                (f"SIGKILL after file {place}", AtFile(place, "kill after")),
                (f"SIGINT at file {place}", AtFile(place, "interrupt")),
                (f"ENOSPC at file {place}", AtFile(place, "full")),
                (f"files of {size:,} bytes at most", Small(size)),
            ]
        )

    # --- between two ---

    def damages(self, count):
        self.train("stopped", fault=AtFile(_AFTER_EPOCH_3 + 1, "kill before"))
        self.train("foreign", "--seed", "1", fault=AtFile(_AFTER_EPOCH_3 + 1, "kill before"))
        assert self.evaluate("whole") == 0, self.log("whole")
        cases = [
            *((name, way) for name in _OF_A_STOPPED_RUN for way in _DAMAGES),
            *((way, None) for way in _CONFUSIONS),
            *((f"finished {name}", way) for name in _OF_A_FINISHED_RUN for way in _DAMAGES),
        ]
        self.random.shuffle(cases)
        for number, (name, way) in enumerate(cases[:count]):
            self.damage(f"damaged-{number}", name, way)

    def damage(self, run, name, way):
        finished = name.startswith("finished ")
        folder = shutil.copytree(
            self.folder / ("whole" if finished else "stopped"), self.folder / run
        )
        if way is None:
            _CONFUSIONS[name](folder, self.folder)
        else:
            pattern = name.removeprefix("finished ")
            for path in sorted(folder.glob(pattern)):
                _DAMAGES[way](path, self.random)
        code = self.evaluate(run) if finished else self.train(run)
        case = name if way is None else f"{way} {name}"
        self.note("damages", case, *self.verdict(run, code, evaluated=finished))

    # --- commands ---

    def train(self, name, *more, fault=None):
        resume = ["--resume"] if (self.folder / name / "config.json").exists() else []
        words = [
            "--depth", "8", "--width", "8", "--expansion", "2", "--epochs", str(EPOCHS),
            "--subset", "64", "--batch-size", "32", "--augmentation", "crop_flip", self.compact,
            "--output", str(self.folder / name), *more, *resume,
        ]  # fmt: skip
        return self.command(name, train.main, words, fault)

    def evaluate(self, name):
        words = [str(self.folder / name), "--attack-images", "20"]
        return self.command(name, evaluate.main, words)

    def command(self, name, main, words, fault=None):
        """Runs a command in a process of its own, and returns the exit status."""
        # Forked, since the imports take longer than everything else.
        process = multiprocessing.get_context("fork").Process(
            target=_run, args=(self.folder / f"{name}.log", main, words, fault)
        )
        process.start()
        if isinstance(fault, Timed):
            process.join(fault.seconds)
            if process.is_alive():
                os.kill(process.pid, fault.signal)
        process.join()
        return process.exitcode

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def verdict(self, name, code, evaluated=False):
        """Whether a command that ended was exact, or said in one line why not."""
        said = self.log(name)
        lines = [line for line in said.splitlines() if not _NOISE.match(line)]
        last = lines[-1].replace(str(self.folder), "") if lines else ""
        if code == 0:
            check = differing_results if evaluated else differences
            differ = check(self.whole, self.folder / name)
            return ("wrong", f"differ: {differ}") if differ else ("exact", "")
        return ("wrong" if code < 0 or "Traceback" in said or not lines else "one line", last)


def _run(log, main, words, fault):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv[1:] = words
    if fault is not None:
        fault.begin()
    run_command(main)


@dataclasses.dataclass
class Timed:
    """A signal after some seconds."""

    signal: signal.Signals
    seconds: float

    def begin(self):
        pass


@dataclasses.dataclass
class AtFile:
    """Something that happens where a file gets its name."""

    number: int
    what: str

    def begin(self):
        self._replace, self._place = os.replace, 0
        os.replace = self._next

    def _next(self, *paths):
        self._place += 1
        if self._place != self.number and not (self.what == "full" and self._place > self.number):
            return self._replace(*paths)
        if self.what == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.what == "kill after":
            self._replace(*paths)
        if self.what.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGINT)
        return self._replace(*paths)


@dataclasses.dataclass
class Small:
    """The system writes no larger files, as if the disk was full."""

    size: int

    def begin(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


def differences(first, second):
    """The names of what differs, bit for bit, between the models and histories of two runs."""
    models = [arrays(folder / "model.keras") for folder in (first, second)]
    names = sorted(models[0].keys() | models[1].keys())
    differ = [name for name in names if models[0].get(name) != models[1].get(name)]
    histories = [(folder / "history.json").read_text() for folder in (first, second)]
    differ += ["history.json"] if histories[0] != histories[1] else []
    configs = [json.loads((folder / "config.json").read_text()) for folder in (first, second)]
    accuracies = [config["results"]["test_accuracy"] for config in configs]
    return differ + (["config.json"] if accuracies[0] != accuracies[1] else [])


def differing_results(first, second):
    """The names of what differs between the evaluations of two runs."""
    results = [
        json.loads((folder / "evaluation.json").read_text())["results"]
        for folder in (first, second)
    ]
    return [name for name in results[0] if results[0][name] != results[1].get(name)]


def arrays(path):
    """All arrays of a `.keras` file, the optimizer's too, as bytes."""
    found = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes()

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        h5py.File(file).visititems(collect)
    return found


# --- damage ---


def _flip(path, draw):
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _cut_off(path, draw):
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def _foreign(path, draw):
    # The other run has none of what comes after the last epoch.
    other = path.parents[1] / "foreign" / path.name
    shutil.copy(other if other.exists() else other.with_name("checkpoint-0003.keras"), path)


_DAMAGES = {
    "flipped": _flip,
    "cut off": _cut_off,
    "empty": lambda path, draw: path.write_bytes(b""),
    "zeros in": lambda path, draw: path.write_bytes(bytes(path.stat().st_size)),
    "removed": lambda path, draw: path.unlink(),
    "text in": lambda path, draw: path.write_text("[1, {}]"),
    "foreign": _foreign,
}
_OF_A_STOPPED_RUN = (
    "config.json", "history.json", "seconds.json", "checkpoint-0003.keras",
    "checkpoint-0002.keras", "checkpoint-*.keras",
)  # fmt: skip
_OF_A_FINISHED_RUN = ("config.json", "model.keras", "evaluation.json")


def _swap(folder, _):
    first, second = sorted(folder.glob("checkpoint-*.keras"))
    first.rename(folder / "third")
    second.rename(first)
    (folder / "third").rename(second)


def _stray(folder, _):
    shutil.copy(folder / "checkpoint-0003.keras", folder / "checkpoint-0009.keras")


def _model_of_another_run(folder, everything):
    shutil.copy(everything / "whole" / "model.keras", folder)


def _model_as_checkpoint(folder, everything):
    shutil.copy(everything / "whole" / "model.keras", folder / "checkpoint-0003.keras")


def _edited(folder, _):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"subset": 64', '"subset": 32'))


def _half_written(folder, _):
    for path in (".checkpoint-0004.keras.tmp.keras", ".config.json.1.tmp"):
        (folder / path).write_bytes(b"half")


_CONFUSIONS = {
    "swapped checkpoints": _swap,
    "a stray checkpoint": _stray,
    "a model of another run": _model_of_another_run,
    "a model in the place of a checkpoint": _model_as_checkpoint,
    "an edited config.json": _edited,
    "files half written": _half_written,
}


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
