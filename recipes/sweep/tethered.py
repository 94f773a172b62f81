"""Runs a module as `python -m` does, and ends when whoever started it does.

    python -m recipes.sweep.tethered recipes.train --dataset digits

Whoever started it holds the other end of its standard input, which the system closes with the
process, however that ends: a killed sweep leaves no run behind that nobody waits for.
"""

import os
import runpy
import sys
import threading


def _end_with_parent():
    # Past Python's buffer, whose lock would be held while the interpreter shuts down.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
