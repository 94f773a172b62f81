"""Seconds of a training step, as a ratio to the plain ResNet-20's on the same backend.

    KERAS_BACKEND=jax python -m benchmarks.train_step --expansions 1 8 128

The networks take turns, a step each, so that a slower or faster spell of the machine meets all
of them; the ratio is taken round by round. Writes JSON to benchmarks/results/.
"""

import dataclasses
import pathlib
import platform
import statistics
import sys
import time

import keras
import numpy as np
import tyro

import keras_lc
from keras_lc.training.resume import write_json
from recipes.run import environment

RESULTS = pathlib.Path(__file__).parent / "results"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to time."""

    expansions: tuple[int, ...] = (1, 8, 128)
    batch_size: int = 256
    depth: int = 20
    rounds: int = 7
    two_layers: bool = False
    """Also time the LC block as two stock layers, with feature maps `expansion` times as large."""


def two_layer_resnet(depth, expansion):
    """ResNet-LC as one would write it with stock layers: a wide convolution, then a 1×1."""

    @dataclasses.dataclass(frozen=True)
    class TwoLayers(keras_lc.spatial.SpatialOperator):
        def layer(self, filters, seed, **geometry):
            name = geometry.pop("name")
            basis = keras.layers.Conv2D(
                filters * expansion,
                use_bias=False,
                trainable=False,
                name=f"{name}_basis",
                **geometry,
            )
            combination = keras.layers.Conv2D(filters, 1, use_bias=False, name=name)
            return lambda x: combination(basis(x))

    return keras_lc.CIFARResNet(depth=depth, spatial=TwoLayers(), seed=0)


def networks(arguments):
    yield "plain", keras_lc.CIFARResNet(depth=arguments.depth, seed=0)
    for expansion in arguments.expansions:
        yield (
            f"LC frozen x{expansion}",
            keras_lc.ResNetLC(depth=arguments.depth, expansion=expansion, seed=0),
        )
        yield (
            f"LC compact x{expansion}",
            keras_lc.ResNetLC(depth=arguments.depth, expansion=expansion, compact=True, seed=0),
        )
        if arguments.two_layers:
            yield f"two layers x{expansion}", two_layer_resnet(arguments.depth, expansion)


def main(arguments):
    generator = np.random.default_rng(0)
    shape = (arguments.batch_size, 32, 32, 3)
    images = generator.integers(0, 256, shape, dtype="uint8")
    labels = generator.integers(0, 10, arguments.batch_size)
    models = dict(networks(arguments))
    for model in models.values():
        keras_lc.training.CIFAR.compile(model, steps=1000)
        for _ in range(2):  # compiles
            model.train_on_batch(images, labels)

    seconds = {name: [] for name in models}
    for _ in range(arguments.rounds):
        for name, model in models.items():
            begin = time.perf_counter()
            float(model.train_on_batch(images, labels)[0])  # as a number: waits for the device
            seconds[name].append(time.perf_counter() - begin)

    rows = {}
    for name, times in seconds.items():
        ratios = [t / p for t, p in zip(times, seconds["plain"], strict=True)]
        rows[name] = {
            "seconds": statistics.median(times),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
        }
        print(f"{name:20} {rows[name]['seconds']:8.3f} s  {rows[name]['ratio']:6.2f} x", flush=True)
    path = RESULTS / f"train_step-{platform.machine()}-{keras.backend.backend()}.json"
    write_json(
        path,
        {
            "command": " ".join(["python -m benchmarks.train_step", *sys.argv[1:]]),
            "arguments": dataclasses.asdict(arguments),
            **environment(),
            "rows": rows,
        },
    )
    print(path)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
