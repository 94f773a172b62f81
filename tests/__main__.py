"""Runs the tests under each backend: `python -m tests [BACKEND …] [pytest arguments …]`.

Several backends run side by side: each often waits for a process that a test started. One alone has
the terminal to itself, for `--pdb`. Tests marked `once` run under one of the chosen backends.

The slowest tests, and what only they show:

- `recipes/test_chaos`: a run that is killed, or whose files are damaged, at random moments and
  places ends bit for bit as one that is not, or says why not.
- `distribution/test_distribution`, its processes: two devices train as one, by the engine of each
  backend.
- `benchmarks/test_benchmarks::test_frameworks_…`: raw PyTorch, JAX and TensorFlow are timed beside
  this library in one process.
- `models/test_parity`: from one seed, all backends have the same 50 losses; and a network trains as
  the one that is written with torch.nn.
- `models/test_residual::test_trains_…`: each operator trains, folds and is saved in each kind of
  block.
- `surgery/test_export::TestEachFormat`: each format's own runtime gives the model's outputs.
- `test_package::test_code_of_the_pages_runs`: what a reader copies from the README works.
- `recipes/train/test_command::test_ctrl_c_…`: the command, stopped and resumed, ends as if it was
  not stopped.
- `layers/test_compact`, its steps in float64: the compact form learns what the full form learns.
- `models/test_transformer::test_networks_fit_…`: networks with attention train and are saved.
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
