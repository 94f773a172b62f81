"""What must hold before a run starts."""

import errno
import importlib
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
from recipes.sweep.imagenet_grid import ImageNetCell
from tests.recipes.fake_runs import write_run

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
    with pytest.raises(ValueError, match="--backend jax needs jax, which is not installed"):
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
    with pytest.raises(ValueError, match=r"imagenet2012 was not found in .* --data-dir"):
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
        checks.check_export(Arguments(export=True, export_format=format))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"export_quantization": "int8", "export_format": "onnx"},
            "--export-quantization int8 needs --export-format litert. Received: .*onnx",
        ),
        (
            {"export_quantization": "int8", "export_format": "litert", "export_resize": True},
            "--export-resize is not possible with --export-quantization int8",
        ),
        (
            {"export_opset": 15, "export_format": "litert"},
            "--export-opset 15 needs --export-format onnx. Received: .*litert",
        ),
    ],
    ids=["format", "int8 and resize", "opset"],
)
def test_options_of_an_export_that_exclude_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        checks.check_export(Arguments(export=True, **options))
    checks.check_export(Arguments(export=False, **options))


def test_names_of_data_sets_are_those_of_the_library():
    assert set(checks.DATASETS) == set(sys.modules["keras_lc.data.load"]._NAMES)


def test_a_sweep_is_checked_before_its_first_run(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    (tmp_path / "file").touch()
    digits, cifar = Cell(dataset="digits"), Cell(dataset="cifar10")
    check_machine([digits], Machine(), tmp_path / "sweep")
    for cells, machine, output, message in [
        ([digits, cifar], Machine(), tmp_path, "cifar10 was not found in"),
        ([digits, Cell(dataset="mine")], Machine(), tmp_path, "--dataset must be one of"),
        ([digits], Machine(), tmp_path / "file", "--output: .*file cannot be written to"),
        ([digits], Machine(gpus=-1), tmp_path, "--gpus must be at least 0"),
        ([digits, ImageNetCell("r18d")], Machine(), tmp_path, "imagenet2012 was not found in"),
    ]:
        with pytest.raises(SystemExit, match=message):
            check_machine(cells, machine, output)


# --- commands ---


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to be in, from where nothing is trained, attacked or drawn."""
    for module in ("train.run", "imagenet.run", "evaluate.run", "report.pages"):
        monkeypatch.setitem(sys.modules, f"recipes.{module}", None)
    for module in ("sweep", "reproduce"):
        monkeypatch.setattr(importlib.import_module(f"recipes.{module}.command"), "sweep", None)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no data"))
    (tmp_path / "here" / "pictures").mkdir(parents=True)
    write_run(tmp_path / "here", Cell(), 0.5).rename(tmp_path / "here" / "run")
    (tmp_path / "here" / "file").touch()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def said_by(words, monkeypatch):
    """The line with which a command ends that was called in this process."""
    name, *words = words.split()
    monkeypatch.setattr(sys, "argv", [name, *words])
    module = importlib.import_module(f"{name}.command")
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert isinstance(ended.value.code, str) and "\n" not in ended.value.code
    return ended.value.code


MISTAKES = {
    "recipes.train --epochs 0": "--epochs must be at least 1",
    "recipes.train --depth 9": "--depth must be 6n + 2",
    "recipes.train --expansion 0": "--expansion must be at least 1",
    "recipes.train --width 0": "--width must be at least 1",
    "recipes.train --seed -1": "--seed must be at least 0",
    "recipes.train --subset 0": "--subset must be at least 1",
    "recipes.train --batch-size 0": "--batch-size must be at least 1",
    "recipes.train --dataset cifr10": "--dataset must be one of",
    "recipes.train --dataset cifar10": "cifar10 was not found in",
    "recipes.train --data-dir nowhere": "--data-dir: nowhere does not exist",
    "recipes.train --output file/below": "--output: file/below cannot be written to",
    "recipes.imagenet --data-dir pictures --epochs 0": "--epochs must be at least 1",
    "recipes.imagenet --data-dir pictures --epochs 5": "--warmup-epochs must be at least 0 and bel",
    "recipes.imagenet --data-dir pictures --expansion 0": "--expansion must be at least 1",
    "recipes.imagenet --data-dir pictures --seed -1": "--seed must be at least 0",
    "recipes.imagenet": "imagenet2012 was not found in",
    "recipes.imagenet --data-dir nowhere": "--data-dir: nowhere does not exist",
    "recipes.imagenet --data-dir pictures --output file": "--output: file cannot be written to",
    "recipes.imagenet --data-dir pictures --preview file/a.png": "--preview: file cannot be writ",
    "recipes.imagenet --preset r19": "--preset must be one of",
    "recipes.sweep --output out --datasets digits --depths 8 9": "--depth must be 6n + 2",
    "recipes.sweep --output out --datasets digits --seeds 0 -1": "--seed must be at least 0",
    "recipes.sweep --output out --datasets digits --attack-images 0": "--attack-images must be at",
    "recipes.sweep --output out --datasets digits svhn_cropped": "svhn_cropped was not found in",
    "recipes.sweep --output file/below --datasets digits": "--output: file/below cannot be written",
    "recipes.reproduce table1 --output out --subset 0": "--subset must be at least 1",
    "recipes.reproduce table1 --output out --epochs 0": "--epochs must be at least 1",
    "recipes.reproduce table1 --output out --pgd-steps -1": "--pgd-steps must be at least 0",
    "recipes.reproduce table1 --output out": "cifar10 was not found in",
    "recipes.reproduce table2 --output out --steps 0": "--steps must be at least 1",
    "recipes.reproduce table1 --output file --data-dirs cifar10 pictures": "--output: file cannot",
    "recipes.evaluate run --attack-images 0": "--attack-images must be at least 1. Received: 0",
    "recipes.evaluate run --epsilon 300": "--epsilon must be from 0 to 255. Received: 300.0",
    "recipes.evaluate run --data-dir nowhere": "--data-dir: nowhere does not exist",
    "recipes.evaluate nowhere": "These are not finished runs: nowhere",
    "recipes.report nowhere": "nowhere is not the folder of a run or a sweep",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_answered_in_one_line_before_anything_is_done(words, here, monkeypatch):
    before = sorted(here.rglob("*"))
    assert said_by(words, monkeypatch).startswith(MISTAKES[words])
    assert sorted(here.rglob("*")) == before


COMMANDS = (
    "recipes.train",
    "recipes.imagenet --data-dir pictures",
    "recipes.sweep --output out --datasets digits",
    "recipes.reproduce table1 --output out --data-dirs cifar10 pictures",
    "recipes.evaluate run --again",
    "recipes.report run",
)


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_refuses_a_wrong_backend(words, here, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorlow")
    assert said_by(words, monkeypatch).startswith("KERAS_BACKEND must be one of tensorflow, ")


MISSING = {
    ("recipes.train --backend jax", "jax"): "--backend jax",
    ("recipes.train", "matplotlib"): "curves.png",
    ("recipes.train --export --export-format onnx", "tf2onnx"): "--export-format onnx",
    ("recipes.imagenet --data-dir pictures --backend torch", "torch"): "--backend torch",
    ("recipes.imagenet --data-dir pictures", "matplotlib"): "curves.png",
    ("recipes.imagenet --data-dir pictures", "keras_cv"): "--augmentation a2",
    ("recipes.imagenet --data-dir pictures --export --export-format litert", "ai_edge_litert"): (
        "--export-format litert"
    ),
    ("recipes.sweep --output out --datasets digits", "matplotlib"): "curves.png",
    ("recipes.reproduce table2 --output out --data-dirs imagenet pictures", "keras_cv"): (
        "recipes.imagenet"
    ),
    ("recipes.reproduce figure4 --render-only --output out", "matplotlib"): "A figure",
    ("recipes.evaluate run --again --backend jax", "jax"): "--backend jax",
    ("recipes.report run", "jinja2"): "A report",
}


@pytest.mark.parametrize("case", MISSING, ids=" without ".join)
def test_a_missing_package_is_named_before_anything_is_done(case, here, monkeypatch):
    words, package = case
    find = importlib.util.find_spec

    def find_others(name, *more):
        return None if name == package else find(name, *more)

    monkeypatch.setattr(checks.importlib.util, "find_spec", find_others)
    expected = f"{MISSING[case]} needs {package}, which is not installed."
    assert said_by(words, monkeypatch) == expected


def test_a_run_that_cannot_be_written_to_is_named_before_it_is_evaluated(here, monkeypatch):
    def read_only(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    monkeypatch.setattr(checks.tempfile, "TemporaryFile", read_only)
    said = said_by("recipes.evaluate run --again", monkeypatch)
    assert said.startswith("runs: run cannot be written to ([Errno 30] Read-only file system")


@pytest.mark.parametrize(
    "words",
    [
        ["recipes.train", "--epochs", "0"],
        ["recipes.imagenet", "--epochs", "5"],
        ["recipes.sweep", "--output", "out", "--datasets", "digits", "--depths", "8", "9"],
    ],
    ids=" ".join,
)
def test_the_line_is_all_that_is_printed(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=tmp_path, text=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(tmp_path.iterdir())
