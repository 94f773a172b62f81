"""Names in error messages."""

import re
import unicodedata
from collections.abc import Iterable

_MOST = 5
# Invisible characters that count as printable: fillers, joiners, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def listed(names: Iterable[str], separator: str = ", ", most: int = _MOST) -> str:
    """Returns names for an error message: the first few, and the number of the others."""
    names = list(names)
    more = [f"and {len(names) - most:,} more"] if len(names) > most else []
    return separator.join(names[:most] + more)


def shown(name: str) -> str:
    """Returns a name. If its characters are not all visible, they are escaped."""
    plain = name.isprintable() and name == name.strip() and not _INVISIBLE.search(name)
    if plain and name and name == unicodedata.normalize("NFKC", name):
        return name
    return ascii(name)


def how_to_install(extra: str) -> str:
    """Returns the command that installs an extra, for an error message."""
    return f'pip install "keras-lc[{extra}]" (in a checkout: pip install -e ".[{extra}]")'
