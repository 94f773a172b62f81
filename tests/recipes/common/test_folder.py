"""The folder of a run: whose it is, and what must not be written over."""

import concurrent.futures
import dataclasses
import datetime
import os
import pathlib
import shlex
import sys
import threading

import pytest

from recipes.common import folder as folders
from recipes.common.files import write_checked
from recipes.common.folder import claimed_folder, resume_command

pytestmark = pytest.mark.once


@dataclasses.dataclass
class Arguments:
    output: pathlib.Path | None = None
    resume: bool = False
    depth: int = 8
    seed: int = 0


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(folders, "_JUST_KILLED", 0.0)


@pytest.fixture
def below(tmp_path, monkeypatch):
    """A folder within a folder, in which `runs/` are made."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    return tmp_path


@pytest.fixture
def same_second(monkeypatch):
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 1)

    monkeypatch.setattr(folders.datetime, "datetime", Clock)


def claim(**arguments):
    return claimed_folder(Arguments(**arguments), "digits-lc")


def begun(output, depth=8):
    """A folder as of a run that was stopped."""
    output.mkdir()
    write_checked(output / "config.json", {"run": "1", "arguments": {"depth": depth, "seed": 0}})
    (output / "checkpoint-0001.keras").write_bytes(b"one")
    return output


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- one writer ---


@pytest.mark.parametrize("resume", [False, True])
def test_the_second_writer_is_refused_and_told_of_the_first(resume, tmp_path):
    output = tmp_path / "run"
    with claim(output=output):
        before = contents(output)
        with (
            pytest.raises(
                SystemExit, match=f"Another run is writing to {output}: process {os.getpid()}"
            ),
            claim(output=output, resume=resume),
        ):
            pass
        assert contents(output) == before
    with claim(output=output):
        pass


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(below, same_second):
    ready, done = threading.Barrier(8), threading.Barrier(8)

    def begin(_):
        ready.wait()
        with claim() as output:
            done.wait()
            return output

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        made = sorted(map(str, threads.map(begin, range(8))))
    first = "runs/20260101-000000-digits-lc"
    assert made == sorted([first, *(f"{first}-{number}" for number in range(2, 9))])


def test_a_folder_of_its_own_is_left_only_if_something_is_in_it(below):
    with claim() as output:
        pass
    assert not output.exists()
    with claim() as output:
        (output / "config.json").write_text("{}")
    assert [path.name for path in output.iterdir()] == ["config.json"]


def test_a_folder_that_was_there_stays(tmp_path):
    (tmp_path / "run").mkdir()
    with claim(output=tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_dir()


def test_what_killed_processes_left_half_written_is_removed_and_nothing_else(tmp_path):
    output = begun(tmp_path / "run")
    before = contents(output)
    for name in (".checkpoint-0002.keras.tmp.keras", ".config.json.7.tmp", ".curves.png.tmp"):
        (output / name).write_bytes(b"half")
    with claim(output=output, resume=True):
        pass
    assert contents(output) == before


# --- names ---


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "a/../../../b", "..", "a\0b", "[red]$\\x$"])
def test_a_new_folder_is_below_runs_whatever_the_data_set_is_called(name, below):
    with claimed_folder(Arguments(), name) as output:
        assert output.resolve().parent == below / "a" / "b" / "runs"
        assert output.is_dir()


def test_a_name_as_long_as_it_may_be_is_a_folder(below):
    with claimed_folder(Arguments(), "x" * 5000) as output:
        assert output.is_dir()


def test_the_command_to_go_on_is_one_that_can_be_copied(monkeypatch):
    words = ["--dataset", "cost$\\x$", "--output", "my runs/it's [red]"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    command = resume_command("recipes.train", pathlib.Path(words[-1]))
    assert shlex.split(command) == ["python", "-m", "recipes.train", *words, "--resume"]


def test_the_command_to_go_on_names_a_folder_that_was_not_asked_for(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "1"])
    command = resume_command("recipes.train", pathlib.Path("runs/a b"))
    assert command == "python -m recipes.train --seed 1 --output 'runs/a b' --resume"


# --- what is not believed ---


def gone(config):
    config.unlink()


def cut_off(config):
    config.write_bytes(config.read_bytes()[:40])


def empty(config):
    config.write_bytes(b"")


def zeros(config):
    config.write_bytes(bytes(100))


def of_something_else(config):
    config.write_text("[1]")


def edited(config):
    config.write_text(config.read_text().replace('"depth": 8', '"depth": 14'))


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            gone,
            r"holds checkpoint-0001\.keras, but not the config\.json of its run\. Put",
        ),
        (cut_off, r"config\.json is damaged .* Restore the file"),
        (empty, r"config\.json is damaged .* Restore the file"),
        (zeros, r"config\.json is damaged .* Restore the file"),
        (of_something_else, r"config\.json is damaged \(it holds no dict\)"),
        (edited, r"config\.json was changed after it was written"),
    ],
)
def test_a_run_whose_settings_are_lost_is_neither_resumed_nor_written_over(
    damage, message, resume, tmp_path
):
    output = begun(tmp_path / "run")
    damage(output / "config.json")
    before = contents(output)
    with pytest.raises(SystemExit, match=message), claim(output=output, resume=resume):
        pass
    assert contents(output) == before


@pytest.mark.parametrize("name", ["model.keras", "best.keras"])
def test_a_model_that_no_run_wrote_is_not_written_over(name, tmp_path):
    (tmp_path / name).write_bytes(b"mine")
    with (
        pytest.raises(SystemExit, match=f"holds {name}, but not the config.json of its run"),
        claim(output=tmp_path),
    ):
        pass
    assert contents(tmp_path) == {name: b"mine"}


def test_other_settings_are_refused_also_where_the_run_is_finished(tmp_path):
    output = begun(tmp_path / "run")
    for name in ("checkpoint-0001.keras", "model.keras"):
        (output / name).write_bytes(b"one")
        with (
            pytest.raises(SystemExit, match="other arguments:\n  --depth: 8 then, 14 now"),
            claim(output=output, resume=True, depth=14),
        ):
            pass


def test_without_resume_a_run_is_not_written_over(tmp_path):
    output = begun(tmp_path / "run")
    with pytest.raises(SystemExit, match="already holds a run"), claim(output=output):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SystemExit, match=r"--output cannot be written to: .*file"),
        claim(output=tmp_path / "file" / "run"),
    ):
        pass
