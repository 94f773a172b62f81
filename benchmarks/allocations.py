"""What the framework's own allocator hands out: exact, where resident sizes vary."""

import json
import pathlib
import tempfile
from collections.abc import Callable

import keras


def peak_of(step: Callable[[], object]) -> int:
    """Returns how many bytes more are in use at the peak of a step than before it.

    Not under JAX on a CPU, whose allocator counts nothing.

    Args:
        step: Function that waits for the device. Not its first call, which compiles and makes
            the optimizer's variables.
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
    # The allocator of a CPU counts for the profiler alone.
    cpu = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[cpu], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder, "trace.json")
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    return max(event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]")
