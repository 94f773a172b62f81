"""`python -m recipes.reproduce`: from runs to the paper's tables and figures."""

import dataclasses
import pathlib
import re
import statistics

import pytest
from PIL import Image

import keras_lc
from recipes.files import read_json, write_json
from recipes.paper import numbers as paper
from recipes.paper.experiments import EXPERIMENTS, cells_of, differences, scale
from recipes.paper.render import break_even
from recipes.reproduce import Arguments, render, scaled
from recipes.sweeping.grid import Cell, Evaluation, Grid
from recipes.sweeping.imagenet_grid import ImageNetGrid
from tests.recipes.fake_runs import write_run

pytestmark = pytest.mark.once

TEXT = pathlib.Path(__file__).parents[3] / "shared/paper/power_of_linear_combinations_v2.txt"


def arguments(*names, **kwargs):
    return Arguments(names=names, **{"seeds": 2, "expansions": (1, 8), **kwargs})


def write_runs(folder, grids, accuracy=lambda cell: 0.5, **kwargs):
    for cells in cells_of(grids).values():
        for cell in cells:
            write_run(folder, cell, accuracy(cell), **kwargs)


# --- what is run ---


@pytest.mark.skipif(not TEXT.exists(), reason="the paper's text is not in ../shared")
def test_the_papers_numbers_are_in_its_text():
    lines = [line.replace(" ", "") for line in TEXT.read_text().splitlines()]
    for (dataset, _), (mean, error) in paper.TABLE_1.items():
        (row,) = (
            line for line in lines if re.match(rf"{dataset}\[\d+\]\d", line) and "plus" in line
        )
        assert f"{mean:.2f}±plus-or-minus\\pm{error:.2f}" in row
    for (model, _), (mean, _) in paper.TABLE_2.items():
        name = "Baseline" if model == "ResNet-18d" else model
        assert any(line.startswith(name) and f"{mean:.2f}" in line for line in lines)
    for (between, _), (mean, error) in paper.TABLE_3.items():
        name = between.replace(" ", "").replace("none", "None")
        (row,) = (line for line in lines if re.match(rf"{re.escape(name)}\d", line))
        assert f"{mean:.2f}±{error:.2f}" in row


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_paper_ran_75_epochs_and_4_seeds_or_a2_once(name):
    for grid in EXPERIMENTS[name].grids.values():
        imagenet = isinstance(grid, ImageNetGrid)
        assert grid.epochs == ((300,) if imagenet else (75,))
        assert len(grid.seeds) == (1 if imagenet else 4)
        assert len({cell.name for cell in grid.cells()}) == len(grid.cells())


def test_every_number_of_the_tables_has_its_runs():
    kinds = {(c.dataset, c.operator) for c in EXPERIMENTS["table1"].grids["LC"].cells()}
    assert {(paper.DATASETS[d], paper.OPERATORS[o]) for d, o in kinds} == set(paper.TABLE_1)
    kinds = {(c.between, c.operator) for c in EXPERIMENTS["table3"].grids["LC"].cells()}
    assert {(paper.BETWEEN[b], paper.OPERATORS[o]) for b, o in kinds} == set(paper.TABLE_3)
    assert 2 * len(EXPERIMENTS["table2"].grids["ImageNet"].cells()) == len(paper.TABLE_2)


def test_figures_share_their_runs():
    names = [
        {cell.name for cells in cells_of(EXPERIMENTS[name].grids).values() for cell in cells}
        for name in ("figure4", "figure5", "table1")
    ]
    assert names[0] == names[1]
    assert len(names[0] & names[2]) == 3 * 4


def test_settings_are_scaled_where_the_paper_varies_them():
    grid = Grid(depths=(20, 56), widths=(16,))
    small = scale(grid, depths=(8, 14), widths=(4, 8), epochs=(1,), expansions=None)
    assert (small.depths, small.widths, small.epochs) == ((8, 14), (4,), (1,))
    assert small.expansions == grid.expansions


