"""How many numbers a ResNet for small images trains, and plain ones that train as many.

Without Keras.
"""

from ..sweep.grid import Cell, Grid

_CLASSES = 10


def trained_numbers(cell: Cell) -> int:
    """Returns how many numbers a `cifar_resnet` trains, plain or with frozen LC, on 10 classes."""
    blocks, area = (cell.depth - 2) // 6, cell.kernel_size**2
    stages = [cell.width, 2 * cell.width, 4 * cell.width]
    numbers, channels = _spatial(cell, 3, stages[0], area) + 2 * stages[0], stages[0]
    for filters in stages:
        # A convolution and its normalization.
        numbers += _spatial(cell, channels, filters, area) + 2 * filters
        numbers += (2 * blocks - 1) * (_spatial(cell, filters, filters, area) + 2 * filters)
        if channels != filters:
            numbers += (channels + 2) * filters
        channels = filters
    return numbers + (channels + 1) * _CLASSES


def _spatial(cell, channels, filters, area):
    if cell.operator != "lc_frozen":
        return area * channels * filters
    random_filters = filters * cell.expansion
    return filters * (min(random_filters, area * channels) if cell.compact else random_filters)


def as_large_as(grid: Grid) -> tuple[int, ...]:
    """Returns the widths of plain networks that train about as many numbers as LC networks.

    Args:
        grid: The LC networks.

    Returns:
        The nearest width for each of the networks, and their own, each once.
    """
    widths = set()
    for cell in grid.cells():
        if cell.width is None:
            continue
        plain = {
            width: trained_numbers(
                Cell(
                    operator="learned", depth=cell.depth, width=width, kernel_size=cell.kernel_size
                )
            )
            for width in range(1, cell.width + 1)
        }
        asked = trained_numbers(cell)
        widths |= {cell.width, min(plain, key=lambda width: abs(plain[width] - asked))}
    return tuple(sorted(widths)) or grid.widths
