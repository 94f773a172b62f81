"""What commands print on. Without Keras."""

from rich.console import Console


def plain_console(**options) -> Console:
    """Returns a console that prints text as it is: no path is markup, and no `:x:` an emoji."""
    return Console(markup=False, emoji=False, highlight=False, **options)
