"""Runs the tests under each backend: `python -m tests [BACKEND …] [pytest arguments …]`."""

import os
import pathlib
import subprocess
import sys

BACKENDS = ("tensorflow", "jax", "torch")


def main():
    chosen = [word for word in sys.argv[1:] if word in BACKENDS] or BACKENDS
    arguments = [word for word in sys.argv[1:] if word not in BACKENDS]
    root = pathlib.Path(__file__).parents[1]
    failed = []
    for backend in chosen:
        print(f"\n=== KERAS_BACKEND={backend}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *arguments],
            cwd=root,
            env=os.environ | {"KERAS_BACKEND": backend},
        )
        if done.returncode:
            failed.append(backend)
    print(
        f"\nFailed under: {', '.join(failed)}" if failed else f"\nAll passed: {', '.join(chosen)}"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
