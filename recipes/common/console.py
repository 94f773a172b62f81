"""How commands print. No Keras."""

from rich.console import Console


def plain_console(**options) -> Console:
    """Returns a console that prints text unchanged, without markup or emoji."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def duration(seconds: float) -> str:
    """Returns a duration as readable text: 45 s, 12 min, 3 h 20 min, 2 d 3 h."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} d {minutes // 60 % 24} h"
