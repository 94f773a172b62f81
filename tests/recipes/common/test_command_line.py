"""How commands end."""

import errno
import os
import shlex
import sys

import pytest

from recipes.common.command_line import run_command

pytestmark = pytest.mark.once


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Free space"),
        (errno.EDQUOT, "Free space"),
        (errno.EFBIG, "Free space"),
        (errno.EROFS, "Make it writable"),
        (errno.EACCES, "Give access to it"),
    ],
)
def test_a_file_that_cannot_be_written_is_answered_with_the_way_out(number, remedy, monkeypatch):
    words = ["-m", "recipes.sweep", "--output", "my runs"]
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", *words])
    with pytest.raises(SystemExit) as ended:
        run_command(raising(OSError(number, os.strerror(number), "my runs/results.csv")))
    said, _, command = ended.value.code.partition(f". {remedy}, then call again: ")
    assert said == f"[Errno {number}] {os.strerror(number)}: 'my runs/results.csv'"
    assert shlex.split(command) == ["python", *words]


def test_other_errors_are_not_hidden():
    with pytest.raises(ConnectionRefusedError):
        run_command(raising(ConnectionRefusedError(errno.ECONNREFUSED, "refused")))


def test_ctrl_c_ends_a_command_without_a_traceback(capsys):
    with pytest.raises(SystemExit) as ended:
        run_command(raising(KeyboardInterrupt()))
    assert ended.value.code == 130 and capsys.readouterr().out == "\nStopped.\n"
