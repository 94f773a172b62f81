"""`python -m recipes.reproduce`: from runs to the paper's tables and figures."""

import dataclasses
import pathlib
import re
import statistics
import zipfile

import pytest
from PIL import Image

import keras_lc
from recipes.common.files import read_json, write_checked
from recipes.common.results import collect
from recipes.evaluate.settings import Evaluation
from recipes.imagenet.arguments import defaults
from recipes.reproduce import numbers as paper
from recipes.reproduce.command import Arguments, render, scaled
from recipes.reproduce.experiments import EXPERIMENTS, cells_of, differences, scale, title_of
from recipes.reproduce.render import break_even, departures, draw_series
from recipes.reproduce.weights import as_large_as, trained_numbers
from recipes.sweep.grid import Cell, Grid
from recipes.sweep.imagenet_grid import ImageNetGrid
from tests.recipes.fake_runs import change, write_model, write_run

pytestmark = pytest.mark.once

FACTS = pathlib.Path(__file__).parents[4] / "shared/facts.md"
TEXT = pathlib.Path(__file__).parents[4] / "shared/paper/power_of_linear_combinations_v2.txt"


def arguments(*names, **kwargs):
    return Arguments(names=names, **{"seeds": 2, "expansions": (1, 8), **kwargs})


def write_runs(folder, grids, accuracy=lambda cell: 0.5, **kwargs):
    for cells in cells_of(grids).values():
        for cell in cells:
            write_run(folder, cell, accuracy(cell), **kwargs)


# --- what is run ---


@pytest.fixture(scope="module")
def text():
    """The paper's, without spaces, a line a string."""
    if not TEXT.exists():
        pytest.skip("the paper's text is not in ../shared")
    return [line.replace(" ", "") for line in TEXT.read_text().splitlines()]


def test_table_1_is_the_papers_line_by_line(text):
    for dataset in paper.DATASETS.values():
        numbers = [
            paper.TABLE_1[dataset, kind]
            for kind in (paper.LEARNED, paper.LC_LEARNABLE, paper.LC_FROZEN)
        ]
        line = "".join(rf"{mean:.2f}±plus-or-minus\pm{error:.2f}" for mean, error in numbers)
        assert sum(re.sub(r"\[\d+\]", "", one) == dataset + line for one in text) == 1


def test_table_2_is_the_papers_line_by_line(text):
    columns = [f"{kind}, {top}" for kind in ("frozen", "learnable") for top in ("top-1", "top-5")]
    for network in dict.fromkeys(paper.TABLE_2_NETWORKS.values()):
        numbers = [paper.TABLE_2[network, column] for column in columns[:2]]
        # "n/a" in the paper.
        numbers += [paper.TABLE_2[network, c] for c in columns[2:] if (network, c) in paper.TABLE_2]
        line = "".join(f"{mean:.2f}" for mean, _ in numbers) + "n/a" * (len(numbers) == 2)
        assert network.replace("ResNet-18d", "Baseline") + line in text


def test_table_3_is_the_papers_line_by_line(text):
    for between in paper.BETWEEN.values():
        line = between.replace("none", "None").replace(" ", "")
        for kind in (paper.LC_FROZEN, paper.LC_LEARNABLE):
            mean, error = (f"{number:.2f}" for number in paper.TABLE_3[between, kind])
            line += rf"{mean}±{error}plus-or-minus{mean}{error}{mean}\pm{error}"
        assert line in text


def test_drops_of_figure_1_are_the_papers(text):
    def networks(dataset, drop):
        drops = paper.FIGURE_1_DROPS.items()
        return {name for (where, name), found in drops if (where, found) == (dataset, drop)}

    (paragraph,) = (line for line in text if line.startswith("Aftertrainingcommonoff-the-shelf"))
    assert (
        "ResNet-50/101,Wide-ResNet-50x2,andMobileNetv2showonlyminordropsinaccuracy"
        "(1.6-1.9%difference),whiletheothermodelsshowheavydropsofatleast16%"
    ) in paragraph
    small = networks("cifar10", "1.6 to 1.9")
    assert small == {"ResNet-50", "ResNet-101", "Wide-ResNet-50x2", "MobileNet v2"}
    assert networks("cifar10", "at least 16") == set(paper.NETWORKS.values()) - small
    assert "allmodelsexceptResNet-18convergewith“just”3.21-8.19%difference" in paragraph
    assert "ResNet-18showsagapof35.34%" in paragraph
    assert networks("imagenet", "35.34") == {"ResNet-18"}
    others = set(paper.IMAGENET_NETWORKS.values()) - {"ResNet-18"}
    assert networks("imagenet", "3.21 to 8.19") == others


@pytest.fixture(scope="module")
def facts():
    """What is known of the parameter-free paper, from its authors' README."""
    if not FACTS.exists():
        pytest.skip("the facts of the papers are not in ../shared")
    return FACTS.read_text().splitlines()