def test_differences_from_the_paper_are_named():
    grid = EXPERIMENTS["figure4"].grids["LC"]
    changed = dataclasses.replace(
        grid, epochs=(5,), seeds=(0, 1), subsets=(1000,), expansions=(1, 8), compact=(True,)
    )
    assert differences(grid, changed) == [
        "expansions: 1, 8 instead of 1, 2, 4, 8, 16, 32, 64, 128, 256",
        "seeds: 2 instead of 4",
        "epochs: 5 instead of 75",
        "subsets: 1000 instead of all",
    ]
    assert differences(grid, grid) == []


def test_arguments_choose_parts_and_operators():
    assert list(scaled("figure1", arguments("figure1"))) == ["CIFAR-10", "ImageNet"]
    assert list(scaled("figure1", arguments("figure1", datasets=("cifar10",)))) == ["CIFAR-10"]
    assert list(scaled("figure1", arguments("figure1", datasets=("imagenet",)))) == ["ImageNet"]
    control = arguments("figure4", operators=("lc_frozen", "gram_limit"))
    assert {part: grid.operators for part, grid in scaled("figure4", control).items()} == {
        "LC": ("lc_frozen", "gram_limit")
    }
    with pytest.raises(SystemExit, match="table2 has nothing of what"):
        scaled("table2", arguments("table2", datasets=("cifar10",)))
    with pytest.raises(SystemExit, match="--seeds must be at least 1"):
        scaled("table1", arguments("table1", seeds=0))


# --- what is shown ---


def test_table_1_has_ours_beside_the_papers(tmp_path):
    asked = arguments("table1", expansions=(), datasets=("cifar10", "svhn_cropped"), epochs=10)
    grids = scaled("table1", asked)
    level = {"learned": 0.7, "lc_learnable": 0.6, "lc_frozen": 0.8}
    write_runs(tmp_path, grids, lambda cell: level[cell.operator] + cell.seed / 100)
    text = render("table1", grids, tmp_path)
    deviation = statistics.stdev([70, 71])
    assert (
        f"| CIFAR-10 | 70.50 ± {deviation:.2f} (2) | 91.60 ± 0.23 | 60.50 ± 0.71 (2) | "
        "91.39 ± 0.29 | 80.50 ± 0.71 (2) | 91.89 ± 0.10 |"
    ) in text
    assert "| SVHN | " in text and "CIFAR-100 |" not in text
    for difference in (
        "- datasets: cifar10, svhn_cropped instead of cifar10, cifar100, fashion_mnist, svhn",
        "- seeds: 2 instead of 4",
        "- epochs: 10 instead of 75",
    ):
        assert difference in text
    assert "Data: image folder, JPEG." in text and "Attacked test images: 100." in text
    assert "expansion" not in text.partition("Not as in the paper")[2]
    assert (tmp_path / "table1.md").read_text() == text + "\n"
    with Image.open(tmp_path / "table1.png") as picture:
        assert min(picture.size) > 400


def test_runs_behind_a_table_are_written_as_json(tmp_path):
    grids = scaled("table1", arguments("table1", expansions=(), datasets=("cifar10",), epochs=10))
    write_runs(tmp_path, grids, lambda cell: 0.7 + cell.seed / 100)
    render("table1", grids, tmp_path)
    written = read_json(tmp_path / "table1.json")
    assert "epochs: 10 instead of 75" in written["not_as_in_the_paper"]
    assert "pytest" in written["command"]
    assert written["training_hours"] == pytest.approx(6 * 90 / 3600)
    assert {run["run"]: run["test_accuracy"] for run in written["runs"]} == {
        cell.name: 0.7 + cell.seed / 100 for cell in cells_of(grids)["LC"]
    }


