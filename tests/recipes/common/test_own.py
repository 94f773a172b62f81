"""Classes of one's own, as values of settings: `my_module:MyOperator,rate=2`."""

import dataclasses
import subprocess
import sys
from typing import Literal

import keras
import pytest

import keras_lc
from recipes.common import own
from recipes.common.command_line import ROOT
from recipes.common.operator import basis, operator
from recipes.common.settings import Settings, check, operator_of, parse
from recipes.imagenet.arguments import Arguments as ImageNetArguments
from recipes.reproduce.command import Arguments as PaperArguments
from recipes.reproduce.command import scaled
from recipes.sweep.command import check_own_classes
from recipes.sweep.grid import Cell, Grid
from recipes.sweep.imagenet_grid import ImageNetCell

pytestmark = pytest.mark.once

MODULE = __name__


@dataclasses.dataclass(frozen=True)
class Op(keras_lc.spatial.SpatialOperator):
    rate: int = 1
    scale: float = 0.5
    on: bool = False
    word: str = "a"
    mode: Literal["first", "second"] = "first"
    limit: int | None = 3
    label: str | None = "a"
    sizes: tuple[int, ...] = ()
    other: dict | None = None

    def __post_init__(self):
        if self.rate < 1:
            raise ValueError(f"`rate` must be at least 1.\nReceived: {self.rate}")


@dataclasses.dataclass(frozen=True)
class Filters(keras_lc.bases.Basis):
    taps: int = 1


