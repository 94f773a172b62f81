"""How the benchmarks measure: seconds in turns, and bytes in separate processes."""

import dataclasses
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import keras
import numpy as np

import keras_lc
from recipes.common.environment import environment
from recipes.common.files import write_json

RESULTS = pathlib.Path(__file__).parent / "results"


def take_turns(steps: dict[str, Callable], rounds: int) -> dict[str, dict[str, float]]:
    """Times functions in turns, so that a slow phase of the machine affects all of them.

    Each round begins with another function, because each changes the caches for the next.

    Args:
        steps: Functions by name. Each must return only when the device has finished. The others
            are compared with the first.
        rounds: Integer, the number of timed calls of each, after two calls that compile it.

    Returns:
        For each name the median of its seconds, and the median, smallest and largest of its
        ratios to the first function in the same round.
    """
    times = time_in_turns(steps, rounds)
    return compare(times, next(iter(times)))


def time_in_turns(steps: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of each call; see `take_turns`."""
    for step in steps.values():
        step()
        step()
    seconds = {name: [] for name in steps}
    names = list(steps)
    for i in range(rounds):
        begin_with = i % len(names)
        for name in names[begin_with:] + names[:begin_with]:
            begin = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def compare(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    """Returns the medians of seconds, and of their ratios to `base` in the same round."""
    rows = {}
    for name, times in seconds.items():
        ratios = [t / f for t, f in zip(times, seconds[base], strict=True)]
        rows[name] = {
            "seconds": statistics.median(times),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
    return rows


def images_and_labels(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, shape, dtype="uint8")
    return images, generator.integers(0, 10, shape[0])


def training_step(model: keras.Model, batch_size: int, **compile_arguments) -> Callable[[], float]:
    """Returns a function that trains one step with the recipe and waits for the device."""
    keras_lc.training.CIFAR.compile(model, steps=1000, **compile_arguments)
    images, labels = images_and_labels((batch_size, *model.input_shape[1:]))
    return lambda: float(model.train_on_batch(images, labels)[0])


def in_child(module: str, *arguments: str, **environment_variables: str) -> dict:
    """Runs `python -m module arguments` and returns the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=pathlib.Path(__file__).parents[1],
        env=os.environ | environment_variables,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def write(module: str, arguments, rows: dict, folder: pathlib.Path = RESULTS) -> pathlib.Path:
    """Writes the JSON of one benchmark. Its name contains benchmark, device and backend."""
    about = environment()
    device = about["device"] if "CPU" not in about["device"] else platform.machine()
    device = re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")
    path = folder / f"{module.rpartition('.')[2]}-{device}-{about['backend']}.json"
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in dataclasses.asdict(arguments).items()
    }
    command = " ".join([f"KERAS_BACKEND={about['backend']} python -m {module}", *sys.argv[1:]])
    write_json(path, {"command": command, "arguments": values, **about, "rows": rows})
    return path
