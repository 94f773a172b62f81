"""Memory as counted by the framework's own allocator. It is exact; resident sizes vary."""

import json
import pathlib
import tempfile
from collections.abc import Callable

import keras


def peak_of(step: Callable[[], object]) -> int:
    """Returns the additional bytes in use at the peak of a step.

    It does not work under JAX on a CPU, because JAX's allocator counts nothing there.

    Args:
        step: Function that waits for the device. Call it once before: the first call compiles and
            makes the optimizer's variables.
    """
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()](step)


def _tensorflow(step):
    import tensorflow as tf

    device = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
    memory = tf.config.experimental
    memory.reset_memory_stats(device)
    before = memory.get_memory_info(device)["current"]
    step()
    return memory.get_memory_info(device)["peak"] - before


def _jax(step):
    import jax

    (device, *_) = jax.devices()
    before = device.memory_stats()["bytes_in_use"]
    step()
    return device.memory_stats()["peak_bytes_in_use"] - before


def _torch(step):
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    # On a CPU, the allocator counts only for the profiler.
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder, "trace.json")
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    return max(event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]")