def made(options=""):
    return operator(Settings(spatial=f"{MODULE}:Op{options}"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", Op()),
        (",rate=2", Op(rate=2)),
        (",rate=2,scale=1e-3", Op(rate=2, scale=1e-3)),
        (",on=true", Op(on=True)),
        (",on=False", Op(on=False)),
        (",word=a=b, c", Op(word="a=b, c")),
        (",mode=second", Op(mode="second")),
        (",limit=none", Op(limit=None)),
        (",limit=7", Op(limit=7)),
        (",label=none", Op(label=None)),
        (",label=7", Op(label="7")),
        (",sizes=1,2,on=true", Op(sizes=(1, 2), on=True)),
        (",sizes=", Op(sizes=())),
    ],
)
def test_options_have_the_types_of_the_fields(options, expected):
    assert made(options) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Op,rate=two", "--spatial: rate of Op must be int. Received: two"),
        ("Op,rate=0", "--spatial .*Op,rate=0: ValueError: `rate` must be at least 1. Received: 0$"),
        ("Op,on=1", "on of Op must be bool. Received: 1"),
        ("Op,mode=third", "mode of Op must be first or second. Received: third"),
        ("Op,limit=x", r"limit of Op must be int \| None. Received: x"),
        ("Op,other={}", "other of Op must be .*dict.*Received"),
        ("Op,rat=2", "Op has no option rat. Its options: rate, scale, on, word, mode, limit, "),
        ("Nothing", "Nothing of module .* must be a subclass of SpatialOperator"),
        ("Filters", "The module has: Op.$"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as error:
        operator(Settings(spatial=f"{MODULE}:{text}"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import not_there", "module broken_module needs not_there"),
        ("1 / 0", "module broken_module fails: ZeroDivisionError: division by zero"),
        ("def", "module broken_module fails: SyntaxError: "),
        (None, "there is no module broken_module. Call the command in the folder of its file"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if code is not None:
        (tmp_path / "broken_module.py").write_text(code)
    with pytest.raises(ValueError, match=message) as error:
        operator(Settings(spatial="broken_module:Op"))
    assert "\n" not in str(error.value)


def test_a_file_in_the_folder_hides_no_installed_module(tmp_path, monkeypatch):
    for folder in ("installed", "called"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "in_two_folders.py").write_text(f"FOLDER = {folder!r}")
    monkeypatch.delitem(sys.modules, "in_two_folders", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "installed")])
    monkeypatch.chdir(tmp_path / "called")
    own.import_modules({"spatial": "in_two_folders:Op"})
    assert sys.modules["in_two_folders"].FOLDER == "installed"


def test_only_settings_that_take_classes_are_read_as_such():
    own.import_modules({"spatial": "lc", "output": "runs:first", "dataset": "a:b"})


def test_a_basis_has_options_too():
    assert basis("sparse,taps=2") == keras_lc.bases.Sparse(taps=2)
    assert basis(f"{MODULE}:Filters,taps=5") == Filters(taps=5)
    settings = Settings(expansion=2, basis="sparse,taps=2")
    assert operator(settings) == keras_lc.spatial.LC(2, basis=keras_lc.bases.Sparse(taps=2))
    with pytest.raises(ValueError, match=r"--basis: Sparse has no option tap. Its options: taps."):
        basis("sparse,tap=2")
    with pytest.raises(ValueError, match="must be a subclass of Basis"):
        basis(f"{MODULE}:Op")


# --- in every command ---


@pytest.mark.parametrize("described", [Settings, ImageNetArguments])
def test_it_is_a_value_of_the_option(described):
    words = ["--spatial", "my_module:MyOperator,rate=2", "--basis", "my.module:MyBasis"]
    parsed = parse(described, "", words=words)
    assert (parsed.spatial, parsed.basis) == (words[1], words[3])
    check(parsed)


@pytest.mark.parametrize(
    "text", ["another", "module:", ":Class", "a b:Class", "module:Class,2", "lc,rank=2", "a:b.C"]
)
def test_other_values_are_refused_before_any_run(text):
    message = r"must be one of .*, or MODULE:CLASS of your own\. Received: "
    with pytest.raises(ValueError, match=f"--spatial {message}"):
        check(Settings(spatial=text))
    with pytest.raises(ValueError, match=f"--operators {message}"):
        Cell(operator=text)
    with pytest.raises(ValueError, match=f"--basis {message}"):
        check(Settings(basis=text))


def test_it_is_a_value_of_an_axis_with_its_options():
    operators = ("lc_frozen", "my_module:Op", "my_module:Op,rate=2")
    cells = Grid(
        operators=operators, expansions=(1, 8), bases=("uniform", "dct"), seeds=(0,)
    ).cells()
    assert [cell.name for cell in cells] == [
        "cifar10-resnet20_16x1-lc_frozen-e75-s0",
        "cifar10-resnet20_16x1-lc_frozen-dct-e75-s0",
        "cifar10-resnet20_16x8-lc_frozen-e75-s0",
        "cifar10-resnet20_16x8-lc_frozen-dct-e75-s0",
        "cifar10-resnet20_16-my_module.Op-e75-s0",
        "cifar10-resnet20_16-my_module.Op,rate=2-e75-s0",
    ]
    words = cells[-1].train_arguments()
    assert words[words.index("--spatial") + 1] == "my_module:Op,rate=2"


def test_a_name_of_a_folder_is_one_part_of_a_path():
    names = {own.in_folder_names(f"a:B,path={path}") for path in ("x/y", "x.y", "x%2Fy", "x:y")}
    assert len(names) == 4 and not any("/" in name or ":" in name for name in names)


def test_imagenet_takes_it_for_the_operator_of_a_preset():
    cell = ImageNetCell("r18d", spatial="my_module:Op", epochs=3)
    assert cell.name == "imagenet-r18d-as_my_module.Op-e3-s0"
    assert "my_module:Op" in cell.train_arguments()


def test_it_stands_beside_frozen_filters_in_tables_of_the_paper():
    asked = PaperArguments(names=("figure4",), operators=("lc_frozen", "my_module:Op"))
    assert scaled("figure4", asked)["LC"].operators == ("lc_frozen", "my_module:Op")
    asked = PaperArguments(names=("figure1",), operators=("frozen", "my_module:Op"))
    assert scaled("figure1", asked)["CIFAR-10"].operators == ("frozen", "my_module:Op")
    assert scaled("figure1", asked)["ImageNet"].spatials == ("frozen", "my_module:Op")


def test_it_has_none_of_the_settings_of_other_operators():
    assert operator_of("my_module:Op").has == frozenset()


def test_a_sweep_finds_out_before_any_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seen.py").write_text(
        "import keras_lc\nclass Op(keras_lc.spatial.SpatialOperator): 0\n"
    )
    good, bad = Cell(operator="seen:Op"), Cell(operator="seen:Op,rate=3")
    with pytest.raises(ValueError, match=r"^--operators: Op has no option rate\."):
        check_own_classes([Cell(), good, bad], keras.backend.backend())


def test_a_process_elsewhere_finds_a_file_of_the_folder_of_the_call(tmp_path, monkeypatch):
    (tmp_path / "called").mkdir()
    (tmp_path / "called" / "seen_from_afar.py").write_text("")
    monkeypatch.chdir(tmp_path / "called")
    assert own.environment([None, "lc", 3]) == {}
    environment = own.environment(["lc", "seen_from_afar:Op"])
    code = "from recipes.common import own; own.import_modules({'spatial': 'seen_from_afar:Op'})"
    subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)} | environment,
        cwd=tmp_path,
        check=True,
    )
