"""Peak memory of training, of networks and of one large layer; each in a process of its own.

    KERAS_BACKEND=jax python -m benchmarks.memory

On a CPU it is the process' largest resident size less what it was before the network was built;
on a GPU what the framework's allocator reports. Under JAX also what XLA plans for a step: exact,
where the resident size varies by tens of MiB. Writes JSON to benchmarks/results/.
"""

import dataclasses
import gc
import json
import os
import pathlib
import resource
import statistics

import keras
import numpy as np
import tyro

import keras_lc
from benchmarks import networks
from benchmarks.measure import RESULTS, images_and_labels, in_child, training_step, write


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to measure."""

    names: tuple[str, ...] = ("plain", "compact-x128", "full-x128", "two-layer-x8")
    """Networks; or layers of 512 to 512 channels, 3x3, as in ResNet-18: layer-learnable-x32."""
    batch_size: int = 256
    depth: int = 20
    width: int = 16
    network: str = "cifar"
    """cifar; or resnet, of ImageNet, with --depth, --variant and --image-size."""
    variant: str | None = None
    image_size: int = 32
    steps: int = 3
    repeats: int = 3
    output: pathlib.Path = RESULTS
    child: bool = False
    """Measure one, and print JSON."""


def main(arguments):
    if arguments.child:
        print(json.dumps(measure(arguments)))
        return
    rows = {}
    for name in arguments.names:
        options = ["--child", "--names", name]
        for field in ("batch_size", "depth", "width", "network", "variant", "image_size", "steps"):
            if getattr(arguments, field) is None:
                continue
            options += [f"--{field.replace('_', '-')}", str(getattr(arguments, field))]
        found = [
            # Freed tensors go back to the system at once: what is resident is what is in use.
            in_child("benchmarks.memory", *options, MALLOC_MMAP_THRESHOLD_="65536")
            for _ in range(arguments.repeats)
        ]
        rows[name] = found[0] | {"peak": int(statistics.median(row["peak"] for row in found))}
        rows[name]["peaks"] = [row["peak"] for row in found]
        ratio = rows[name]["peak"] / next(iter(rows.values()))["peak"]
        planned = rows[name]["planned"]
        print(
            f"{name:20} {rows[name]['peak'] / 2**20:9.1f} MiB  {ratio:6.2f} x, of which weights "
            f"and optimizer {rows[name]['variables'] / 2**20:7.1f} MiB"
            + (f"; planned {planned / 2**20:9.1f} MiB" if planned else ""),
            flush=True,
        )
    print(write("benchmarks.memory", arguments, rows, arguments.output))


def measure(arguments):
    (name,) = arguments.names
    # Start-up and thread pools of the framework and of NumPy's BLAS, before counting.
    square = np.eye(1024)
    np.linalg.cholesky(square @ square)
    training_step(networks.make("plain", depth=8, width=4), batch_size=8)()
    gc.collect()
    keras.utils.clear_session()
    before = _resident()
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
    for _ in range(arguments.steps):
        float(np.ravel(model.train_on_batch(*data))[0])
    state = [*model.weights, *model.optimizer.variables]
    return {
        "peak": _gpu_peak() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before,
        "variables": sum(int(np.prod(v.shape)) * np.dtype("float32").itemsize for v in state),
        "planned": _planned(model, data),
    }


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
    """Bytes of a step's arguments and of all that XLA keeps while it runs; `None` without JAX."""
    if keras.backend.backend() != "jax":
        return None
    import jax

    owners = [
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    ]
    state = tuple([variable.value for variable in variables] for variables in owners)
    step = jax.jit(model.train_step, donate_argnums=0).lower(state, data).compile()
    plan = step.memory_analysis()
    return plan.argument_size_in_bytes + plan.temp_size_in_bytes


def _resident():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _gpu_peak():
    """Bytes, or `None` without a GPU. Keras reports no peak, so each framework is asked."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    if backend == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return None


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
