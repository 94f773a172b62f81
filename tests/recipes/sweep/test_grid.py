"""The runs of a sweep, and their names."""

import dataclasses

import pytest
import tyro

from recipes.common.settings import Settings as Arguments
from recipes.evaluate.settings import Evaluation
from recipes.sweep.grid import Cell, Grid
from recipes.sweep.imagenet_grid import ImageNetCell, ImageNetGrid

pytestmark = pytest.mark.once

# Another value of each setting, of a cell that has all settings.
OTHER = {
    "dataset": "digits", "network": "resnet18", "depth": 8, "width": 4, "operator": "lc_learnable",
    "expansion": 64, "compact": True, "between": "relu", "shared_basis": True, "kernel_size": 5,
    "basis": "dct",
    "epochs": 3, "subset": 100, "batch_size": 64, "augmentation": "none",
    "precision": "mixed_bfloat16", "seed": 7, "width_multiplier": 0.5,
}  # fmt: skip


def test_grid_is_every_combination_those_of_the_first_seed_first():
    cells = Grid(expansions=(1, 8), kernel_sizes=(3, 5), seeds=(4, 2)).cells()
    assert [(c.seed, c.expansion, c.kernel_size) for c in cells] == [
        (4, 1, 3), (4, 1, 5), (4, 8, 3), (4, 8, 5), (2, 1, 3), (2, 1, 5), (2, 8, 3), (2, 8, 5),
    ]  # fmt: skip


def test_what_an_operator_does_not_have_makes_no_further_runs():
    grid = Grid(
        operators=("learned", "frozen", "gram_limit", "lc_learnable", "lc_frozen"),
        expansions=(1, 8),
        compact=(False, True),
        shared_basis=(False, True),
        between=("none", "relu"),
        seeds=(0,),
    )
    count = {}
    for cell in grid.cells():
        count[cell.operator] = count.get(cell.operator, 0) + 1
    # Frozen, without anything between: 2 expansions, compact or not, shared or not; and 2 with.
    assert count == {
        "learned": 1, "frozen": 1, "gram_limit": 2, "lc_learnable": 4, "lc_frozen": 8 + 2,
    }  # fmt: skip


def test_networks_of_their_own_have_no_depth():
    cells = Grid(networks=("resnet18",), depths=(8, 14), kernel_sizes=(3, 5), seeds=(0,)).cells()
    assert [(c.depth, c.width, c.kernel_size) for c in cells] == [(None, None, None)]


def test_setting_without_values_is_refused():
    with pytest.raises(ValueError, match=r"no runs without a value for expansion, seed\."):
        Grid(expansions=(), seeds=()).cells()


def test_the_name_of_a_cell_lists_its_settings():
    assert Cell(operator="learned").name == "cifar10-resnet20_16-learned-e75-s0"
    cell = Cell(expansion=128, compact=True, kernel_size=9, subset=500, epochs=10, seed=3)
    assert cell.name == "cifar10-resnet20_16x128-lc_frozen-k9-compact-n500-e10-s3"
    assert Cell(between="bn_relu").name == "cifar10-resnet20_16x1-lc_frozen-bn_relu-e75-s0"


@pytest.mark.parametrize("setting", [field.name for field in dataclasses.fields(Cell)])
def test_every_setting_is_in_the_name(setting):
    # Only these networks have a multiplier.
    cell = Cell(network="resnet18") if setting == "width_multiplier" else Cell()
    assert dataclasses.replace(cell, **{setting: OTHER[setting]}).name != cell.name


@pytest.mark.parametrize("dataset", ["../up", "two words", "", "-a"])
def test_data_set_must_be_fit_for_a_name(dataset):
    with pytest.raises(ValueError, match="letters, digits"):
        Cell(dataset=dataset)


@pytest.mark.parametrize("operator", ["max", "average", "depthwise", "hybrid"])
def test_operators_of_bottlenecks_are_refused_elsewhere_before_any_run(operator):
    assert Cell(network="resnet26", operator=operator, width_multiplier=0.25).name == (
        f"cifar10-resnet26-{operator}-m0.25-e75-s0"
    )
    for network in ("cifar_resnet", "resnet14", "resnet18", "resnet18d", "resnet34"):
        with pytest.raises(ValueError) as error:
            Cell(network=network, operator=operator)
        assert str(error.value) == (
            f"--spatial {operator} needs a network with bottlenecks: mobilenet_v2, "
            "mobilenet_v3_large, resnet101, resnet26, resnet50, resnet50d, resnext50_32x4d, "
            f"wide_resnet50_2. Received: --network {network}"
        )


