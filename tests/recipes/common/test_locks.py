"""One writer at a time."""

import fcntl
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from recipes.common.locks import Locked, lock, unlock
from recipes.sweep.jobs import ROOT

pytestmark = pytest.mark.once


def test_a_lock_that_is_held_says_by_whom_and_since_when(tmp_path):
    held = lock(tmp_path / "l")
    this = rf"^process {os.getpid()} on {platform.node()}, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d$"
    with pytest.raises(Locked, match=this):
        lock(tmp_path / "l")
    held.close()
    lock(tmp_path / "l").close()


def test_a_lock_that_is_freed_meanwhile_is_waited_for(tmp_path):
    code = "import pathlib, sys, time; from recipes.common.locks import lock; "
    code += "held = lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(0.5)"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "l"], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with pytest.raises(Locked, match=f"process {process.pid} on"):
            lock(tmp_path / "l")
        lock(tmp_path / "l", patience=60.0).close()


def test_a_killed_process_holds_no_lock(tmp_path):
    code = "import pathlib, sys, time; from recipes.common.locks import lock; "
    code += "held = lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "l"], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    begin = time.monotonic()
    lock(tmp_path / "l", patience=10.0).close()
    assert time.monotonic() - begin < 5


def test_a_lock_whose_file_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    path, flock = tmp_path / "l", fcntl.flock

    def lock_when_removed(file, how):
        # By its last holder, since it was opened here.
        monkeypatch.undo()
        path.unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock_when_removed)
    held = lock(path)
    with pytest.raises(Locked):
        lock(path)
    unlock(held, path)
    assert not path.exists()
