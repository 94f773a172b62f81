"""Runs the tests under each backend: `python -m tests [BACKEND …] [pytest arguments …]`.

Several backends run side by side: each often waits for a process that a test started. One alone has
the terminal to itself, for `--pdb`. Tests marked `once` run under one of the chosen backends.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

BACKENDS = ("tensorflow", "jax", "torch")
# The first of these that is chosen runs the tests marked `once`: PyTorch has nothing to compile.
FASTEST = ("torch", "tensorflow", "jax")


def main():
    chosen = [word for word in sys.argv[1:] if word in BACKENDS] or BACKENDS
    arguments = [word for word in sys.argv[1:] if word not in BACKENDS]
    run = run_alone if len(chosen) == 1 else run_beside_others
    fastest = min(chosen, key=FASTEST.index)
    each = [[*arguments, *["--without-once"] * (backend != fastest)] for backend in chosen]
    with concurrent.futures.ThreadPoolExecutor(len(chosen)) as pool:
        codes = list(pool.map(run, chosen, each))
    failed = [backend for backend, code in zip(chosen, codes, strict=True) if code]
    print(
        f"\nFailed under: {', '.join(failed)}" if failed else f"\nAll passed: {', '.join(chosen)}"
    )
    sys.exit(bool(failed))


def run_alone(backend, arguments):
    return subprocess.run(**pytest(backend, arguments)).returncode


def run_beside_others(backend, arguments):
    command = pytest(backend, arguments)
    # OpenMP's threads wait by spinning: where others compute too, two take ten times as long.
    command["env"]["OMP_NUM_THREADS"] = "1"
    process = subprocess.Popen(
        **command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for line in process.stdout:
        print(f"{backend:>10} | {line}", end="", flush=True)
    return process.wait()


def pytest(backend, arguments):
    return {
        "args": [sys.executable, "-m", "pytest", "-q", *arguments],
        "cwd": pathlib.Path(__file__).parents[1],
        "env": os.environ | {"KERAS_BACKEND": backend},
    }


if __name__ == "__main__":
    main()