@pytest.mark.parametrize("name", paper.PF_RESNET)
def test_table_of_parameter_free_resnets_is_the_papers_line_by_line(name, facts):
    millions, flops, milliseconds, top1, top5 = paper.PF_RESNET[name]
    # + has the cost of the network without it.
    cost = f"| {name.rstrip('+')} | {millions} | {flops} | "
    assert sum(line.startswith(cost) for line in facts) == 1
    longer = " (longer)" if name.endswith("+") else ""
    start = f"| {name}{longer} | {milliseconds} | {top1} / {top5} | |"
    assert sum(line.startswith(start) for line in facts) == 1


@pytest.mark.parametrize("name", paper.PF_THROUGHPUT)
def test_table_of_parameter_free_transformers_is_the_papers_line_by_line(name, facts):
    numbers = [paper.PF_TRANSFORMERS[name, c][0] for c in ("vanilla", "+ CutMix", "+ DeiT")]
    end = " | ".join(["", name, paper.PF_THROUGHPUT[name], *map(str, numbers)]) + " |"
    assert sum(line.endswith(end) for line in facts) == 1


def test_parameter_free_paper_ran_90_epochs_and_deits_recipe_300():
    grids = EXPERIMENTS["pf_table_resnet"].grids
    assert {grid.epochs for grid in grids.values()} == {(90,), (180,)}
    transformers = EXPERIMENTS["pf_table_transformers"].grids.values()
    for cell in (cell for grid in transformers for cell in grid.cells()):
        assert cell.epochs == (90 if cell.recipe.startswith("sgd90") else 300)
        assert cell.batch_size == 1024
    kinds = {
        (paper.PF_TRANSFORMER_PRESETS[cell.preset], paper.PF_RECIPES[cell.recipe])
        for grid in transformers
        for cell in grid.cells()
    }
    assert kinds == set(paper.PF_TRANSFORMERS)


def test_longer_runs_stay_longer_if_they_are_scaled():
    grids = scaled("pf_table_resnet", Arguments(names=("pf_table_resnet",), epochs=3))
    assert (grids["R50"].epochs, grids["longer"].epochs) == ((3,), (6,))


OF_LC = [name for name, experiment in EXPERIMENTS.items() if experiment.of_lc]


@pytest.mark.parametrize("name", OF_LC)
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


def test_the_papers_value_stays_if_it_is_among_those_given():
    grid = Grid(expansions=(128,))
    assert scale(grid, expansions=(1, 8, 128)).expansions == (128,)
    assert scale(grid, expansions=(8, 1)).expansions == (8,)


@pytest.mark.parametrize(
    ("name", "given", "title"),
    [
        ("table1", {"expansions": (1, 4)},
         "Validation accuracy on CIFAR-10 and CIFAR-100 and Fashion-MNIST and SVHN, expansion 1"),
        ("table1", {"expansions": (1, 128), "datasets": ("digits",)},
         "Validation accuracy on digits, expansion 128"),
        ("table3", {"expansions": (8,), "depths": (8,), "widths": (4,)},
         "Layers between random filters and their combination, ResNet-LC-8-4x8, CIFAR-10"),
        ("figure6", {"expansions": (2,)},
         "Accuracy over width and depth, expansion 2, CIFAR-10"),
        ("figure7", {"kernel_sizes": (5,)},
         "Combined filters of the first layer over the expansion, kernel size 5, CIFAR-10"),
    ],
)  # fmt: skip
def test_titles_say_what_was_run(name, given, title):
    grids = scaled(name, Arguments(names=(name,), **given))
    assert title_of(EXPERIMENTS[name].title, grids) == title


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
    # The plain network has none.
    plain = EXPERIMENTS["figure4"].grids["baseline"]
    assert differences(plain, scale(plain, expansions=(8, 64))) == []


def test_arguments_choose_parts_and_operators():
    assert list(scaled("figure1", arguments("figure1"))) == ["CIFAR-10", "ImageNet"]
    assert list(scaled("figure1", arguments("figure1", datasets=("cifar10",)))) == ["CIFAR-10"]
    large = arguments("figure1", datasets=("imagenet",), expansions=())
    assert list(scaled("figure1", large)) == ["ImageNet"]
    control = arguments("figure4", operators=("lc_frozen", "gram_limit"))
    assert {part: grid.operators for part, grid in scaled("figure4", control).items()} == {
        "LC": ("lc_frozen", "gram_limit")
    }
    with pytest.raises(SystemExit, match="table2 has no runs with these"):
        scaled("table2", arguments("table2", datasets=("cifar10",)))
    with pytest.raises(SystemExit, match=r"--presets must be of r18d, .* Received: r19"):
        scaled("table2", arguments("table2", presets=("r18d", "r19")))
    with pytest.raises(SystemExit, match="--seeds must be at least 1"):
        scaled("table1", arguments("table1", seeds=0))


