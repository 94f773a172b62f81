"""Runs of `recipes.imagenet` as the cells of a sweep. Without Keras."""

import dataclasses
import itertools
from typing import ClassVar

from ..common.command_line import command_words
from ..imagenet.arguments import Arguments, check, of_preset


@dataclasses.dataclass(frozen=True)
class ImageNetCell:
    """The settings of one run of `recipes.imagenet`.

    Of other epochs than the paper's, the learning rate rises in the same share.

    Args:
        preset: String, the network's name there.
        spatial: String, the spatial operator, or `None` for the preset's.
        epochs, batch_size, image_size, seed: Integers.
        steps: Integer, the batches of an epoch, or `None` for one pass over the images.
    """

    preset: str
    spatial: str | None = None
    epochs: int = 300
    batch_size: int = 2048
    image_size: int = 224
    steps: int | None = None
    seed: int = 0

    module: ClassVar[str] = "recipes.imagenet"
    dataset: ClassVar[str] = "imagenet"
    # Its data is in no memory, and its test images cannot all be attacked.
    evaluated: ClassVar[bool] = False
    downloads: ClassVar[bool] = False

    def __post_init__(self):
        given = {name: value for name, value in self._settings().items() if value is not None}
        check(dataclasses.replace(of_preset(given.pop("preset")), **given))

    @property
    def name(self) -> str:
        """The name of the run's folder: all settings that are not the paper's, and seed."""
        words = ["imagenet", self.preset]
        if self.spatial is not None:
            words.append(f"as_{self.spatial}")
        for name, letter, default in (("batch_size", "b", 2048), ("image_size", "px", 224)):
            if getattr(self, name) != default:
                words.append(f"{letter}{getattr(self, name)}")
        words += [f"steps{self.steps}"] if self.steps is not None else []
        return "-".join([*words, f"e{self.epochs}", f"s{self.seed}"])

    def train_arguments(self) -> list[str]:
        """Returns the settings as arguments of `recipes.imagenet`."""
        return command_words(self._settings())

    def _settings(self):
        recipe = Arguments()
        warmup_epochs = recipe.warmup_epochs * self.epochs / recipe.epochs
        return dataclasses.asdict(self) | {"warmup_epochs": warmup_epochs}


@dataclasses.dataclass(frozen=True)
class ImageNetGrid:
    """Settings of which every combination is a run of `recipes.imagenet`; see `Grid`."""

    presets: tuple[str, ...]
    spatials: tuple[str | None, ...] = (None,)
    seeds: tuple[int, ...] = (0,)
    epochs: tuple[int, ...] = (300,)
    batch_sizes: tuple[int, ...] = (2048,)
    image_sizes: tuple[int, ...] = (224,)
    steps: tuple[int | None, ...] = (None,)

    def cells(self) -> list[ImageNetCell]:
        """Returns the runs; those of the first seed first."""
        return [
            ImageNetCell(preset, spatial, epochs, batch_size, image_size, steps, seed)
            for seed, preset, spatial, epochs, batch_size, image_size, steps in itertools.product(
                self.seeds, self.presets, self.spatials, self.epochs, self.batch_sizes,
                self.image_sizes, self.steps,
            )
        ]  # fmt: skip
