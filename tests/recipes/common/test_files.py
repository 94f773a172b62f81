"""Small files that are never half written."""

import errno
import os
import time
import zipfile

import pytest

from recipes.common.files import (
    DamagedFile,
    check_whole,
    read_checked,
    read_json,
    remove_half_written,
    write_checked,
    write_text,
)

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_where_the_disk_is_full_the_file_stays_as_it_was(name, tmp_path, monkeypatch):
    write_text(tmp_path / "a", "before")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, full)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a", "after")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "before"}


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", bytes(9), b"[]", b"1"])
def test_json_that_is_not_as_it_was_written_is_named(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.json is damaged \("):
        read_json(tmp_path / "a.json")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DamagedFile, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")


def test_what_was_edited_is_told_from_what_was_written(tmp_path):
    path = tmp_path / "a.json"
    write_checked(path, {"seed": 1, "list": (1, 2), "text": "ä"})
    assert read_checked(path) == {"seed": 1, "list": [1, 2], "text": "ä"}
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(DamagedFile, match="was changed after it was written"):
        read_checked(path)


def test_each_bit_of_what_is_in_a_model_is_checked(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights", b"weights")
    check_whole(path)
    place = path.read_bytes().index(b"weights", 37)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"m\.keras is damaged"):
        check_whole(path)


def test_only_what_nobody_writes_to_any_more_is_removed(tmp_path):
    for name, age in ((".a.1.tmp", 7200), (".b.2.tmp", 60), ("c.tmp", 7200), (".d", 7200)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_half_written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.2.tmp", ".d", "c.tmp"]
