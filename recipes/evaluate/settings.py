"""The settings of the attacks on finished runs. No Keras."""

import dataclasses

from ..common.command_line import command_words
from ..common.settings import Must, at_least

_MUST = {
    "attack_images": at_least(1),
    "epsilon": Must(" must be from 0 to 255.", lambda value: 0 <= value <= 255),
    "pgd_steps": at_least(0),
    "pgd_restarts": at_least(1),
}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The settings of the attacks on finished runs."""

    attack_images: int | None = None
    """Number of test images to attack, the same number of each class. Defaults to all."""
    epsilon: float = 1.0
    """Radius of the attacks, in grey levels (0 to 255)."""
    pgd_steps: int = 0
    """Steps of PGD, a stronger and slower attack. 0: FGSM only."""
    pgd_restarts: int = 1
    """Random starts of PGD for each image."""

    def check(self) -> None:
        """Raises `ValueError` for settings that are not allowed."""
        for name, must in _MUST.items():
            must.check(name, getattr(self, name))

    def arguments(self) -> list[str]:
        """Returns the settings as arguments of `recipes.evaluate`."""
        return command_words(dataclasses.asdict(self))
