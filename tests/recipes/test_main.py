"""The command `keras-lc`, and the recipes under the name by which they are installed."""

import ast
import importlib.util
import os
import pathlib
import shlex
import site
import subprocess
import sys
import tomllib

import pytest

from recipes.__main__ import COMMANDS
from recipes.common import command_line
from recipes.common.command_line import described, how_to_install, program, this_command
from recipes.sweep import jobs

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[2]
CHECKOUT = ROOT / "recipes" / "checkout"


def installed(*words, code=""):
    """Runs `keras-lc` as it is installed, outside the checkout."""
    code = f"import sys; sys.argv[0] = 'keras-lc'; {code}"
    main = "from keras_lc_recipes.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", f"{code}\n{main}", *words],
        cwd=ROOT.parent, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(CHECKOUT)])},
    )  # fmt: skip


def test_the_console_command_is_what_the_package_declares(monkeypatch):
    monkeypatch.syspath_prepend(CHECKOUT)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["keras-lc"].partition(":")
    assert importlib.util.find_spec(module) is not None and function == "main"
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["sources"] == {"recipes": module.partition(".")[0]}
    assert all((ROOT / folder).is_dir() for folder in wheel["only-include"])
    assert str(CHECKOUT.relative_to(ROOT)) in wheel["dev-mode-dirs"]


def test_recipes_import_each_other_by_place_and_never_by_name():
    for path in (ROOT / "recipes").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            assert not [name for name in names if name.partition(".")[0] == "recipes"], path


def test_each_command_has_a_folder_and_a_line():
    folders = {path.parent.name for path in (ROOT / "recipes").glob("*/__main__.py")}
    assert set(COMMANDS) == folders
    lines = installed("--help").stdout.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(COMMANDS)


def test_an_unknown_command_is_answered_in_one_line():
    done = installed("trian")
    assert done.returncode == 1
    assert done.stderr == f"The command must be one of {', '.join(COMMANDS)}. Received: trian\n"


def test_a_command_has_its_own_arguments_and_name():
    done = installed("train", "--epochs", "0")
    assert (done.returncode, done.stderr) == (1, "--epochs must be at least 1. Received: 0\n")
    shown = installed("train", "--help").stdout
    assert shown.startswith("usage: keras-lc train ") and "python -m" not in shown
    assert "    keras-lc train --dataset digits" in shown


def test_a_package_that_is_missing_is_named_with_what_to_install():
    done = installed("train", code="sys.modules['tyro'] = None")
    assert done.returncode == 1
    assert done.stderr == f"keras-lc train needs tyro. Run: {how_to_install('recipes')}\n"


def test_commands_are_named_as_they_are_called(monkeypatch):
    assert program("recipes.train") == ["python", "-m", "recipes.train"]
    assert program("keras_lc_recipes.train") == ["keras-lc", "train"]
    monkeypatch.setattr(command_line, "PACKAGE", "keras_lc_recipes")
    assert (
        described("Call\n    python -m recipes.sweep --epochs 1")
        == "Call\n    keras-lc sweep --epochs 1"
    )
    words = ["/venv/bin/python", "/venv/bin/keras-lc", "sweep", "--output", "my runs"]
    monkeypatch.setattr(sys, "orig_argv", words)
    assert shlex.split(this_command()) == ["keras-lc", "sweep", "--output", "my runs"]


def test_what_is_installed_does_not_come_before_pythons_own_modules(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert jobs.python_path() == os.pathsep.join([str(ROOT), "/mine"])
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(ROOT)])
    assert jobs.python_path() == "/mine"
