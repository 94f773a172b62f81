"""The comparison of frozen bases."""

import re

import pytest

import keras_lc
from keras_lc.analysis import gram_spread
from recipes.common.settings import BASES
from recipes.reproduce.command import Arguments, render, scaled
from recipes.reproduce.experiments import cells_of
from tests.recipes.fake_runs import write_run

pytestmark = pytest.mark.once

SMALL = dict(names=("bases",), seeds=1, depths=(8,), widths=(4,), expansions=(1, 8))


def model_of(cell):
    spatial = keras_lc.spatial.LC(cell.expansion, compact=True, basis=cell.basis)
    return keras_lc.CIFARResNet(cell.depth, cell.width, spatial, seed=cell.seed)


def accuracy_of(cell):
    return {"learned": 0.5, "gram_limit": 0.6}.get(cell.operator, 0.7)


@pytest.fixture(scope="module")
def text_and_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    grids = scaled("bases", Arguments(**SMALL))
    for cells in cells_of(grids).values():
        for cell in cells:
            model = model_of(cell) if cell.operator == "lc_frozen" else None
            write_run(folder, cell, accuracy_of(cell), model=model)
    return render("bases", grids, folder), folder


def table(text, corner):
    """Returns the table that begins with a corner, as a dict of lines and columns."""
    lines = text[text.index(f"| {corner} |") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


def test_without_options_it_is_10_epochs_on_a_fifth_of_the_images_with_2_seeds():
    grids = scaled("bases", Arguments(names=("bases",)))
    cells = [cell for found in cells_of(grids).values() for cell in found]
    assert {cell.epochs for cell in cells} == {10}
    assert {cell.subset for cell in cells} == {10_000}
    assert {cell.seed for cell in cells} == {0, 1}
    combined = [cell for cell in cells if cell.operator == "lc_frozen"]
    assert {cell.basis for cell in combined} == set(BASES)
    assert all(cell.compact for cell in combined)
    assert {cell.expansion for cell in combined} == {
        cell.expansion for cell in cells if cell.operator == "gram_limit"
    }


def test_options_choose_bases_and_expansions():
    grids = scaled("bases", Arguments(**SMALL, bases=("uniform", "gabor")))
    cells = cells_of(grids)["LC"]
    assert {(cell.basis, cell.expansion) for cell in cells} == {
        (basis, expansion) for basis in ("uniform", "gabor") for expansion in (1, 8)
    }


def test_each_basis_has_a_column_beside_the_control_and_the_learned_network(text_and_folder):
    found = table(text_and_folder[0], "accuracy (%), E")
    assert set(found["8"]) - {"accuracy (%), E"} == {
        *(f"{basis} basis" for basis in BASES), "control", "learned",
    }  # fmt: skip
    assert found["8"]["gabor basis"] == "70.00 (1)"
    assert found["-"]["learned"] == "50.00 (1)"


def test_the_lead_is_over_the_control_at_the_same_expansion(text_and_folder):
    found = table(text_and_folder[0], "E")
    assert found["1"]["sparse basis"] == "+10.00 (1)"
    assert set(found["1"]) == {"E", *(f"{basis} basis" for basis in BASES)}


def test_the_predicted_spread_is_that_of_the_layers(text_and_folder):
    text, _ = text_and_folder
    found = table(text, "spread, E")
    model = keras_lc.CIFARResNet(8, 4, keras_lc.spatial.LC(8, basis="normal"), seed=0)
    spreads = [gram_spread(la.basis) for la in model.layers if hasattr(la, "combination")]
    expected = sum(spreads) / len(spreads)
    assert found["8"]["normal basis"] == f"{expected:.3f} (1)"
    # As many orthogonal filters as weights, or more, treat all directions alike.
    assert float(re.match(r"[\d.]+", found["8"]["orthogonal basis"])[0]) < 0.4 * expected


def test_pictures_show_both_accuracies_and_the_filters(text_and_folder):
    text, folder = text_and_folder
    names = sorted(path.name for path in folder.glob("bases*.png"))
    assert names == ["basesa.png", "basesb.png", "basesc.png"]
    assert all(f"({name})" in text for name in names)
