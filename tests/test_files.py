"""Files are whole, or not there."""

import json

import pytest

from keras_lc.files import rename, whole_file, write_json

pytestmark = pytest.mark.once


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_the_temporary_name_is_hidden_and_has_the_ending_that_was_asked_for(tmp_path):
    with whole_file(tmp_path / "model.keras", ending=".keras") as temporary:
        temporary.write_text("")
        assert temporary.name.startswith(".") and temporary.suffix == ".keras"


def test_the_content_is_on_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("os.fsync", lambda number: calls.append("fsync"))
    monkeypatch.setattr("os.replace", lambda source, target: calls.append("replace"))
    (tmp_path / "a").write_text("new")
    rename(tmp_path / "a", tmp_path / "b")
    assert calls == ["fsync", "replace"]


def test_json_is_written_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"epochs": [1, 2]})
    with pytest.raises(TypeError):
        write_json(path, {"epochs": object()})
    assert json.loads(path.read_text()) == {"epochs": [1, 2]}
