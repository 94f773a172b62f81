"""Runs of `recipes.imagenet` as the cells of a sweep. No Keras."""

import dataclasses
from typing import ClassVar

from ..common.command_line import PACKAGE, command_words
from ..imagenet.arguments import Arguments, check, defaults
from .grid import Axis, Combinations, axes_of, cell_fields, grid_fields, words_of

_AXES = axes_of(Arguments)


@dataclasses.dataclass(frozen=True)
class ImageNetCell(cell_fields(_AXES)):
    """The settings of one run of `recipes.imagenet`. `None` means the value of the preset.

    Settings that the network does not have are `None`, so two cells of the same run are equal. The
    warm-up always takes the same share of the epochs as in the recipe.
    """

    axes: ClassVar[dict[str, Axis]] = _AXES
    module: ClassVar[str] = f"{PACKAGE}.imagenet"
    dataset: ClassVar[str] = "imagenet"
    # The images are not loaded into memory, so `recipes.evaluate` cannot attack them.
    evaluated: ClassVar[bool] = False
    downloads: ClassVar[bool] = False

    def __post_init__(self):
        network = defaults(self.preset).network
        for axis in _AXES.values():
            if not axis.known.is_of(network):
                object.__setattr__(self, axis.setting, None)
        given = {name: value for name, value in self._settings().items() if value is not None}
        check(dataclasses.replace(defaults(given.pop("preset"), self.recipe), **given))

    @property
    def name(self) -> str:
        """The name of the run's folder: all settings that differ from the paper's, and the seed."""
        words = ["imagenet", self.preset, *words_of(self, _AXES)]
        return "-".join([*words, f"e{self.epochs}", f"s{self.seed}"])

    def train_arguments(self) -> list[str]:
        """Returns the settings as arguments of `recipes.imagenet`."""
        return command_words(self._settings())

    def _settings(self):
        recipe = defaults(self.preset, self.recipe)
        warmup_epochs = recipe.warmup_epochs * self.epochs / recipe.epochs
        return dataclasses.asdict(self) | {"warmup_epochs": warmup_epochs}


@dataclasses.dataclass(frozen=True)
class ImageNetGrid(grid_fields(_AXES), Combinations):
    """Settings. Every combination is a run of `recipes.imagenet`; see `Grid`."""

    axes: ClassVar[dict[str, Axis]] = _AXES
    cell: ClassVar[type] = ImageNetCell
