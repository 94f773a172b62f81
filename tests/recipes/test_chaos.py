"""However a run is disturbed, it resumes to what it would have been, or says why not."""

import json
import os
import subprocess
import sys

import pytest

from recipes.sweep.jobs import ROOT

# Each costs a training. `python -m tests.recipes.chaos FOLDER` takes more.
FAULTS, DAMAGES = 3, 2


@pytest.mark.once
def test_a_disturbed_run_ends_bit_for_bit_as_if_it_was_not_or_with_one_line(tmp_path):
    seed = int.from_bytes(os.urandom(4), "little")
    options = [f"--faults={FAULTS}", f"--damages={DAMAGES}", f"--seed={seed}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.recipes.chaos", tmp_path, *options],
        cwd=ROOT, text=True, capture_output=True,
        env=os.environ | {"KERAS_LC_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    result = json.loads(done.stdout.splitlines()[-1])
    assert not result["wrong"], f"seed {seed}: {result}"
    assert sum(result["faults"].values()) >= FAULTS
    assert sum(result["damages"].values()) == DAMAGES
