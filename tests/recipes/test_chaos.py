"""Whenever a run is killed, it resumes to what it would have been."""

import json
import os
import subprocess
import sys

from tests.recipes.chaos import ROOT

# Each costs the start of a process. `python -m tests.recipes.chaos FOLDER --kills 20` takes more.
KILLS = 3


def test_a_run_killed_at_random_moments_ends_bit_for_bit_as_if_it_was_not(tmp_path):
    seed = int.from_bytes(os.urandom(4), "little")
    options = [f"--kills={KILLS}", f"--seed={seed}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.recipes.chaos", tmp_path, *options],
        cwd=ROOT, text=True, capture_output=True,
        env=os.environ | {"KERAS_LC_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stdout}{done.stderr}"
    result = json.loads(done.stdout.splitlines()[-1])
    assert len(result["kills"]) == KILLS
    assert result["differ"] and not any(result["differ"].values()), f"seed {seed}: {result}"
