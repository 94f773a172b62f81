"""The one description of a run, and what follows from it."""

import csv
import dataclasses
import pathlib
import re

import pytest

import keras_lc
from recipes.common.operator import operator
from recipes.common.settings import (
    BASES,
    OPERATORS,
    Settings,
    at_least,
    check,
    columns,
    help_of,
    not_applicable,
    operator_name,
    parse,
    setting,
    settings_of,
)
from recipes.imagenet.arguments import Arguments as ImageNetArguments
from recipes.reproduce.experiments import differences
from recipes.sweep.grid import Axis, Combinations, axes_of, cell_fields, grid_fields, words_of

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[3]


@pytest.mark.parametrize("described", [Settings, ImageNetArguments])
def test_every_setting_says_what_it_is(described):
    assert [name for name, known in settings_of(described).items() if not known.help] == []


@pytest.mark.parametrize("described", [Settings, ImageNetArguments])
def test_help_has_every_setting_under_the_title_of_its_group(described, capsys):
    with pytest.raises(SystemExit):
        parse(described, "", words=["--help"])
    title, found = None, {}
    for line in capsys.readouterr().out.splitlines():
        if begin := re.fullmatch(r"\W*(\w+) options\W*", line):
            title = begin[1]
        elif option := re.match(r"[│| ]*--([a-z][a-z-]*)", line):
            found[option[1].replace("-", "_")] = title
    assert found == {name: known.group for name, known in settings_of(described).items()}


def test_a_command_line_is_the_settings_that_it_gives():
    words = ["--depth", "8", "--no-frozen", "--resume", "--output", "a b", "--subset", "9"]
    assert parse(Settings, "", words=words) == Settings(
        depth=8, frozen=False, resume=True, output=pathlib.Path("a b"), subset=9
    )
    other = Settings(epochs=3)
    assert parse(Settings, "", other, ["--depth", "8"]) == Settings(epochs=3, depth=8)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("depth", "… (cifar_resnet)"),
        ("width_multiplier", "layers (not cifar_resnet)."),
        ("expansion", "channel (lc, gram_limit)."),
        ("compact", "convolutions (lc, --frozen, --between none)."),
        ("epochs", "at the end."),
    ],
)
def test_help_says_what_a_setting_is_of(name, end):
    assert help_of(Settings, name).endswith(end)


def test_columns_are_those_of_tables_that_were_written():
    path = ROOT / "benchmarks" / "results" / "cifar10-jpeg-10-epochs" / "results.csv"
    with open(path, newline="") as file:
        header = next(csv.reader(file))
    assert tuple(header[1 : 1 + len(columns())]) == columns()


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        ({}, {"width_multiplier"}),
        ({"network": "resnet18"}, {"depth", "width", "kernel_size"}),
        ({"spatial": "gram_limit"}, {"width_multiplier", "frozen", "compact", "between",
                                     "shared_basis", "basis"}),
        ({"spatial": "learned"}, {"width_multiplier", "frozen", "compact", "between",
                                  "shared_basis", "expansion", "basis"}),
        ({"spatial": "my_module:Op"}, {"width_multiplier", "frozen", "compact", "between",
                                       "shared_basis", "expansion", "basis"}),
        ({"network": "mobilenet_v3_large"}, {"depth", "width", "kernel_size"}),
        ({"network": "resnet"}, {"width", "kernel_size"}),
    ],
)  # fmt: skip
def test_what_a_network_or_an_operator_does_not_have_is_known(arguments, absent):
    assert (
        not_applicable({"network": "cifar_resnet", "spatial": "lc", "frozen": True} | arguments)
        == absent
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_the_librarys(name):
    known = OPERATORS[name]
    frozen = known.frozen is not False
    assert operator_name(known.spatial, frozen) == name
    built = operator(Settings(spatial=known.spatial, frozen=frozen))
    assert type(built) is type(keras_lc.spatial.get(known.spatial))
    takes = {field.name for field in dataclasses.fields(built)}
    assert ("expansion" in takes) == ("expansion" in known.has)
    assert ("between" in takes) == ("combination" in known.has)
    assert ("basis" in takes) == ("basis" in known.has)


def test_bases_are_the_librarys():
    for name in BASES:
        keras_lc.bases.get(name)
    with pytest.raises(ValueError, match=re.escape(str(BASES))):
        keras_lc.bases.get("another")


# --- a new setting is one field ---


@dataclasses.dataclass(frozen=True)
class More(Settings):
    slope: int = setting(
        2, "Of the activation.", of="combination", axis="slopes", word="a{}", must=at_least(1)
    )


AXES = axes_of(More)


@dataclasses.dataclass(frozen=True)
class MoreCell(cell_fields(AXES)):
    pass


@dataclasses.dataclass(frozen=True)
class MoreGrid(grid_fields(AXES), Combinations):
    axes = AXES
    cell = MoreCell


def test_a_new_setting_is_an_option_that_is_checked():
    assert parse(More, "", words=["--slope", "3"]).slope == 3
    assert help_of(More, "slope") == "Of the activation (lc)."
    with pytest.raises(ValueError, match=r"^--slope must be at least 1\. Received: 0$"):
        check(More(slope=0))


def test_a_new_setting_is_an_axis_in_names_and_among_the_differences():
    assert isinstance(AXES["slopes"], Axis) and AXES["slopes"].values == (2,)
    cells = MoreGrid(slopes=(2, 3), seeds=(0,)).cells()
    assert [(cell.slope, words_of(cell, AXES)) for cell in cells] == [(2, []), (3, ["a3"])]
    assert differences(MoreGrid(), MoreGrid(slopes=(3,))) == ["slopes: 3 instead of 2"]
