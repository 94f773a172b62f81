"""Strict tests: the backend asked for must import, warnings are errors, nothing is unseeded."""

import importlib
import os
import tempfile

from tests import QUICK_TO_COMPILE

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Some sandboxes show a CPU's AMX to oneDNN and kill the program that uses it.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")

os.environ.setdefault("XLA_FLAGS", QUICK_TO_COMPILE)

BACKEND = os.environ["KERAS_BACKEND"]

if BACKEND == "jax":
    # What one test compiles another need not, nor the processes that tests start.
    COMPILED = tempfile.TemporaryDirectory(prefix="jax-")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", COMPILED.name)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Before Keras. A backend that is missing ends the run here: a skip would hide it. PyTorch must
# come before TensorFlow, which Keras imports for its data pipelines (segfault otherwise).
importlib.import_module(BACKEND)

import keras  # noqa: E402
import pytest  # noqa: E402

IGNORED_WARNINGS = [
    # h5py, TensorFlow and PyTorch objects whose `__array__` has no `copy` yet, called by Keras.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # Keras' own layer test, which passes a generator to `fit`.
    "ignore:`shuffle=True` was passed, but will be ignored:UserWarning",
]


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
    for line in IGNORED_WARNINGS:
        config.addinivalue_line("filterwarnings", line)
    config.addinivalue_line("markers", "once: hardly depends on the backend; see --without-once")
    config.addinivalue_line("markers", "large: run under PyTorch, others with --thorough")
    config.addinivalue_line("markers", "long: run with --thorough")
    full_float32()


def pytest_addoption(parser):
    parser.addoption(
        "--thorough",
        action="store_true",
        help="run under every backend what hardly depends on it, or takes long",
    )
    parser.addoption(
        "--without-once",
        action="store_true",
        help="leave out what hardly depends on the backend: another backend's run has it",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--thorough"):
        return
    left_out = ["long"]
    if BACKEND != "torch":
        # PyTorch builds large networks in seconds; JAX compiles for each shape of each variable.
        left_out.append("large")
    if config.getoption("--without-once"):
        left_out.append("once")
    skip = pytest.mark.skip(reason=f"left out under {BACKEND} without --thorough")
    for item in items:
        if any(item.get_closest_marker(name) for name in left_out):
            item.add_marker(skip)


def full_float32():
    """Turns off TF32, with which GPUs multiply float32 to 3 digits."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)
    elif BACKEND == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    elif BACKEND == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(autouse=True)
def clean_and_seeded():
    keras.config.disable_traceback_filtering()
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
