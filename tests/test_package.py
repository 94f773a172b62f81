"""What holds for the package as a whole: imports, docstring examples, README."""

import ast
import doctest
import graphlib
import importlib
import inspect
import itertools
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_lc

ROOT = pathlib.Path(__file__).parents[1]
# Run by path in a child process, never imported.
SCRIPTS = {"keras_lc.surgery.export_worker"}
MODULES = sorted(
    {name for _, name, _ in pkgutil.walk_packages(keras_lc.__path__, "keras_lc.")} - SCRIPTS
)


def test_import_adds_no_other_backend_and_no_optional_package():
    code = (
        "import sys, keras; before = set(sys.modules); "
        "import keras_lc; print(*set(sys.modules) - before)"
    )
    added = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    packages = {name.partition(".")[0] for name in added}
    assert "keras_lc" in packages
    unwanted = {"tensorflow", "torch", "jax", "tensorflow_datasets", "matplotlib", "PIL"}
    unwanted |= {"sklearn", "scipy", "tyro", "rich", "pandas"}
    unwanted |= {"onnx", "tf2onnx", "onnxruntime", "ai_edge_litert"}
    assert not packages & unwanted


# What each folder imports, beside the modules at the root that are one rule each.
ARROWS = {
    "bases": set(),
    "layers": {"bases"},
    "spatial": {"bases", "layers"},
    "training": set(),
    "data": set(),
    "distribution": set(),
    "models": {"bases", "layers", "spatial", "training"},
    "surgery": {"bases", "data", "layers"},
    "classification": {"data", "layers", "surgery"},
    "analysis": {"classification", "layers", "surgery"},
}
RULES = {
    "class_names",
    "files",
    "images",
    "keras_internals",
    "listed",
    "naming",
    "paths",
    "seeds",
    "types",
}


def names_imported(path):
    """Yields all that a file imports, with dots: `keras_lc.seeds.derive_seed`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def parts_imported(part):
    files = [*(ROOT / "keras_lc" / part).rglob("*.py"), *(ROOT / "keras_lc").glob(f"{part}.py")]
    names = [name.split(".") for file in files for name in names_imported(file)]
    assert all(name[0] for name in names), f"{part} has a relative import"
    return {name[1] for name in names if name[0] == "keras_lc"} - {part}


@pytest.mark.once
def test_every_folder_has_its_arrows():
    entries = (ROOT / "keras_lc").iterdir()
    parts = {entry.stem for entry in entries if entry.is_dir() or entry.suffix == ".py"}
    assert parts - {"__init__", "__pycache__"} == {*ARROWS, *RULES}


@pytest.mark.once
@pytest.mark.parametrize("folder", ARROWS)
def test_folders_know_only_those_below(folder):
    assert parts_imported(folder) - RULES == ARROWS[folder]


@pytest.mark.once
@pytest.mark.parametrize("rule", sorted(RULES))
def test_rules_at_the_root_know_nothing(rule):
    assert parts_imported(rule) - {"keras_internals"} == set()


@pytest.mark.once
def test_no_two_folders_know_each_other():
    graphlib.TopologicalSorter(ARROWS).prepare()


@pytest.mark.once
@pytest.mark.parametrize("folder", ["recipes", "benchmarks"])
def test_programs_import_public_names_only(folder):
    public = {module.__name__: vars(module) for module in PUBLIC_MODULES}
    for path in (ROOT / folder).rglob("*.py"):
        for name in names_imported(path):
            module, _, last = name.rpartition(".")
            if name.partition(".")[0] == "keras_lc" and name not in public:
                assert last in public.get(module, ()), f"{path} imports {name}"


class AnyBackendsShapes(doctest.OutputChecker):
    """Takes PyTorch's and TensorFlow's way of printing a shape for that of a tuple."""

    def check_output(self, want, got, optionflags):
        got = re.sub(r"(?:torch\.Size|TensorShape)\(\[([^\]]*)\]\)", r"(\1)", got)
        return super().check_output(want, got, optionflags)


# The example of `export` starts processes: `test_export` does so under every backend.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.once] * (name == "keras_lc.surgery.export"))
        for name in MODULES
    ],
)
def test_docstring_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    names = {"keras_lc": keras_lc, "keras": keras, "np": np, **vars(module)}
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner(
        checker=AnyBackendsShapes(), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    for test in finder.find(module, globs=names):
        if "data_dir=" in test.docstring and "archives" in test.docstring:
            continue  # needs an archive that is not ours to ship
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def public_objects():
    for module in PUBLIC_MODULES:
        for name, value in vars(module).items():
            if (
                not name.startswith("_")
                and inspect.getmodule(value) is not value
                and (getattr(value, "__module__", "") or "").startswith("keras_lc")
            ):
                yield name, value


PUBLIC_MODULES = (
    keras_lc,
    keras_lc.analysis,
    keras_lc.bases,
    keras_lc.data,
    keras_lc.distribution,
    keras_lc.layers,
    keras_lc.models,
    keras_lc.seeds,
    keras_lc.spatial,
    keras_lc.surgery,
    keras_lc.training,
)


@pytest.mark.once
@pytest.mark.parametrize(("name", "value"), sorted(set(public_objects()), key=lambda x: x[0]))
def test_public_names_have_a_docstring(name, value):
    # Its own: `inspect.getdoc` would take that of the class that it inherits from.
    assert value.__doc__ and len(value.__doc__.split()) > 5


def python_blocks(page="README.md"):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.once
@pytest.mark.parametrize("page", ["README.md", "recipes/README.md"])
def test_code_of_the_pages_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(page)
    assert blocks
    names = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


@pytest.mark.once
@pytest.mark.parametrize("page", ["README.md", "recipes/README.md", "benchmarks/README.md"])
def test_pages_name_files_and_sections_that_exist(page):
    for path, section in re.findall(
        r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", (ROOT / page).read_text()
    ):
        named = (ROOT / page).parent / path if path else ROOT / page
        assert named.exists(), path
        if section:
            titles = re.findall(r"^#+ (.*)$", named.read_text(), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.once
def test_ci_runs_the_readmes_test_command():
    command = "python -m tests"
    assert command in (ROOT / "README.md").read_text()
    assert command in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.R_OK)


def options_without_help(path):
    for described in ast.walk(ast.parse(path.read_text())):
        options = ("Arguments", "Machine", "Evaluation")
        if not isinstance(described, ast.ClassDef) or described.name not in options:
            continue
        for field, after in itertools.pairwise([*described.body, ast.Pass()]):
            if not isinstance(field, ast.AnnAssign):
                continue
            has_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            value = ast.unparse(field.value) if field.value else ""
            # A setting has its own test, and a group shows the options of its class.
            if not has_text and not value.startswith(("setting(", "like(", "dataclasses.field(")):
                yield f"{path.name}: {field.target.id}"


@pytest.mark.once
def test_every_option_of_a_command_has_a_help_text():
    paths = [*(ROOT / "recipes").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert [option for path in paths for option in options_without_help(path)] == []
