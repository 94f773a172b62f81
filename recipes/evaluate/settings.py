"""How finished runs are attacked. Without Keras."""

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
    """How finished runs are attacked."""

    attack_images: int | None = None
    """Test images to attack, equally many of each class. Defaults to all."""
    epsilon: float = 1.0
    """Radius of the attacks, in grey levels of 255."""
    pgd_steps: int = 0
    """Steps of PGD, a stronger and slower attack; 0 for FGSM alone."""
    pgd_restarts: int = 1

    def check(self) -> None:
        """Raises `ValueError` for settings that cannot be."""
        for name, must in _MUST.items():
            must.check(name, getattr(self, name))

    def arguments(self) -> list[str]:
        """Returns the settings as arguments of `recipes.evaluate`."""
        return command_words(dataclasses.asdict(self))
