"""The seconds of a run, which must never keep it from going on."""

import json

import pytest

from recipes.common.callbacks import TrainingTime

pytestmark = pytest.mark.once


def test_seconds_go_on_where_they_were(tmp_path):
    (tmp_path / "seconds.json").write_text("[1.5, 2.5, 9.0]")
    # The third epoch has no checkpoint, and is trained again.
    time = TrainingTime(tmp_path, first_epoch=2)
    assert time.epochs == [1.5, 2.5] and time.total == 4.0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1.5",
        b"{}",
        b"[1.5]",
        b'[1.5, "a"]',
        b"[1.5, null]",
        b"[[]]",
        bytes(9),
        b"\xff",
    ],
)
def test_damaged_seconds_are_unknown_and_block_nothing(content, tmp_path):
    (tmp_path / "seconds.json").write_bytes(content)
    time = TrainingTime(tmp_path, first_epoch=2)
    assert time.epochs == [None, None] and time.total is None
    time.on_epoch_begin(2)
    time.on_epoch_end(2)
    assert json.loads((tmp_path / "seconds.json").read_text())[:2] == [None, None]
    assert TrainingTime(tmp_path, first_epoch=3).total is None


def test_missing_seconds_are_unknown(tmp_path):
    assert TrainingTime(tmp_path, first_epoch=1).total is None
    assert TrainingTime(tmp_path, first_epoch=0).total == 0