def test_unfinished_runs_are_counted(tmp_path):
    grids = scaled("table3", arguments("table3", expansions=()))
    cells = cells_of(grids)["LC"]
    write_run(tmp_path, cells[0], 0.5)
    text = render("table3", grids, tmp_path)
    assert "1 of 16 runs are finished." in text
    assert "| none | 50.00 (1) | 91.71 ± 0.08 | - | 91.18 ± 0.10 |" in text
    assert "ReLU" not in text


def test_runs_with_other_settings_in_the_folder_are_not_taken(tmp_path):
    grids = scaled("table3", arguments("table3", expansions=()))
    write_runs(tmp_path, grids, lambda cell: 0.5)
    longer = scaled("table3", arguments("table3", expansions=(), epochs=99))
    write_runs(tmp_path, longer, lambda cell: 0.9)
    assert "90.00" not in render("table3", grids, tmp_path)
    assert "50.00" not in render("table3", longer, tmp_path)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("data", {"data": "fedcba987654"}),
        ("attack_images", {"evaluation": Evaluation(attack_images=50)}),
        ("epsilon", {"evaluation": Evaluation(attack_images=100, epsilon=2.0)}),
    ],
)
def test_runs_that_differ_in_what_is_not_shown_are_refused(name, other, tmp_path):
    grids = scaled("table3", arguments("table3", expansions=()))
    write_runs(tmp_path, grids)
    odd = cells_of(grids)["LC"][-1]
    write_run(tmp_path, odd, 0.5, **other)
    with pytest.raises(SystemExit, match=f"differ in `{name}`") as refused:
        render("table3", grids, tmp_path)
    assert odd.name in str(refused.value)


def test_what_all_parts_differ_in_is_told_once(tmp_path):
    grids = scaled("figure6", arguments("figure6", expansions=(), epochs=3, widths=(4, 8)))
    write_runs(tmp_path, grids)
    text = render("figure6", grids, tmp_path)
    assert text.count("\n- epochs: 3 instead of 75\n") == text.count("3 instead of 75") == 1
    assert "- width: widths: 4, 8 instead of 16, 32, 64, 128, 256" in text
    assert "- depth: widths: 4 instead of 16" in text


def test_other_backends_are_told(tmp_path):
    grids = scaled("table3", arguments("table3", expansions=()))
    write_runs(tmp_path, grids)
    config = tmp_path / cells_of(grids)["LC"][0].name / "config.json"
    write_json(config, read_json(config) | {"backend": "torch"})
    assert "Backend: torch (1 runs); jax (15 runs)." in render("table3", grids, tmp_path)


def test_no_run_at_all(tmp_path):
    with pytest.raises(SystemExit, match="figure4: no run is finished yet"):
        render("figure4", scaled("figure4", arguments("figure4")), tmp_path)


def test_figure_4_says_from_where_on_one_is_better(tmp_path):
    grids = scaled("figure4", arguments("figure4", expansions=(1, 8, 64, 128)))

    def accuracy(cell):
        frozen = {1: 0.4, 8: 0.62, 64: 0.65, 128: 0.7}
        level = {"learned": 0.66, "lc_learnable": 0.61}
        return level.get(cell.operator) or frozen[cell.expansion]

    write_runs(tmp_path, grids, accuracy)
    text = render("figure4", grids, tmp_path)
    assert "| LC frozen above LC learnable | from E = 8 on | from 8 on |" in text
    assert "| LC frozen above learned | E = 128 | from 128 on |" in text
    assert "| LC learnable above learned | nowhere | nowhere (up to 128) |" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| 64 | - | - | 65.00"))
    assert "91.71 ± 0.08" in row and "91.18 ± 0.10" in row
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "figure4a.png", "figure4b.png", "figure4c.png",
    ]  # fmt: skip


