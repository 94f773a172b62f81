"""Runs a module like `python -m`, and ends when the process that started it ends.

    python -m recipes.sweep.tethered recipes.train --dataset digits

The starting process holds the other end of this process' standard input. The system closes it when
the starting process ends, for any reason. So a killed sweep leaves no runs behind.
"""

import os
import runpy
import sys
import threading


def _end_with_parent():
    # Not through Python's buffer: this thread would hold its lock while the interpreter shuts down.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
