"""Run the GPU suite: whole training runs, all benchmarks and the tests, under every backend.

    python -m benchmarks.gpu --data-dir cifar10-jpeg --output results

The most important parts come first: training of each form, then the comparison with the frameworks'
own code, then the rest. Each part is a separate process. If a part fails or takes too long, the
suite reports the reason and continues. Another call with the same --output skips finished parts
and resumes training from its checkpoint, so you can split the suite into calls of --seconds.
Writes gpu.json and other JSON files to --output.
"""

import dataclasses
import importlib.util
import os
import pathlib
import subprocess
import sys
import time

import tyro

from recipes.common.files import read_json, write_json

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
    """Folder of the results."""
    backends: tuple[str, ...] = ("jax", "torch", "tensorflow")
    """Backends to use. The suite leaves out backends that are not installed."""
    parts: tuple[str, ...] = ("training", "frameworks", "benchmarks", "tests")
    """Parts to run, in this order."""
    epochs: int = 75
    """Number of epochs of each training run."""
    subset: int | None = None
    """Number of training images. Defaults to all."""
    forms: tuple[str, ...] = tuple(_FORMS)
    """Networks to train: plain, compact, full, learnable."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of the training runs."""
    batch_sizes: tuple[int, ...] = (256, 1024)
    """Images in one step, for the parts that time steps."""
    rounds: int = 21
    """Number of times that each step is timed."""
    part_seconds: float = 300.0
    """Seconds after which a part is stopped, except training. The next call resumes training."""
    seconds: float = float("inf")
    """Seconds for the whole call. Then a running part is stopped and no other part starts."""


def main(arguments):
    if not arguments.data_dir.exists():
        sys.exit(f"--data-dir: {arguments.data_dir} does not exist.")
    arguments.output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + arguments.seconds
    report_path = arguments.output / "gpu.json"
    report = read_json(report_path) or {}
    for name, backend, command in commands(arguments):
        if report.get(name, {}).get("returncode") == 0:
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            report.setdefault(name, {"returncode": None, "reason": "No time was left to start it."})
            continue
        if command[0] != "recipes.train":
            left = min(left, arguments.part_seconds)
        row = report[name] = run(name, backend, command, arguments.output, left)
        write_json(report_path, report)
        why = f"  {row['reason']}" if row["returncode"] != 0 else ""
        print(f"{name:40} {row['returncode']}  {row['seconds']:7.1f} s{why}", flush=True)
    write_json(report_path, report)
    unfinished = [name for name, row in report.items() if row["returncode"] != 0]
    if unfinished:
        sys.exit(f"Not finished: {', '.join(unfinished)}. See the logs in {arguments.output}.")


def commands(arguments):
    """Yields `(name, backend, command)` of every part."""
    backends = [name for name in arguments.backends if importlib.util.find_spec(name)]
    parts = {
        "training": _training,
        "frameworks": _frameworks,
        "benchmarks": _benchmarks,
        "tests": _tests,
    }
    for part in arguments.parts:
        for backend in backends:
            for name, command in parts[part](arguments, backend):
                yield name, backend, command


def _training(arguments, backend):
    for seed in arguments.seeds:
        for form in arguments.forms:
            name = f"{form}-{backend}-{seed}"
            options = ["--epochs", str(arguments.epochs), "--seed", str(seed), *_FORMS[form]]
            if arguments.subset is not None:
                options += ["--subset", str(arguments.subset)]
            yield name, [
                "recipes.train", "--dataset", "cifar10", *_data(arguments), *options,
                *_output(arguments, name),
            ]  # fmt: skip


def _frameworks(arguments, backend):
    rounds = ["--rounds", str(arguments.rounds)]
    for precision in ("float32", "mixed_bfloat16"):
        for batch_size in arguments.batch_sizes:
            name = f"frameworks-{precision}-{batch_size}-{backend}"
            options = ["--batch-size", str(batch_size), "--precision", precision, *rounds]
            yield name, ["benchmarks.frameworks", *options, *_output(arguments, f"{name}.d")]


def _benchmarks(arguments, backend):
    sizes = [str(size) for size in arguments.batch_sizes]
    rounds = ["--rounds", str(arguments.rounds)]
    largest = ["--batch-size", str(max(arguments.batch_sizes))]
    networks = ["plain", "compact-x128", "full-x128", "two-layer-x8"]
    layers = ["layer-compact-x128", "layer-full-x128", "layer-learnable-x128"]
    images = [] if arguments.subset is None else ["--images", str(arguments.subset)]
    for name, command in {
        "input_pipeline": ["benchmarks.input_pipeline", *_data(arguments), *images],
        "inference": ["benchmarks.inference", *largest, *rounds],
        "train_step": ["benchmarks.train_step", "--batch-sizes", *sizes, *rounds],
        "memory": ["benchmarks.memory", *largest, "--names", *networks],
        "files": ["benchmarks.files"],
        "parameter_free": ["benchmarks.parameter_free", *rounds, "--batch-sizes", "1", *sizes],
    }.items():
        yield f"{name}-{backend}", [*command, *_output(arguments)]
    name = f"memory-layer-{backend}"
    yield name, ["benchmarks.memory", *_output(arguments, "layer"), "--names", *layers]


def _tests(arguments, backend):
    tests = ["tests/layers", "tests/training", "tests/models"]
    yield f"tests-{backend}", ["pytest", "-q", *tests]


def _data(arguments):
    return ["--data-dir", str(arguments.data_dir.resolve())]


def _output(arguments, folder="."):
    return ["--output", str(arguments.output.resolve() / folder)]


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
            reason = _last_line(log.name) if returncode else None
        except subprocess.TimeoutExpired:
            returncode, reason = None, f"Stopped after {seconds:.0f} s."
    row = {
        "command": f"KERAS_BACKEND={backend} python -m {' '.join(command)}",
        "returncode": returncode,
        "reason": reason,
        "seconds": time.monotonic() - begin,
    }
    config = output / name / "config.json"
    if returncode == 0 and config.exists():
        row["results"] = read_json(config)["results"]
    return row


def _last_line(path):
    lines = pathlib.Path(path).read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "It printed nothing.")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
