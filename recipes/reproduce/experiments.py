"""The papers' tables and figures as named sweeps. No Keras."""

import dataclasses
import re
from collections.abc import Callable, Mapping

from ..common.settings import BASES
from ..sweep.grid import Cell, Grid
from ..sweep.imagenet_grid import ImageNetCell, ImageNetGrid
from .numbers import DATASETS, IMAGENET_NETWORKS, NETWORKS
from .weights import as_large_as

_EXPANSIONS = (1, 2, 4, 8, 16, 32, 64, 128)
_BOTH = ("lc_frozen", "lc_learnable")
_OF_BASES = (1, 4, 16, 64)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Args:
        title: String. It can hold axes of the grids in braces, which become their values.
        grids: Dict from its parts to the paper's runs for them. If the paper has only a picture,
            we read the points from its axes.
        attacked: Boolean, whether it shows accuracy under attack.
        budget: Dict from axes of the grids to tuples of values that are run where no option gives
            others.
        notes: Tuple of strings, what always differs from the paper, or is not known of it.
        of_lc: Boolean, whether it is of the LC paper.
        complete: Function that completes the grids after they are scaled, if they depend on each
            other.
    """

    title: str
    grids: dict[str, Grid | ImageNetGrid]
    attacked: bool = False
    budget: Mapping[str, tuple] = dataclasses.field(default_factory=dict)
    complete: Callable[[dict], dict] = dict
    notes: tuple[str, ...] = ()
    of_lc: bool = True


_EXPANSION_GRIDS = {
    "LC": Grid(operators=_BOTH, expansions=(*_EXPANSIONS, 256)),
    "baseline": Grid(operators=("learned",)),
}
_KERNEL_SIZES = (3, 5, 7, 9)
_KERNEL_GRIDS = {
    "LC": Grid(operators=_BOTH, expansions=_EXPANSIONS, kernel_sizes=_KERNEL_SIZES),
}


def _with_plain_networks(grids):
    """Returns the grids with plain networks that are about as large as the LC networks."""
    if not grids:
        return grids
    plain = dataclasses.replace(grids["plain"], widths=as_large_as(grids["LC"]))
    return {**grids, "plain": plain}


_SGD90 = {"epochs": (90,), "batch_sizes": (1024,)}
_DEIT = {"epochs": (300,), "batch_sizes": (1024,)}


def _with_longer_runs(grids):
    """Returns the grids with the longer runs. The authors do not say how long theirs are."""
    if not {"R50", "longer"} <= grids.keys():
        return grids
    epochs = tuple(2 * epochs for epochs in grids["R50"].epochs)
    return {**grids, "longer": dataclasses.replace(grids["longer"], epochs=epochs)}


EXPERIMENTS = {
    "table1": Experiment(
        "Validation accuracy on {datasets}, expansion {expansions}",
        {
            "LC": Grid(
                datasets=("cifar10", "cifar100", "fashion_mnist", "svhn_cropped"),
                operators=("learned", "lc_learnable", "lc_frozen"),
                expansions=(128,),
            )
        },
        attacked=True,
    ),
    "table2": Experiment(
        "ResNet-18d on ImageNet, frozen and learnable",
        {
            "ImageNet": ImageNetGrid(
                (
                    *("r18d-frozen", "r18d-lcx1", "r18d-lcx8", "r18d-lcx64", "r18d-lcx128"),
                    *("r18d", "r18d-learnable-x1", "r18d-learnable-x8", "r18d-learnable-x64"),
                )
            )
        },
    ),
    "table3": Experiment(
        "Layers between random filters and their combination, "
        "ResNet-LC-{depths}-{widths}x{expansions}, {datasets}",
        {"LC": Grid(operators=_BOTH, expansions=(64,), between=("none", "relu", "bn", "bn_relu"))},
    ),
    "figure1": Experiment(
        "Off-the-shelf networks with frozen random and learned spatial filters",
        {
            "CIFAR-10": Grid(networks=tuple(NETWORKS), operators=("learned", "frozen")),
            "ImageNet": ImageNetGrid(tuple(IMAGENET_NETWORKS), spatials=("learned", "frozen")),
        },
    ),
    "figure4": Experiment(
        "Accuracy over the expansion, {datasets}", _EXPANSION_GRIDS, attacked=True
    ),
    "figure5": Experiment(
        "Diversity of the filters over the expansion, {datasets}", _EXPANSION_GRIDS
    ),
    "figure6": Experiment(
        "Accuracy over width and depth, expansion {expansions}, {datasets}",
        {
            "width": Grid(operators=_BOTH, widths=(16, 32, 64, 128, 256)),
            "depth": Grid(operators=_BOTH, depths=(20, 32, 44, 56, 110, 260, 500)),
        },
    ),
    "figure7": Experiment(
        "Combined filters of the first layer over the expansion, kernel size {kernel_sizes}, "
        "{datasets}",
        {
            "LC": Grid(operators=("lc_frozen",), expansions=_EXPANSIONS, kernel_sizes=(9,)),
            "baseline": Grid(operators=("learned",), kernel_sizes=(9,)),
        },
    ),
    "figure8": Experiment("Larger kernels, {datasets}", _KERNEL_GRIDS),
    "figure10": Experiment(
        "Combined filters of the first layer, by kernel size and expansion, {datasets}",
        _KERNEL_GRIDS,
    ),
    "figure11": Experiment(
        "Variance entropy of the first layer, by kernel size and expansion, {datasets}",
        _KERNEL_GRIDS,
    ),
    "figure12": Experiment(
        "Variance entropy of the last layer, by kernel size and expansion, {datasets}",
        _KERNEL_GRIDS,
    ),
    "pf_table_resnet": Experiment(
        of_lc=False,
        title="The parameter-free paper's ResNets on ImageNet; + is trained for longer",
        grids=_with_longer_runs(
            {
                "R50": ImageNetGrid(("r50", "r50-max", "r50-hybrid"), **_SGD90),
                "longer": ImageNetGrid(("r50-max", "r50-hybrid"), **_SGD90),
            }
        ),
        complete=_with_longer_runs,
        notes=(
            "longer (+): twice as many epochs; the authors do not say how many they took",
            "milliseconds: here for one image on the device of the run, there on a GPU",
        ),
    ),
    "pf_table_transformers": Experiment(
        of_lc=False,
        title="The parameter-free paper's transformers on ImageNet",
        grids={
            "R50": ImageNetGrid(("r50",), recipes=("sgd90", "sgd90_cutmix"), **_SGD90),
            "R50, DeiT": ImageNetGrid(("r50",), recipes=("deit",), **_DEIT),
            "transformers": ImageNetGrid(
                ("vit-s-max", "pit-s-max"), recipes=("deit_light", "deit_cutmix", "deit"), **_DEIT
            ),
        },
        notes=(
            "recipes: the authors publish those of R50 and of DeiT. Here, vanilla and + CutMix of "
            "transformers are DeiT's with crops and flips alone, and with CutMix",
        ),
    ),
    "pf_depthwise": Experiment(
        of_lc=False,
        title="The parameter-free paper's study of layers: depthwise convolution or pools in a "
        "network of bottlenecks, {datasets}",
        grids={"layers": Grid(networks=("resnet26",), operators=("depthwise", "max", "average"))},
    ),
    # Of the first version's claim, that LC needs fewer weights.
    "weights": Experiment(
        "Accuracy over trained numbers and bytes of the file, beside narrower plain networks",
        _with_plain_networks(
            {
                "LC": Grid(
                    operators=("lc_frozen",),
                    expansions=(1, 2, 4, 8),
                    compact=(True,),
                    shared_basis=(False, True),
                ),
                "plain": Grid(operators=("learned",)),
            }
        ),
        budget={"epochs": (15,), "seeds": (0, 1)},
        complete=_with_plain_networks,
    ),
    # Of the paper's words that random filters are the baseline for better frozen ones.
    "bases": Experiment(
        "Frozen filters of several bases, beside a control without random filters",
        {
            "LC": Grid(
                operators=("lc_frozen",),
                expansions=_OF_BASES,
                bases=BASES,
                compact=(True,),
            ),
            "control": Grid(operators=("gram_limit",), expansions=_OF_BASES),
            "learned": Grid(operators=("learned",)),
        },
        attacked=True,
        budget={"epochs": (10,), "seeds": (0, 1), "subsets": (10_000,)},
    ),
}


def scale(grid: Grid | ImageNetGrid, **settings) -> Grid | ImageNetGrid:
    """Returns a grid with other values of some settings, to fit a machine.

    If the paper varies a setting, the given values replace its values. If the paper has one value
    that is among the given values, it stays; otherwise the first given value replaces it. With
    `depths=(8, 14)`, a sweep over depths has two depths, and a sweep over widths has depth 8.

    Args:
        grid: The paper's grid.
        **settings: Tuples of values, or `None` for the paper's values. Settings that the grid does
            not have are ignored.
    """
    scaled = {}
    for name, values in settings.items():
        if not values or not hasattr(grid, name):
            continue
        papers = getattr(grid, name)
        if len(papers) > 1:
            scaled[name] = tuple(values)
        else:
            scaled[name] = papers if papers[0] in values else tuple(values[:1])
    return dataclasses.replace(grid, **scaled)


def differences(paper: Grid | ImageNetGrid, grid: Grid | ImageNetGrid) -> list[str]:
    """Returns how the settings of a grid differ from the paper's, in words."""
    found = []
    for name, axis in grid.axes.items():
        if axis.known.same:
            continue
        theirs, ours = _values(paper, axis), _values(grid, axis)
        if name == "seeds":
            theirs, ours = (len(theirs),), (len(ours),)
        # If no value is left, other settings show the difference.
        if ours and theirs != ours:
            shown = name.replace("_", " ")
            none = "all" if name in ("subsets", "steps") else "the preset's"
            found.append(f"{shown}: {_listed(ours, none)} instead of {_listed(theirs, none)}")
    return found


def _values(grid, axis):
    """Returns the values of a setting in the runs that have it."""
    values = tuple(dict.fromkeys(getattr(cell, axis.setting) for cell in grid.cells()))
    # Otherwise `None` means that the setting does not apply.
    return values if None in axis.values else tuple(v for v in values if v is not None)


def title_of(title: str, grids: dict[str, Grid | ImageNetGrid]) -> str:
    """Returns the title of an experiment with the values that its grids have."""

    def values(match):
        found = {}
        for grid in grids.values():
            axis = grid.axes.get(match[1])
            found |= dict.fromkeys(_values(grid, axis) if axis else ())
        return " and ".join(str(DATASETS.get(value, value)) for value in found)

    return re.sub(r"\{(\w+)\}", values, title)


def cells_of(grids: dict[str, Grid | ImageNetGrid]) -> dict[str, list[Cell | ImageNetCell]]:
    """Returns the runs of each part."""
    return {part: grid.cells() for part, grid in grids.items()}


def _listed(values, none):
    return ", ".join(none if value is None else str(value) for value in values)
