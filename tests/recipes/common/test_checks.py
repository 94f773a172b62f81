"""What must hold before a run starts."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

import keras_lc.data  # noqa: F401
from recipes.common import checks
from recipes.common.settings import Settings as Arguments
from recipes.common.settings import check
from recipes.sweep.command import check_machine
from recipes.sweep.grid import Cell, Machine

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
        ({"depth": 9}, "--depth must be 6n"),
        ({"depth": 2}, "--depth must be 6n"),
        ({"kernel_size": 4}, "--kernel-size: a kernel size must be odd. Received: 4"),
        ({"width_multiplier": 0.0}, "--width-multiplier must be above 0. Received: 0.0"),
        ({"seed": 2**63}, "--seed must be at least 0 and below"),
        ({"compact": True, "frozen": False}, "--compact needs --frozen and --between none"),
        ({"shared_basis": True, "between": "bn"}, "--shared-basis needs --frozen and --between no"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    check(Arguments())
    with pytest.raises(ValueError, match=message):
        check(Arguments(**settings))


def test_backends_that_train_nothing_are_refused(monkeypatch):
    checks.check_backend("tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", "tensorlow")
    with pytest.raises(ValueError, match=r"KERAS_BACKEND must be one of tensorflow, .*: tensorlow"):
        checks.check_backend(None)
    checks.check_backend("tensorflow")


def test_a_backend_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--backend jax needs jax, not installed here"):
        checks.check_backend("jax")
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    with pytest.raises(ValueError, match="KERAS_BACKEND torch needs torch"):
        checks.check_backend(None)


def test_data_that_cannot_be_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    checks.check_data("digits", None)
    checks.check_data("cifar10", None, download=True)
    with pytest.raises(ValueError, match=r"--dataset must be one of .* Received: cifr10"):
        checks.check_data("cifr10", None)
    with pytest.raises(ValueError, match=r"There is no imagenet2012 in .* --data-dir"):
        checks.check_data("imagenet", None)
    with pytest.raises(ValueError, match=r"nowhere does not exist \(mine\)"):
        checks.check_data("mine", tmp_path / "nowhere")
    (tmp_path / "cifar10").mkdir()
    checks.check_data("cifar10", None)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    checks.check_writable(tmp_path / "a" / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    for folder in ("file", "file/below"):
        with pytest.raises(ValueError, match=rf"--output: .*{folder} cannot be written to"):
            checks.check_writable(tmp_path / folder)


# Not imported by name, which is that of the function.
EXPORT = sys.modules["keras_lc.surgery.export"]


@pytest.mark.parametrize("format", EXPORT._FORMATS)
def test_packages_of_an_export_are_those_of_the_library(format, monkeypatch):
    spec = EXPORT._FORMATS[format]
    assert set(checks._EXPORT_PACKAGES[format]) == {*spec.writers, spec.runtime}
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"--export-format {format} needs .*{spec.runtime}"):
        checks.check_export(format)


def test_names_of_data_sets_are_those_of_the_library():
    assert set(checks.DATASETS) == set(sys.modules["keras_lc.data.load"]._NAMES)


def test_a_sweep_is_checked_before_its_first_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    (tmp_path / "file").touch()
    digits, cifar = Cell(dataset="digits"), Cell(dataset="cifar10")
    check_machine([digits], Machine(), tmp_path / "sweep")
    for cells, machine, output, message in [
        ([digits, cifar], Machine(), tmp_path, "There is no cifar10 in"),
        ([digits, Cell(dataset="mine")], Machine(), tmp_path, "--dataset must be one of"),
        ([digits], Machine(), tmp_path / "file", "--output: .*file cannot be written to"),
        ([digits], Machine(gpus=-1), tmp_path, "--gpus must be at least 0"),
    ]:
        with pytest.raises(SystemExit, match=message):
            check_machine(cells, machine, output)


@pytest.mark.parametrize(
    "words",
    [
        ["recipes.train", "--epochs", "0"],
        ["recipes.train", "--data-dir", "/nowhere"],
        ["recipes.imagenet", "--epochs", "5"],
        ["recipes.sweep", "--output", "out", "--datasets", "digits", "--depths", "8", "9"],
        ["recipes.reproduce", "table1", "--output", "out", "--subset", "0"],
        ["recipes.reproduce", "table2", "--output", "out", "--steps", "0"],
        ["recipes.report", "nowhere"],
    ],
    ids=" ".join,
)
def test_commands_answer_a_mistake_in_one_line(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tmp_path, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(tmp_path.iterdir())
