"""What a type checker says of calls, README's among them."""

import ast
import pathlib
import shutil
import subprocess
import sys

import pytest

import keras_lc
from tests.test_package import ROOT, python_blocks

CALLS = ROOT / "tests" / "typing_calls.py"
# A call on each line, with the argument that is wrong.
WRONG = {
    "keras_lc.ResNetLC(augmentaton=None)": "augmentaton",
    "keras_lc.ResNet(low_res=True)": "low_res",
    "keras_lc.MobileNetV2(width=0.5)": "width",
    "keras_lc.CIFARResNet(depth='20')": "depth",
    "keras_lc.CIFARResNet(spatial=8)": "spatial",
    "keras_lc.LCConv2D(16, 3, expansion='8')": "expansion",
    "keras_lc.LCConv1D('16', 3)": "filters",
    "keras_lc.LCConv3D(16, 3, kernel_initializer='ones')": "kernel_initializer",
    "keras_lc.LCDepthwiseConv2D(3, frozen=2)": "frozen",
}


@pytest.mark.once
def test_calls_are_clean_for_a_type_checker_and_wrong_ones_are_found(tmp_path):
    if not shutil.which("pyright") or subprocess.run(["pyright", "--version"]).returncode:
        pytest.skip("pyright is not installed, or cannot fetch what it needs")
    readme, wrong = tmp_path / "readme.py", tmp_path / "wrong.py"
    # Keras has no annotations: pyright takes a default's type for the parameter's.
    readme.write_text(
        "\n".join(
            f"{line}  # type: ignore" if "keras.applications." in line else line
            for block in python_blocks()
            for line in block.splitlines()
        )
    )
    wrong.write_text("\n".join(["import keras_lc", *WRONG]))
    done = subprocess.run(
        ["pyright", "--pythonpath", sys.executable, CALLS, readme, wrong],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    errors = [line.strip() for line in done.stdout.splitlines() if " - error: " in line]
    right = [line for line in errors if not line.startswith(str(wrong))]
    assert not right, "\n".join(right)
    for number, (call, argument) in enumerate(WRONG.items(), start=2):
        found = [line for line in errors if line.startswith(f"{wrong}:{number}:")]
        assert len(found) == 1 and f'"{argument}"' in found[0], (call, found)


def signatures():
    for path in pathlib.Path(keras_lc.__path__[0]).rglob("*.py"):
        if path.name == "export_worker.py":  # a script
            continue
        for node in ast.parse(path.read_text()).body:
            functions = [node] if isinstance(node, ast.FunctionDef) else []
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                functions = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
            for function in functions:
                if not function.name.startswith("_") or function.name == "__init__":
                    yield f"{path.name}: {function.name}", function


@pytest.mark.once
def test_all_public_functions_are_annotated():
    missing = []
    for name, function in signatures():
        a = function.args
        arguments = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
        missing += [
            f"{name}({argument.arg})"
            for argument in arguments
            if argument.annotation is None and argument.arg not in ("self", "cls")
        ]
        if function.returns is None and function.name != "__init__":
            missing.append(f"{name} ->")
    assert not missing