def test_arguments_choose_imagenet_networks_by_operator_and_expansion():
    def presets(**kwargs):
        return scaled("table2", arguments("table2", **kwargs))["ImageNet"].presets

    plain = ("r18d-frozen", "r18d")
    assert presets(expansions=()) == EXPERIMENTS["table2"].grids["ImageNet"].presets
    assert presets(expansions=(8,)) == ("r18d-frozen", "r18d-lcx8", "r18d", "r18d-learnable-x8")
    assert presets(expansions=(), operators=("learned", "frozen")) == plain
    assert presets(expansions=(1, 8), operators=("lc_frozen",)) == ("r18d-lcx1", "r18d-lcx8")
    figure_1 = scaled("figure1", arguments("figure1", operators=("frozen",)))["ImageNet"]
    assert figure_1.spatials == ("frozen",) and len(figure_1.presets) == 7


@pytest.mark.parametrize(
    ("name", "given", "option"),
    [("table2", {"subset": 500}, "subset"), ("table2", {"precision": "float32"}, "precision"),
     ("table1", {"image_size": 32}, "image-size"), ("figure4", {"steps": 3}, "steps")],
)  # fmt: skip
def test_an_option_that_would_change_nothing_is_refused(name, given, option):
    with pytest.raises(SystemExit, match=f"^--{option} has no effect on {name}"):
        scaled(name, arguments(name, **{"expansions": (), **given}))


def test_an_option_of_one_part_leaves_the_other_as_it_is():
    grids = scaled("figure1", arguments("figure1", expansions=(), subset=500, steps=3))
    assert grids["CIFAR-10"].subsets == (500,) and grids["ImageNet"].steps == (3,)


