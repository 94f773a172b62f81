"""Measure the peak memory of training networks or one large layer, each in its own process.

    KERAS_BACKEND=jax python -m benchmarks.memory

It adds the variables and the memory that the framework's own allocator uses in a step. Under JAX
on a CPU, it adds the memory that XLA plans instead. Writes JSON to benchmarks/results/.
"""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import tyro

import keras_lc
from benchmarks import networks
from benchmarks.allocations import peak_of
from benchmarks.measure import RESULTS, images_and_labels, in_child, write
from recipes.common.command_line import command_words
from recipes.common.environment import on_gpu

# The first steps compile and make the optimizer's variables.
_WARM_UP = 2


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    names: tuple[str, ...] = ("plain", "compact-x128", "full-x128", "two-layer-x8")
    """Networks, or single 3x3 layers from 512 to 512 channels as in ResNet-18, such as
    layer-learnable-x32."""
    batch_size: int = 256
    """Images in one step."""
    depth: int = 20
    """Number of layers of the ResNet."""
    width: int = 16
    """Channels of the first stage."""
    network: str = "cifar"
    """cifar, or resnet for ImageNet with --depth, --variant and --image-size."""
    variant: str | None = None
    """Variant of the ResNet for ImageNet: d, next or wide."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    output: pathlib.Path = RESULTS
    """Folder of the JSON file."""
    child: bool = False
    """Measure one network, and print JSON."""


def main(arguments):
    if arguments.child:
        print(json.dumps(measure(arguments)))
        return
    rows = {}
    for name in arguments.names:
        fields = ("batch_size", "depth", "width", "network", "variant", "image_size")
        options = command_words({field: getattr(arguments, field) for field in fields})
        rows[name] = in_child("benchmarks.memory", "--child", "--names", name, *options)
        ratio = rows[name]["peak"] / next(iter(rows.values()))["peak"]
        print(
            f"{name:20} {rows[name]['peak'] / 2**20:9.1f} MiB  {ratio:6.2f} x, of which weights "
            f"and optimizer {rows[name]['variables'] / 2**20:7.1f} MiB",
            flush=True,
        )
    print(write("benchmarks.memory", arguments, rows, arguments.output))


def measure(arguments):
    (name,) = arguments.names
    if name.startswith("layer-"):
        model, data = _layer(name.removeprefix("layer-"), arguments.batch_size)
    else:
        model = networks.make(
            name,
            arguments.depth,
            arguments.width,
            arguments.image_size,
            arguments.network,
            arguments.variant,
        )
        keras_lc.training.CIFAR.compile(model, steps=1000)
        data = images_and_labels((arguments.batch_size, *model.input_shape[1:]))

    def step():
        float(np.ravel(model.train_on_batch(*data))[0])

    for _ in range(_WARM_UP):
        step()
    state = [*model.weights, *model.optimizer.variables]
    variables = sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in state)
    on_cpu_under_jax = keras.backend.backend() == "jax" and not on_gpu()
    during_step = _planned(model, data) if on_cpu_under_jax else peak_of(step)
    return {"peak": variables + during_step, "variables": variables}


def _layer(form, batch_size):
    """The largest spatial layer of ResNet-18 at 224 pixels, alone."""
    kind, expansion = form.split("-x")
    if kind == "two":
        channels = 512 * int(expansion)
        layers = [
            keras.layers.Conv2D(channels, 3, padding="same", use_bias=False),
            keras.layers.Conv2D(512, 1, use_bias=False),
        ]
    else:
        layers = [
            keras_lc.LCConv2D(
                512,
                3,
                padding="same",
                use_bias=False,
                expansion=int(expansion),
                frozen=kind != "learnable",
                compact=kind == "compact",
                seed=0,
            )
        ]
    model = keras.Sequential([keras.Input((7, 7, 512)), *layers])
    model.compile(keras_lc.training.CIFAR.optimizer(steps=1000), "mse")
    x = np.random.default_rng(0).normal(size=(batch_size, 7, 7, 512)).astype("float32")
    return model, (x, x)


def _planned(model, data):
    """Returns the bytes that XLA needs for a step besides the variables."""
    import jax

    owners = [
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    ]
    state = tuple([variable.value for variable in variables] for variables in owners)
    step = jax.jit(model.train_step, donate_argnums=0).lower(state, data).compile()
    return step.memory_analysis().temp_size_in_bytes + sum(array.nbytes for array in data)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
