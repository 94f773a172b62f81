"""Starts the processes of a distributed training on this machine.

    python -m tests.distribution.launch jax

prints how far five steps on two virtual devices are from five on one.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

from tests import QUICK_TO_COMPILE

WORKER = pathlib.Path(__file__).with_name("worker.py")
ROOT = WORKER.parents[2]
# Some seconds on a machine that has nothing else to do.
_SECONDS = 900
KIND = {"hosts": "data"}
MODES = {"jax": ("data", "model", "hosts"), "tensorflow": ("data",), "torch": ("data",)}
TWO_CPUS = {"XLA_FLAGS": f"{QUICK_TO_COMPILE} --xla_force_host_platform_device_count=2"}


def processes_of(backend, mode, words, **variables):
    """Starts `python words` as the processes of one training, on two virtual devices.

    Args:
        backend: String.
        mode: `"none"`: a process on one device. `"data"` and `"model"`: two devices, and under
            PyTorch two processes. `"hosts"` (JAX): two processes, of a device each.
        words: List of strings: what to run.
        **variables: Further environment variables.

    Returns:
        A list of `subprocess.Popen`; torchrun is one.
    """
    environment = os.environ | {"KERAS_BACKEND": backend, "MODE": mode, "OMP_NUM_THREADS": "1"}
    environment |= variables
    environment["PYTHONPATH"] = str(ROOT)
    environment["XLA_FLAGS"] = QUICK_TO_COMPILE
    command = [sys.executable]
    each = [{}]
    if backend == "jax" and mode == "hosts":
        jobs = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{_free_port()}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        }
        each = [{**jobs, "KERAS_DISTRIBUTION_PROCESS_ID": str(i)} for i in range(2)]
    elif backend == "jax" and mode != "none":
        each = [TWO_CPUS]
    elif backend == "tensorflow" and mode != "none":
        each = [{"LOGICAL_DEVICES": "2"}]
    elif backend == "torch" and mode != "none":
        command += ["-m", "torch.distributed.run", "--nproc-per-node=2"]
        # A port of its own, so that several trainings can run at a time.
        command += ["--master-addr=127.0.0.1", f"--master-port={_free_port()}"]
        command += ["--local-addr=127.0.0.1"]
    return [
        subprocess.Popen(
            command + words,
            cwd=ROOT,
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for more in each
    ]


def finish(processes):
    """Waits for the processes, and returns what they said; an error if one fails."""
    try:
        said = [process.communicate(timeout=_SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == 0, text[-3000:]
    return said


def train(backend, folder, *modes):
    """Runs the worker in each mode, all at a time.

    Returns:
        For each mode a list of what each process wrote.
    """
    started = {
        mode: processes_of(backend, mode, [str(WORKER), KIND.get(mode, mode), str(folder)])
        for mode in modes
    }
    finish([process for processes in started.values() for process in processes])
    return {
        mode: [json.loads(path.read_text()) for path in sorted(folder.glob(f"{mode}-*.json"))]
        for mode in modes
    }


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _main(backend):
    with tempfile.TemporaryDirectory() as folder:
        seen = train(backend, pathlib.Path(folder), "none", *MODES[backend])
    (alone,) = seen.pop("none")
    print("one device:", " ".join(f"{loss:.6f}" for loss in alone["sgd"]["losses"]))
    for mode, processes in seen.items():
        for optimizer in ("sgd", "lamb"):
            differences = [
                abs(several - one)
                for process in processes
                for several, one in zip(
                    process[optimizer]["losses"], alone[optimizer]["losses"], strict=True
                )
            ]
            print(f"{backend} {mode} {optimizer}: largest difference {max(differences):.1e}")


if __name__ == "__main__":
    _main(sys.argv[1])