# --- what is shown ---


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves out the pictures, which take most of the time."""
    for name in ("draw_sweep", "plot_spatial_variance"):
        monkeypatch.setattr(f"recipes.reproduce.figures.{name}", lambda *args, **kwargs: None)


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
    assert "Data: image folder, JPEG." in text
    assert "expansion" not in text.partition("Not as in the paper")[2]
    assert (tmp_path / "table1.md").read_text() == text + "\n"
    with Image.open(tmp_path / "table1.png") as picture:
        assert min(picture.size) > 400


def test_table_1_has_what_else_was_measured_of_each_kind(tmp_path):
    grids = scaled("table1", arguments("table1", expansions=(), datasets=("cifar10",)))
    evaluation = Evaluation(attack_images=100, pgd_steps=10)
    for cell in cells_of(grids)["LC"]:
        train = 0.75 + cell.seed / 50
        gap = {"train_accuracy": train, "train_test_gap": train - 0.5}
        write_run(
            tmp_path, cell, 0.5, robust=0.25, evaluation=evaluation, pgd_accuracy=0.125, **gap
        )
    text = render("table1", grids, tmp_path)
    header, _, first, *_ = text.partition("What else was measured:\n\n")[2].splitlines()
    assert dict(zip(header.split(" | "), first.split(" | "), strict=True)) == {
        "| ": "| CIFAR-10, learned",
        "training accuracy (%)": "76.00 ± 1.41 (2)",
        "training minus test (%)": "26.00 ± 1.41 (2)",
        "FGSM (%)": "25.00 ± 0.00 (2)",
        "PGD (%)": "12.50 ± 0.00 (2)",
        "entropy, first layer (random = 1)": "0.750 ± 0.000 (2)",
        "entropy, last layer (random = 1)": "0.950 ± 0.000 (2)",
        "sparsity (%)": "1.00 ± 0.00 (2)",
        "training (h) |": "0.025 ± 0.000 (2) |",
    }
    assert "Steps of PGD: 10. Restarts of PGD: 1." in text


def test_what_was_not_measured_has_no_column(tmp_path):
    grids = scaled("table1", arguments("table1", expansions=(), datasets=("cifar10",)))
    write_runs(tmp_path, grids)
    text = render("table1", grids, tmp_path)
    assert "FGSM (%)" in text and "PGD" not in text and "training accuracy" not in text


@pytest.mark.parametrize(
    ("settings", "told"), [({}, "390 steps an epoch instead of 391"), ({"subsets": (1280,)}, None)]
)
def test_steps_that_the_authors_trainer_makes_are_told(settings, told, tmp_path):
    for cell in Grid(operators=("learned",), batch_sizes=(128,), seeds=(0,), **settings).cells():
        write_run(tmp_path, cell, 0.5)
    notes = departures(collect(tmp_path)[0], attacked=False)
    assert [note for note in notes if note.startswith("batches: ")] == (
        [] if told is None else [
            f"batches: {told}, which is what the authors' own trainer makes: a last batch that is "
            "not full is left out here"
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("networks", "notes"),
    [
        (("cifar_resnet",), []),
        (("cifar_resnet", "resnet14"), ["initial values"]),
        (("mobilenet_v2",), ["initial values", "dropout"]),
    ],
)
def test_what_is_left_of_the_authors_networks_is_told(networks, notes, tmp_path):
    for cell in Grid(networks=networks, operators=("learned",), seeds=(0,)).cells():
        write_run(tmp_path, cell, 0.5)
    told = [note.partition(":")[0] for note in departures(collect(tmp_path)[0], attacked=False)]
    assert [note for note in told if note in ("initial values", "dropout")] == notes


@pytest.mark.parametrize("operators", [("lc_frozen",), ("lc_frozen", "gram_limit")])
def test_control_is_told_to_be_a_limit(operators, tmp_path):
    grids = scaled("table1", arguments("table1", operators=operators, expansions=()))
    write_runs(tmp_path, grids)
    assert ("is the limit of many" in render("table1", grids, tmp_path)) == (len(operators) == 2)


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


def test_a_broken_run_is_left_out_and_named(tmp_path, capsys):
    grids = scaled("table3", arguments("table3", expansions=()))
    for cell in cells_of(grids)["LC"][:2]:
        run = write_run(tmp_path, cell, 0.5)
    (run / "config.json").write_text("[]")
    assert "1 of 16 runs are finished." in render("table3", grids, tmp_path)
    assert f"left out {run / 'config.json'} is damaged" in capsys.readouterr().err


def test_a_damaged_model_is_named_where_it_would_be_drawn(tmp_path):
    grids = scaled("figure7", arguments("figure7", depths=(8,), widths=(4,), expansions=(1,)))
    write_runs(tmp_path, grids)
    for path in tmp_path.glob("*/model.keras"):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("weights", b"weights")
        path.write_bytes(path.read_bytes().replace(b"weightsweights", b"weightsWeights"))
    with pytest.raises(SystemExit, match=r"model\.keras is damaged \(in weights\)"):
        render("figure7", grids, tmp_path)


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
    change(config, backend="torch")
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


def test_figure_4_tells_what_is_beyond_an_expansion_of_128(undrawn, tmp_path):
    grids = scaled("figure4", arguments("figure4", expansions=(8, 128, 256), seeds=1))
    frozen, level = {8: 0.5, 128: 0.9, 256: 0.88}, {"learned": 0.8, "lc_learnable": 0.85}
    write_runs(tmp_path, grids, lambda cell: level.get(cell.operator) or frozen[cell.expansion])
    text = render("figure4", grids, tmp_path)
    assert (
        "| LC frozen beyond E = 128 | slightly below E = 128, above LC learnable | "
        "E = 256: -2.00 to E = 128, +3.00 to LC learnable |"
    ) in text
    small = scaled("figure4", arguments("figure4", expansions=(8,), seeds=1))
    assert "above LC learnable | not run (up to 8) |" in render("figure4", small, tmp_path)


def test_figure_4_tells_which_networks_generalize(undrawn, tmp_path):
    grids = scaled("figure4", arguments("figure4", seeds=1))
    gaps = {"learned": 0.25, "lc_learnable": 0.5, "lc_frozen": 0.125}
    for cells in cells_of(grids).values():
        for cell in cells:
            gap = gaps[cell.operator] + (cell.expansion == 1) / 4
            write_run(tmp_path, cell, 0.5, train_test_gap=gap)
    text = render("figure4", grids, tmp_path)
    (row,) = (one for one in text.splitlines() if one.startswith("| training minus test, largest"))
    assert row.endswith("| E = 8: LC frozen 12.50, learned 25.00, LC learnable 50.00 |")
    assert "| 1 | 37.50 (1) | 75.00 (1) | - |" in text


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


def test_break_even_that_is_lost_again_is_told():
    rows = [
        {"kind": kind, "expansion": expansion, "seed": 0, "y": value}
        for expansion, a in ((1, 1), (2, 3), (4, 3), (8, 1))
        for kind, value in (("a", a), ("b", 2))
    ]
    assert break_even(rows, "expansion", "y", "a", "b") == "at 2, 4; not at 8"


PICTURES = {
    "figure1": "ab", "figure5": "ab", "figure6": "ab", "figure8": "ab", "figure11": "ab",
    "figure12": "ab", "table2": [""],
}  # fmt: skip


def write_imagenet_run(folder, cell, data="0123e4567890", precision="float32", **changed):
    frozen = "learnable" not in cell.preset
    spatial = cell.spatial or {"r18d": "learned", "r18d-frozen": "frozen"}.get(cell.preset, "lc")
    expansion = int((re.search(r"x(\d+)$", cell.preset) or [0, 1])[1])
    settings = dataclasses.asdict(cell) | {"spatial": spatial, "frozen": frozen}
    settings |= {"expansion": expansion, "network": "resnet"} | changed
    results = {"test_accuracy": 0.5 + expansion / 1000, "test_top5": 0.75}
    write_checked(
        folder / cell.name / "config.json",
        {
            "run": cell.name,
            "arguments": {**settings, "precision": "auto"},
            "precision": precision,
            "data": {"fingerprint": data, "source": "image folder", "training_images": 500},
            "results": {**results, "seconds": 1.0},
        },
    )
    write_model(folder / cell.name / "model.keras", cell.name)


@pytest.mark.parametrize("name", PICTURES)
def test_every_figure_is_drawn(name, tmp_path):
    small = {"kernel_sizes": (3, 5), "widths": (4, 8), "depths": (8, 14)}
    if name == "table2":
        small = {"expansions": ()}
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
    grids = scaled("table2", arguments("table2", seeds=1, expansions=()))
    for cell in cells_of(grids)["ImageNet"]:
        write_imagenet_run(tmp_path, cell)
    text = render("table2", grids, tmp_path)
    assert "| LCx8 | 50.80 (1) | 71.30 | 75.00 (1) | 90.03 | 50.80 (1) | 71.88 |" in text
    assert "| LCx128 | 62.80 (1) | 72.31 | 75.00 (1) | 90.64 | - | - | - | - |" in text


def test_table_2_names_presets_that_are_not_in_it(tmp_path):
    grids = scaled("table2", arguments("table2", expansions=(), presets=("r18d", "r50-max")))
    for cell in cells_of(grids)["ImageNet"]:
        write_imagenet_run(tmp_path, cell)
    text = render("table2", grids, tmp_path)
    assert re.search(r"^\| ResNet-18d \| .*72\.60", text, re.M)
    (row,) = (line for line in text.splitlines() if line.startswith("| r50-max |"))
    assert row.count("75.00 ± 0.00 (2)") == 1 and row.count(" - ") == 6


def test_imagenet_runs_with_other_pictures_or_precision_are_refused(tmp_path):
    grids = scaled("table2", arguments("table2", seeds=1, expansions=()))
    first, second, *_ = cells_of(grids)["ImageNet"]
    write_imagenet_run(tmp_path, first)
    write_imagenet_run(tmp_path, second, data="other")
    with pytest.raises(SystemExit, match="differ in `data`"):
        render("table2", grids, tmp_path)
    write_imagenet_run(tmp_path, second, precision="mixed_float16")
    with pytest.raises(SystemExit, match="differ in `precision`"):
        render("table2", grids, tmp_path)
    write_imagenet_run(tmp_path, second)
    text = render("table2", grids, tmp_path)
    assert "- ImageNet: 500 training images instead of 1,281,167" in text
    assert "- ImageNet: float32 instead of mixed precision" in text


def test_figure_1_tells_what_freezing_costs(tmp_path):
    grids = scaled("figure1", arguments("figure1", expansions=(), datasets=("cifar10",)))
    frozen = {"resnet18": 0.6, "mobilenet_v2": 0.875}

    def accuracy(cell):
        return 0.9 if cell.operator == "learned" else frozen.get(cell.network, 0.5)

    write_runs(tmp_path, grids, accuracy)
    text = render("figure1", grids, tmp_path)
    assert "| ResNet-18 | at least 16 | 30.00 |" in text
    assert "| MobileNet v2 | 1.6 to 1.9 | 2.50 |" in text


def test_figure_1_divides_networks_that_combine_filters_from_the_others(tmp_path, monkeypatch):
    drawn = {}

    def finish(figure, axes, path, title):
        drawn[path.name] = axes[0]

    monkeypatch.setattr("recipes.reproduce.render._finish", finish)
    order = ["resnet50", "resnet14", "mobilenet_v2", "cifar_resnet"]
    points = {
        (paper.NETWORKS[name], kind): {"mean": 0.5, "deviation": None, "runs": 1}
        for name in order
        for kind in ("learned", "frozen random")
    }
    draw_series(points, tmp_path / "all.png", "", paper.COMBINING)
    left = {place: point for place, point in points.items() if place[0] == "ResNet-14"}
    draw_series(left, tmp_path / "left.png", "", paper.COMBINING)
    names = [label.get_text() for label in drawn["all.png"].get_xticklabels()]
    assert names == ["ResNet-14", "ResNet-20", "ResNet-50", "MobileNet v2"]
    dividers = {
        name: [line.get_xdata()[0] for line in axis.lines if len(set(line.get_xdata())) == 1
               and len(line.get_xdata()) == 2]
        for name, axis in drawn.items()
    }  # fmt: skip
    assert dividers == {"all.png": [1.5], "left.png": []}


def test_figure_5_has_first_and_last_layer_at_the_largest_expansion(tmp_path):
    grids = scaled("figure5", arguments("figure5"))
    level = {"learned": 0.1, "lc_learnable": 0.2, "lc_frozen": 0.3}
    for cells in cells_of(grids).values():
        for cell in cells:
            first = level[cell.operator] + (cell.expansion or 0) / 100
            entropy = {"first": first, "last": first + 0.5}
            write_run(
                tmp_path, cell, 0.5,
                **{f"variance_entropy_normalized_{name}": v for name, v in entropy.items()},
            )  # fmt: skip
    text = render("figure5", grids, tmp_path)
    assert "| E = 8: LC frozen 0.380, learned 0.100, LC learnable 0.280 |" in text
    assert "| E = 8: LC frozen 0.880, learned 0.600, LC learnable 0.780 |" in text
    assert "| 1 | 0.310 ± 0.000 (2) | 0.210 ± 0.000 (2) | - |" in text


def test_figure_6_tells_from_which_width_and_depth_on_frozen_is_better(tmp_path):
    grids = scaled("figure6", arguments("figure6", expansions=(), depths=(20, 56), widths=(16, 64)))

    def accuracy(cell):
        return 0.5 if cell.operator == "lc_learnable" else 0.4 + cell.width / 500

    write_runs(tmp_path, grids, accuracy)
    text = render("figure6", grids, tmp_path)
    width, depth = (line for line in text.splitlines() if line.startswith("| LC frozen above"))
    assert width == "| LC frozen above LC learnable | near W = 128 | from 64 on |"
    assert depth == "| LC frozen above LC learnable | near D = 260 | nowhere (up to 56) |"


def test_figure_8_is_frozen_minus_learnable(tmp_path):
    grids = scaled("figure8", arguments("figure8", kernel_sizes=(3, 5), expansions=(2,)))
    write_runs(
        tmp_path, grids, lambda cell: 0.6 if cell.operator == "lc_frozen" else cell.kernel_size / 10
    )
    text = render("figure8", grids, tmp_path)
    assert "| 2 | 30.00 ± 0.00 (2) | 10.00 ± 0.00 (2) |" in text


@pytest.mark.parametrize(("slope", "verdict"), [(0.02, "falls"), (0, "does not fall at each step")])
def test_figure_8_tells_how_the_gap_grows_with_the_kernels(slope, verdict, undrawn, tmp_path):
    small = arguments("figure8", kernel_sizes=(3, 5, 9), expansions=(1, 8), seeds=1)
    grids = scaled("figure8", small)

    def accuracy(cell):
        # At the largest expansion, the gap does not count.
        behind = slope * cell.kernel_size if cell.expansion == 1 else 0.3
        return 0.7 - behind * (cell.operator == "lc_frozen")

    write_runs(tmp_path, grids, accuracy)
    text = render("figure8", grids, tmp_path)
    gaps = ", ".join(f"{k}x{k} {-100 * slope * k + 0.0:+.2f}" for k in (3, 5, 9))
    (row,) = (one for one in text.splitlines() if one.startswith("| LC frozen minus LC learn"))
    assert row.endswith(f"| E = 1: {gaps.replace('-0.00', '+0.00')}: {verdict} |")


def test_figure_8_tells_whether_the_variance_of_the_filters_is_uniform(undrawn, tmp_path):
    grids = scaled("figure8", arguments("figure8", kernel_sizes=(3,), expansions=(8,), seeds=1))
    write_runs(tmp_path, grids)
    for cell in cells_of(grids)["LC"]:
        if cell.operator == "lc_learnable":
            heatmap = [[1.0, 2.0, 1.0], [2.0, 6.0, 2.0], [1.0, 2.0, 1.0]]
            change(tmp_path / cell.name / "evaluation.json", spatial_variance={"3x3": heatmap})
    text = render("figure8", grids, tmp_path)
    for kind, ratio in (("LC frozen", "1.00"), ("LC learnable", "4.00")):
        (row,) = (one for one in text.splitlines() if one.startswith(f"| {kind}: variance"))
        assert row.endswith(f"| 3x3 {ratio} |")


@pytest.mark.parametrize(("name", "entropy"), [("figure11", "0.700"), ("figure12", "0.900")])
def test_figures_11_and_12_are_of_the_first_and_of_the_last_layer(name, entropy, tmp_path):
    grids = scaled(name, arguments(name, kernel_sizes=(5,)))
    write_runs(tmp_path, grids)
    text = render(name, grids, tmp_path)
    assert f"| 1 | {entropy} ± 0.000 (2) | {entropy} ± 0.000 (2) |" in text


# --- the experiment that is not in the paper ---


def test_weights_runs_15_epochs_and_2_seeds_where_no_option_says_otherwise():
    grids = scaled("weights", Arguments(names=("weights",)))
    assert {(grid.epochs, grid.seeds) for grid in grids.values()} == {((15,), (0, 1))}
    grids = scaled("weights", arguments("weights", epochs=3, seeds=1))
    assert {(grid.epochs, grid.seeds) for grid in grids.values()} == {((3,), (0,))}


def test_weights_has_plain_networks_as_large_as_those_that_are_asked_for():
    grids = scaled("weights", Arguments(names=("weights",)))
    assert grids["plain"].widths == (6, 8, 11, 15, 16)
    small = arguments("weights", expansions=(1, 4), widths=(8,), depths=(8,))
    grids = scaled("weights", small)
    assert grids["plain"].widths == as_large_as(grids["LC"])
    assert max(grids["plain"].widths) == 8 and grids["plain"].depths == (8,)
    # Also where the LC networks themselves are not.
    alone = scaled("weights", dataclasses.replace(small, operators=("learned",)))
    assert alone == {"plain": grids["plain"]}


def write_weights(folder, grids, **kwargs):
    for part, cells in cells_of(grids).items():
        for cell in cells:
            numbers = trained_numbers(cell)
            accuracy = numbers / 1e6 + cell.seed / 100 + 0.5 * (part == "LC" and cell.shared_basis)
            size = {"trained_parameters": numbers, "file_bytes": 4 * numbers}
            write_run(folder, cell, accuracy, **{**size, **kwargs})


def test_weights_has_a_line_for_each_network_with_its_numbers_and_bytes(tmp_path):
    grids = scaled("weights", Arguments(names=("weights",)))
    write_weights(tmp_path, grids)
    text = render("weights", grids, tmp_path)
    assert text.startswith("# Weights: ")
    assert "- epochs: 15 instead of 75" in text and "- seeds: 2 instead of 4" in text
    lines = [line for line in text.splitlines() if re.match(r"\| (LC|plain)", line)]
    assert len(lines) == 4 * 2 + 5
    for line in (
        "| LC frozen, E = 1 | 37,290 | 149,160 | 4.23 ± 0.71 (2) |",
        "| LC frozen, shared basis, E = 1 | 37,290 | 149,160 | 54.23 ± 0.71 (2) |",
        "| plain, width 16 | 272,474 | 1,089,896 | 27.75 ± 0.71 (2) |",
    ):
        assert line in lines


@pytest.mark.parametrize(("file_bytes", "panels"), [(1000, 2), (None, 1)])
def test_weights_are_drawn_over_what_was_measured(file_bytes, panels, tmp_path):
    grids = scaled("weights", arguments("weights", seeds=1))
    write_weights(tmp_path, grids, file_bytes=file_bytes)
    text = render("weights", grids, tmp_path)
    assert "](weights.png)" in text
    assert ("| bytes of the file |" in text) == (panels == 2)
    with Image.open(tmp_path / "weights.png") as picture:
        assert 0.8 < picture.width / picture.height / panels < 1.3


# --- the parameter-free paper ---


def write_free_runs(folder, grids, accuracy=lambda cell: 0.5):
    for cells in cells_of(grids).values():
        for cell in cells:
            made = defaults(cell.preset, cell.recipe)
            write_imagenet_run(folder, cell, spatial=made.spatial, recipe=made.recipe)
            cost = {
                "test_accuracy": accuracy(cell), "trained_parameters": 14_200_000,
                "multiplications": 2_210_000_000, "inference_milliseconds": 21.25,
            }  # fmt: skip
            path = folder / cell.name / "config.json"
            change(path, results=read_json(path)["results"] | cost)


def test_parameter_free_resnets_are_beside_the_papers_with_their_cost(tmp_path):
    grids = scaled("pf_table_resnet", Arguments(names=("pf_table_resnet",), epochs=2))
    write_free_runs(tmp_path, grids, lambda cell: 0.5 + cell.epochs / 100)
    text = render("pf_table_resnet", grids, tmp_path)
    assert text.startswith("# Parameter-free table resnet: ")
    cost = "14.2 | 14.2 | 2.2 | 2.2 | 21.2 | 6.8"
    assert f"| R50-max | {cost} | 52.00 (1) | 74.3 | 75.00 (1) | 92.0 |" in text
    assert f"| R50-max+ | {cost} | 54.00 (1) | 75.5 | 75.00 (1) | 92.1 |" in text
    assert "- longer (+): twice as many epochs" in text
    assert [path.name for path in tmp_path.glob("*.png")] == ["pf_table_resnet.png"]


def test_parameter_free_transformers_are_beside_the_papers_by_recipe(tmp_path):
    name = "pf_table_transformers"
    grids = scaled(name, Arguments(names=(name,), epochs=2, size="tiny"))
    accuracy = {None: 0, "sgd90": 0.2, "deit_light": 0.3, "deit": 0.4}
    write_free_runs(tmp_path, grids, lambda cell: accuracy.get(cell.recipe, 0.5))
    text = render(name, grids, tmp_path)
    header = "| top-1 (%) | vanilla, here | vanilla, paper | + CutMix, here | + CutMix, paper |"
    assert header in text
    assert "| R50 | 20.00 (1) | 76.20 | 50.00 (1) | 77.60 | 40.00 (1) | 78.80 |" in text
    assert "| PiT-S-max | 30.00 (1) | 75.70 | 50.00 (1) | 78.10 | 40.00 (1) | 80.80 |" in text
    assert "| ViT-S-max | 14,200,000 | 2,210,000,000 | 21.250 |" in text.replace(" (1)", "")
    assert "| PiT-S-max | 1000 / 92 |" in text
    assert "transformers: sizes: tiny instead of the preset's" in text


def test_layers_that_may_replace_depthwise_convolutions_are_side_by_side(tmp_path):
    grids = scaled("pf_depthwise", arguments("pf_depthwise", expansions=(), width_multiplier=0.25))
    level = {"depthwise": 0.5, "max": 0.625, "average": 0.375}
    for cell in cells_of(grids)["layers"]:
        write_run(tmp_path, cell, level[cell.operator] + cell.seed / 100)
    text = render("pf_depthwise", grids, tmp_path)
    for name, mean in (("depthwise", "50.50"), ("max", "63.00"), ("average", "38.00")):
        assert f"| {name} | {mean} ± 0.71 (2) |" in text
    assert "- width multipliers: 0.25 instead of 1.0" in text
    # These are of the LC paper.
    assert "initial values" not in text and "batches" not in text
    assert "](pf_depthwise.png)" in text


# --- what is shown of runs that are not all there ---


def test_control_has_no_line_over_parameters(tmp_path):
    chosen = {"operators": ("learned", "lc_frozen", "gram_limit"), "expansions": (1, 2)}
    grids = scaled("figure4", arguments("figure4", **chosen))
    for cells in cells_of(grids).values():
        for cell in cells:
            count = 1000 * (cell.expansion or 1) if cell.operator != "gram_limit" else 1000
            write_run(tmp_path, cell, 0.5, full_parameters=count)
    text = render("figure4", grids, tmp_path)
    assert "plain, LC's learning rates, here" in text and "rates, paper" not in text
    assert "](figure4b.png)" in text


@pytest.mark.parametrize(
    ("name", "chosen", "drawn"),
    [
        ("figure4", {"operators": ("learned",)}, "b"),
        ("figure5", {"kernel_sizes": (5,)}, ""),
        ("figure8", {"operators": ("lc_frozen",)}, "b"),
    ],
)
def test_what_was_not_run_or_measured_is_not_drawn(name, chosen, drawn, tmp_path):
    grids = scaled(name, arguments(name, **chosen))
    unknown = {"variance_entropy_normalized_first": None, "variance_entropy_normalized_last": None}
    write_runs(tmp_path, grids, **(unknown if name == "figure5" else {}))
    text = render(name, grids, tmp_path)
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == [
        f"{name}{suffix}.png" for suffix in drawn
    ]
    assert "not measured" in text or "not run" in text


@pytest.mark.parametrize("name", ["figure4", "figure5", "figure8", "figure11"])
def test_runs_that_are_not_evaluated_are_shown_as_far_as_they_go(name, tmp_path):
    grids = scaled(name, arguments(name))
    write_runs(tmp_path, grids)
    render(name, grids, tmp_path)
    for written in tmp_path.glob("*/evaluation.json"):
        written.unlink()
    text = render(name, grids, tmp_path)
    # And no picture of what was known before.
    left = {"figure4": ["figure4a.png"], "figure8": ["figure8a.png"]}.get(name, [])
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == left
    assert text.count("](") == len(left)


def test_data_and_attack_that_are_not_the_papers_are_named(tmp_path):
    grids = scaled("figure4", Arguments(names=("figure4",)))
    write_runs(tmp_path, grids, evaluation=Evaluation(attack_images=50, epsilon=8.0))
    text = render("figure4", grids, tmp_path)
    assert text.partition("Not as in the paper:\n\n")[2].partition("\n\n")[0].splitlines() == [
        "- data: image folder, JPEG instead of original",
        "- batches: 195 steps an epoch instead of 196, which is what the authors' own trainer "
        "makes: a last batch that is not full is left out here",
        "- attack: radius 8/255 instead of 1/255",
        "- attack: 50 test images instead of all",
    ]
    assert "Attack: FGSM, radius 8 of 255 grey levels. Attacked test images: 50." in text


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
