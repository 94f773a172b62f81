"""How large networks are, told before they are built."""

import numpy as np
import pytest

import keras_lc
from recipes.reproduce.weights import as_large_as, trained_numbers
from recipes.sweep.grid import Cell, Grid

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "cell",
    [
        Cell(operator="learned", depth=14, width=5),
        Cell(depth=8, width=6, expansion=2),
        Cell(depth=8, width=6, expansion=20, compact=True, kernel_size=5),
        Cell(depth=8, width=6, expansion=4, shared_basis=True),
    ],
    ids=lambda cell: cell.name,
)
def test_numbers_are_those_that_the_network_trains(cell):
    spatial = "learned"
    if cell.operator == "lc_frozen":
        spatial = keras_lc.spatial.LC(cell.expansion, compact=cell.compact)
    model = keras_lc.CIFARResNet(cell.depth, cell.width, spatial, cell.kernel_size)
    assert trained_numbers(cell) == sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize("width", [8, 16, 64])
def test_no_other_width_is_nearer(width):
    for expansion in (1, 2, 4, 8):
        (cell,) = Grid(widths=(width,), expansions=(expansion,), seeds=(0,)).cells()
        widths = as_large_as(Grid(widths=(width,), expansions=(expansion,), seeds=(0,)))
        narrow = widths[0]
        assert set(widths) == {narrow, width}
        distance = [
            abs(trained_numbers(Cell(operator="learned", width=other)) - trained_numbers(cell))
            for other in (narrow - 1, narrow, narrow + 1)
            if other > 0
        ]
        assert min(distance) == abs(
            trained_numbers(Cell(operator="learned", width=narrow)) - trained_numbers(cell)
        )
        assert min(distance) < 0.25 * trained_numbers(cell)


def test_networks_without_a_width_are_compared_with_their_own():
    grid = Grid(networks=("resnet18",), seeds=(0,))
    assert as_large_as(grid) == grid.widths