def test_network_that_cannot_be_is_refused_before_any_run():
    with pytest.raises(ValueError, match=r"6n \+ 2: 8, 14, 20, … Received: 18"):
        Cell(depth=18)
    with pytest.raises(ValueError, match=r"kernel size must be odd\. Received: 4"):
        Cell(kernel_size=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attack_images": 0}, "--attack-images must be at least 1. Received: 0"),
        ({"epsilon": 300.0}, "--epsilon must be from 0 to 255. Received: 300.0"),
        ({"pgd_steps": -1}, "--pgd-steps must be at least 0. Received: -1"),
        ({"pgd_restarts": 0}, "--pgd-restarts must be at least 1. Received: 0"),
    ],
)
def test_attack_that_cannot_be_is_refused_before_any_run(settings, message):
    with pytest.raises(ValueError, match=message):
        Evaluation(**settings).check()


@pytest.mark.parametrize("setting", [None, *OTHER])
def test_recipes_train_takes_the_settings_for_what_they_are(setting):
    cell = dataclasses.replace(Cell(), **({setting: OTHER[setting]} if setting else {}))
    arguments = tyro.cli(Arguments, args=cell.train_arguments())
    for name, value in dataclasses.asdict(cell).items():
        if name != "operator" and value is not None:
            assert getattr(arguments, name) == value, name
    assert arguments.spatial == "lc"
    assert arguments.frozen == (cell.operator == "lc_frozen")


@pytest.mark.parametrize("operator", ["learned", "frozen", "gram_limit"])
def test_operators_without_combinations_are_themselves(operator):
    arguments = tyro.cli(Arguments, args=Cell(operator=operator, expansion=8).train_arguments())
    assert arguments.spatial == operator
    assert arguments.expansion == (8 if operator == "gram_limit" else 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--epochs must be at least 1. Received: 0"),
        ({"width": 0}, "--width must be at least 1. Received: 0"),
        ({"expansion": 0}, "--expansion must be at least 1. Received: 0"),
        ({"subset": 0}, "--subset must be at least 1. Received: 0"),
        ({"batch_size": 0}, "--batch-size must be at least 1. Received: 0"),
        ({"seed": -1}, "--seed must be at least 0 and below 9223372036854775808. Received: -1"),
        (
            {"network": "resnet19"},
            r"network must be one of cifar_resnet, mobilenet_v2, .*: resnet19",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_before_any_run(settings, message):
    with pytest.raises(ValueError, match=message):
        Cell(**settings)


def test_imagenet_settings_that_cannot_be_are_refused_before_any_run():
    for settings in ({"epochs": 0}, {"image_size": 0}, {"steps": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=r"must be at least [01].* Received: (0|-1)"):
            ImageNetCell("r18d", **settings)
    with pytest.raises(ValueError, match=r"--spatial max needs --depth 26, 50 or 101\. .*18"):
        ImageNetCell("r18d", spatial="max")


@pytest.mark.parametrize("epochs", [1, 3, 5, 90, 300])
def test_the_warm_up_of_imagenet_is_squeezed_with_the_epochs(epochs):
    words = ImageNetCell("r18d", epochs=epochs).train_arguments()
    assert float(words[words.index("--warmup-epochs") + 1]) == pytest.approx(epochs / 60)


def test_imagenet_settings_are_in_names_and_arguments():
    grid = ImageNetGrid(("r18d", "r18-frozen"), spatials=(None, "learned"), epochs=(3,))
    assert [cell.name for cell in grid.cells()] == [
        "imagenet-r18d-e3-s0", "imagenet-r18d-as_learned-e3-s0",
        "imagenet-r18-frozen-e3-s0", "imagenet-r18-frozen-as_learned-e3-s0",
    ]  # fmt: skip
    recipes = ImageNetGrid(("r50",), recipes=(None, "deit"), epochs=(9,))
    assert [cell.name for cell in recipes.cells()] == [
        "imagenet-r50-e9-s0", "imagenet-r50-deit-e9-s0",
    ]  # fmt: skip
    warmup = [
        words[words.index("--warmup-epochs") + 1]
        for words in (cell.train_arguments() for cell in recipes.cells())
    ]
    # 3 of 90, 5 of 300.
    assert [float(epochs) for epochs in warmup] == pytest.approx([0.3, 0.15])
    # A residual network has no patches, a transformer no multiplier.
    own = {"width_multiplier": 0.5, "size": "tiny", "patch_size": 4, "epochs": 9}
    assert ImageNetCell("r50", **own).name == "imagenet-r50-m0.5-e9-s0"
    assert ImageNetCell("vit-s", **own).name == "imagenet-vit-s-tiny-patch4-e9-s0"
    small = ImageNetCell("r18d", batch_size=8, image_size=32, steps=2)
    assert small.name == "imagenet-r18d-b8-px32-steps2-e300-s0"
    words = small.train_arguments()
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options == {
        "--preset": "r18d", "--epochs": "300", "--batch-size": "8", "--image-size": "32",
        "--steps": "2", "--seed": "0", "--warmup-epochs": "5.0",
    }  # fmt: skip
