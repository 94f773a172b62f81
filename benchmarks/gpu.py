"""The GPU suite: every benchmark, the tests and whole training runs, under every backend.

    python -m benchmarks.gpu --data-dir cifar10-jpeg --output results

Each part is a process of its own; one that fails is reported, and the others go on. With the same
--output, parts that are finished are not run again, and training goes on from its checkpoint:
so the suite can be cut into calls of --seconds. Writes JSON to --output, gpu.json among it.
"""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys
import time

import tyro

from recipes.files import read_json, write_json

_ROOT = pathlib.Path(__file__).parents[1]
_FORMS = {
    "plain": ["--spatial", "learned"],
    "compact": ["--expansion", "128", "--compact"],
    "full": ["--expansion", "128"],
    "learnable": ["--expansion", "128", "--no-frozen"],
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to run."""

    data_dir: pathlib.Path
    """CIFAR-10: an image folder, or the original archive."""
    output: pathlib.Path
    backends: tuple[str, ...] = ("jax", "torch", "tensorflow")
    """Those that are not installed are left out."""
    parts: tuple[str, ...] = ("benchmarks", "tests", "training")
    epochs: int = 75
    forms: tuple[str, ...] = tuple(_FORMS)
    """What to train: plain, compact, full, learnable."""
    seeds: tuple[int, ...] = (0,)
    seconds: float = float("inf")
    """No part begins later than this, and none runs on for longer."""


def main(arguments):
    arguments.output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + arguments.seconds
    report_path = arguments.output / "gpu.json"
    report = read_json(report_path) or {}
    for name, backend, command in commands(arguments):
        if report.get(name, {}).get("returncode") == 0:
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            report.setdefault(name, {"returncode": None})
            continue
        report[name] = run(name, backend, command, arguments.output, left)
        write_json(report_path, report)
        print(
            f"{name:40} {report[name]['returncode']}  {report[name]['seconds']:7.1f} s", flush=True
        )
    write_json(report_path, report)
    unfinished = [name for name, row in report.items() if row["returncode"] != 0]
    if unfinished:
        sys.exit(f"Not finished: {', '.join(unfinished)}. See the logs in {arguments.output}.")


def commands(arguments):
    """Yields `(name, backend, command)` of every part, the shortest first."""
    backends = [name for name in arguments.backends if importlib.util.find_spec(name)]
    output = ["--output", str(arguments.output.resolve())]
    data = ["--data-dir", str(arguments.data_dir.resolve())]
    benchmarks = {
        "train_step": ["--batch-sizes", "128", "256", "1024", "--rounds", "21", "--two-layer", "8"],
        "inference": ["--batch-size", "1024", "--rounds", "51"],
        "memory": ["--names", "plain", "compact-x128", "full-x128", "two-layer-x8"],
        "input_pipeline": data,
        "files": [],
    }
    if "benchmarks" in arguments.parts:
        for backend in backends:
            for module, options in benchmarks.items():
                yield f"{module}-{backend}", backend, [f"benchmarks.{module}", *options, *output]
            layers = ["layer-compact-x128", "layer-full-x128", "layer-learnable-x128"]
            layer = [*output[:1], str(arguments.output.resolve() / "layer"), "--names", *layers]
            yield f"memory-layer-{backend}", backend, ["benchmarks.memory", *layer]
    if "tests" in arguments.parts:
        for backend in backends:
            tests = ["tests/layers", "tests/training", "tests/models"]
            yield f"tests-{backend}", backend, ["pytest", "-q", *tests]
    if "training" in arguments.parts:
        for seed in arguments.seeds:
            for backend in backends:
                for form in arguments.forms:
                    name = f"{form}-{backend}-{seed}"
                    options = ["--epochs", str(arguments.epochs), "--seed", str(seed)]
                    folder = ["--output", str(arguments.output.resolve() / name)]
                    yield name, backend, [
                        "recipes.train", "--dataset", "cifar10", *data, *options, *_FORMS[form],
                        *folder,
                    ]  # fmt: skip


def run(name, backend, command, output, seconds):
    if command[0] == "recipes.train" and (output / name / "config.json").exists():
        command = [*command, "--resume"]
    begin = time.monotonic()
    with open(output / f"{name}.log", "a") as log:
        try:
            returncode = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=_ROOT,
                env=os.environ | {"KERAS_BACKEND": backend},
                stdout=log,
                stderr=log,
                timeout=None if seconds == float("inf") else seconds,
            ).returncode
        except subprocess.TimeoutExpired:
            returncode = None
    row = {
        "command": f"KERAS_BACKEND={backend} python -m {' '.join(command)}",
        "returncode": returncode,
        "seconds": time.monotonic() - begin,
    }
    config = output / name / "config.json"
    if returncode == 0 and config.exists():
        row["results"] = read_json(config)["results"]
    return row


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