def test_break_even_is_where_the_lead_stays():
    rows = [
        {"kind": kind, "expansion": expansion, "seed": 0, "y": value}
        for expansion, a, b in ((1, 3, 2), (2, 2, 2), (4, 3, 2), (8, 5, 2))
        for kind, value in (("a", a), ("b", b))
    ]
    assert break_even(rows, "expansion", "y", "a", "b") == "from 4 on"
    assert break_even(rows, "expansion", "y", "b", "a") == "nowhere (up to 8)"
    assert break_even(rows[-2:], "expansion", "y", "a", "b") == "everywhere (from 8 on)"
    assert break_even(rows, "expansion", "y", "a", "c") == "not run"


PICTURES = {
    "figure1": "ab", "figure5": "ab", "figure6": "ab", "figure8": "ab", "figure11": "ab",
    "figure12": "ab", "table2": [""],
}  # fmt: skip


def write_imagenet_run(folder, cell):
    frozen = "learnable" not in cell.preset
    spatial = cell.spatial or {"r18d": "learned", "r18d-frozen": "frozen"}.get(cell.preset, "lc")
    expansion = int((re.search(r"x(\d+)$", cell.preset) or [0, 1])[1])
    settings = dataclasses.asdict(cell) | {"spatial": spatial, "frozen": frozen}
    settings |= {"expansion": expansion, "network": "resnet"}
    results = {"test_accuracy": 0.5 + expansion / 1000, "test_top5": 0.75}
    write_json(
        folder / cell.name / "config.json",
        {"arguments": settings, "results": {**results, "seconds": 1.0}},
    )
    (folder / cell.name / "model.keras").touch()


@pytest.mark.parametrize("name", PICTURES)
def test_every_figure_is_drawn(name, tmp_path):
    small = {"kernel_sizes": (3, 5), "widths": (4, 8), "depths": (8, 14)}
    grids = scaled(name, arguments(name, **small))
    for cells in cells_of(grids).values():
        for cell in cells:
            if isinstance(cell, Cell):
                write_run(tmp_path, cell, 0.5 + cell.seed / 50)
            else:
                write_imagenet_run(tmp_path, cell)
    text = render(name, grids, tmp_path)
    pictures = [f"{name}{suffix}.png" for suffix in PICTURES[name]]
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == pictures
    for picture in pictures:
        assert f"]({picture})" in text
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 300


def test_table_2_has_top_1_and_top_5(tmp_path):
    grids = scaled("table2", arguments("table2", seeds=1))
    for cell in cells_of(grids)["ImageNet"]:
        write_imagenet_run(tmp_path, cell)
    text = render("table2", grids, tmp_path)
    assert "| LCx8 | 50.80 (1) | 71.30 | 75.00 (1) | 90.03 | 50.80 (1) | 71.88 |" in text
    assert "| LCx128 | 62.80 (1) | 72.31 | 75.00 (1) | 90.64 | - | - | - | - |" in text


@pytest.mark.parametrize(("name", "suffixes"), [("figure7", [""]), ("figure10", ["a", "b"])])
def test_filters_are_drawn_from_the_models(name, suffixes, tmp_path):
    sizes = (3, 5) if name == "figure10" else (9,)
    grids = scaled(
        name, arguments(name, depths=(8,), widths=(4,), kernel_sizes=sizes, expansions=(1, 2))
    )
    for cells in cells_of(grids).values():
        for cell in cells:
            spatial = keras_lc.spatial.LC(cell.expansion or 1, frozen=cell.operator == "lc_frozen")
            model = keras_lc.CIFARResNet(
                8, 4, "learned" if cell.operator == "learned" else spatial, cell.kernel_size, seed=0
            )
            write_run(tmp_path, cell, 0.5, model=model if cell.seed == 0 else None)
    # A picture of another time, which is not drawn now; and one of another figure.
    (tmp_path / f"{name}z.png").touch()
    (tmp_path / f"{name}9.png").touch()
    render(name, grids, tmp_path)
    drawn = {f"{name}{suffix}.png" for suffix in suffixes} | {f"{name}9.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == drawn
