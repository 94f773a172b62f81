"""A command of a job that needs no Keras: `python -m tests.recipes.fake_step RESULT SECONDS`.

Appends a line to `RESULT.runs`, waits, and writes RESULT; with `fail` for the seconds it fails.
With `deaf` after the seconds it takes no notice of Ctrl-C.
"""

import pathlib
import signal
import sys
import time

result = pathlib.Path(sys.argv[1])
result.parent.mkdir(parents=True, exist_ok=True)
if "deaf" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
with open(f"{result}.runs", "a") as file:
    file.write(f"{time.monotonic()} {' '.join(sys.argv[2:])}\n")
if sys.argv[2] == "fail":
    print("It is no use.")
    sys.exit(3)
time.sleep(float(sys.argv[2]))
result.write_text(str(time.monotonic()))
