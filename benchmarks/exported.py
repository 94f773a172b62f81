"""Measure the LiteRT files of a trained network: bytes, accuracy, agreement, time for a picture.

    KERAS_BACKEND=torch python -m benchmarks.exported --run runs/cifar10 --dataset cifar10

It exports the network in float32, float16, dynamic and int8. Each file answers all test pictures in
LiteRT's own runtime. Then the files take turns with single pictures, on one core. Writes JSON to
benchmarks/results/.
"""

import dataclasses
import itertools
import os
import pathlib
import tempfile

import keras
import numpy as np
import tyro

import keras_lc
from benchmarks.measure import RESULTS, take_turns, write
from recipes.common.images import spread

_KINDS = (None, "float16", "dynamic", "int8")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    run: pathlib.Path
    """Folder of a finished run of recipes.train."""
    dataset: str = "cifar10"
    """Name of the data set that the run was trained on."""
    data_dir: pathlib.Path | None = None
    """Its folder, as in recipes.train."""
    calibration: int = 256
    """Number of training pictures that calibrate and check a file."""
    rounds: int = 200
    """Timed pictures of each file."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""


def main(arguments):
    # LiteRT would take more cores.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    model = keras.saving.load_model(arguments.run / "model.keras", compile=False)
    dataset = keras_lc.data.load(
        arguments.dataset, data_dir=arguments.data_dir, data_format="channels_last"
    )
    x, y = dataset.x_test, dataset.y_test
    expected = model.predict(x, verbose=0).argmax(-1)
    rows = {"model": {"accuracy": float(np.mean(expected == y)), "pictures": len(y)}}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for kind in _KINDS:
            name = kind or "float32"
            path = keras_lc.export(
                model,
                pathlib.Path(folder) / f"{name}.tflite",
                format="litert",
                quantization=kind,
                calibration=kind and spread(dataset.x_train, arguments.calibration),
                min_agreement=0.0,
                verbose=False,
            )
            files[name] = keras_lc.open_exported(path)
            answers = np.concatenate([files[name](x[i : i + 1]) for i in range(len(x))]).argmax(-1)
            rows[name] = {
                "bytes": path.stat().st_size,
                "accuracy": float(np.mean(answers == y)),
                "agreement": float(np.mean(answers == expected)),
            }
        pictures = itertools.cycle(x[i : i + 1] for i in range(len(x)))
        times = take_turns(
            {name: lambda file=file: file(next(pictures)) for name, file in files.items()},
            arguments.rounds,
        )
    print(f"{'model':8} accuracy {rows['model']['accuracy']:.2%} of {len(y):,} test pictures")
    for name in files:
        rows[name] |= times[name]
        print(
            "{:8} accuracy {accuracy:.2%}, agreement {agreement:.2%}, {bytes:>10,} bytes, "
            "{:.3f} ms a picture".format(name, 1000 * rows[name]["seconds"], **rows[name])
        )
    print(write("benchmarks.exported", arguments, rows, arguments.output))


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
