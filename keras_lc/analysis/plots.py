"""Draws training runs, sweeps and the filters of a network. Needs matplotlib.

All text in the pictures is plain: a `$` in a name is a dollar sign, not a formula.
"""

import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_lc.analysis.grad_cam import grad_cam
from keras_lc.analysis.runs import is_number, note_on_runs, summarize
from keras_lc.class_names import class_names_of
from keras_lc.files import whole_file
from keras_lc.listed import how_to_install, shown
from keras_lc.paths import user_path
from keras_lc.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_lc.classification import Answer

# Okabe and Ito's colours: colour-blind readers can distinguish them. Markers are for grey prints.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_TRAINING, _TEST = _COLOURS[:2]

# The width of a paper's column, in inches, and its text size.
_COLUMN = 3.4
_STYLE = {"font.size": 8, "legend.fontsize": 7.5, "axes.titlesize": 8}
# The longest name in a legend of two columns, in letters.
_HALF_A_COLUMN = 26

_MOST_ANSWERS = 200
# Letters below a picture.
_LONGEST_NAME = 26

# For each measurement or setting: the label of its axis, and the factor to its unit.
_AXES = {
    "expansion": ("expansion E", 1),
    "width": ("width (channels of the first stage)", 1),
    "depth": ("depth (layers)", 1),
    "kernel_size": ("kernel size (pixels)", 1),
    "epochs": ("training (epochs)", 1),
    "trained_parameters": ("trained parameters", 1),
    "test_accuracy": ("test accuracy (%)", 100),
    "robust_accuracy": ("accuracy under attack (%)", 100),
    "sparsity": ("filters that are off (%)", 100),
    "combination_sparsity": ("combination weights that are off (%)", 100),
    "variance_entropy": ("variance entropy", 1),
    "variance_entropy_normalized": ("variance entropy (random = 1)", 1),
    "effective_rank": ("effective rank", 1),
}


def plot_curves(history: dict, path: str | os.PathLike, title: str = "") -> pathlib.Path:
    """Draws loss and accuracy over the epochs, and saves the picture.

    Args:
        history: Dict of lists with one value per epoch, like `keras.callbacks.History.history`:
            `loss`, `accuracy` and, if the run was validated, `val_loss` and `val_accuracy`.
        path: Path of the PNG.
        title: String above the picture.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    plt = pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = np.arange(1, len(history["loss"]) + 1)
    # A single epoch needs a marker, because it has no line.
    marker = "o" if len(epochs) <= 30 else ""
    for axis, name, scale, label in (
        (axes[0], "loss", 1, "loss"),
        (axes[1], "accuracy", 100, "accuracy (%)"),
    ):
        for key, colour, which in ((name, _TRAINING, "training"), (f"val_{name}", _TEST, "test")):
            if key in history:
                values = scale * np.asarray(history[key])
                axis.plot(epochs, values, color=colour, label=which, marker=marker, markersize=3)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.suptitle(title)
    return _save(figure, path)


def plot_sweep(
    rows: Iterable[dict],
    path: str | os.PathLike,
    x: str,
    y: str,
    group: str | Sequence[str] | None = None,
    x_label: str | None = None,
    y_label: str | None = None,
    title: str = "",
) -> pathlib.Path:
    """Draws a measurement of many runs over one setting, with a line for each kind of run.

    Points are means over the seeds, and error bars are the sample standard deviation. If a run
    does not have the setting (`None`), such as the expansion of a plain network, it becomes a
    horizontal line.

    Args:
        rows: List of dicts, one per run, with its settings, its `seed` and its measurements.
        path: Path of the PNG.
        x: Key of a number for the horizontal axis: `"expansion"`, `"width"`, `"depth"`,
            `"kernel_size"`, `"trained_parameters"`, … The axis is logarithmic if the largest
            number is at least 8 times the smallest.
        y: Key of a number for the vertical axis, such as `"test_accuracy"`, or the `"…_gap"` of
            `gap`. Accuracies are shares in `rows`, and are drawn in percent.
        group: Key, or list of keys, of settings. Each combination of their values gets a line.
            Defaults to one line.
        x_label, y_label: Strings. Default to a label with the unit if keras_lc writes the key,
            otherwise to the key.
        title: String above the picture.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there is nothing to draw. If two runs of one point have the same seed: they
            differ in a setting that is neither `x` nor in `group`.

    Example:

    ```python
    keras_lc.analysis.plot_sweep(
        rows, "accuracy.png", x="expansion", y="test_accuracy", group="operator"
    )
    ```

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Figures 4, 5, 6, 8a
    """
    group = [] if group is None else [group] if isinstance(group, str) else list(group)
    points = summarize(rows, y, by=[*group, x])
    values = {point[x] for point in points} - {None}
    if not values or not all(map(is_number, values)):
        raise ValueError(
            "`x` must be the key of a number. "
            f"Received: x={x!r}, with the values {sorted(map(repr, values))}"
        )
    places = sorted(values)
    default_x, _ = _axis_of(x)
    default_y, scale = _axis_of(y)
    lines = {}
    for point in points:
        lines.setdefault(tuple(point[key] for key in group), []).append(point)

    plt = pyplot()
    with plt.rc_context(_STYLE):
        figure, axis = plt.subplots(figsize=(_COLUMN, 2.6), layout="constrained")
        handles = {
            _name_of(group, settings): _draw_line(axis, line, x, scale, number)
            for number, (settings, line) in enumerate(lines.items())
        }
        _mark_reference(axis, y)
        _set_scale(axis, places)
        axis.set_xlabel(x_label or default_x)
        axis.set_ylabel(y_label or default_y)
        axis.set_title(title)
        axis.grid(alpha=0.3, linewidth=0.5)
        if group:
            # Above the picture, because inside it would hide points and error bars.
            columns = 2 if max(map(len, handles)) <= _HALF_A_COLUMN else 1
            rows = -(-len(handles) // columns)
            figure.set_figheight(figure.get_figheight() + 0.16 * rows)
            figure.legend(
                handles.values(),
                handles,
                loc="outside upper center",
                ncols=columns,
                frameon=False,
            )
        figure.supxlabel(note_on_runs(points), fontsize=6.5, color="0.35")
        return _save(figure, path, dpi=240)


def plot_filters(
    model: keras.Model, path: str | os.PathLike, layer: str | None = None, count: int = 16
) -> pathlib.Path:
    """Draws combined filters of a layer next to filters of its random basis.

    Args:
        model: A model with `keras_lc.LCConv2D` layers.
        path: Path of the PNG.
        layer: Name of an `LCConv2D` layer. Defaults to the first one. A layer with 3 input
            channels is drawn in colour. For other layers, only the first channel is drawn.
        count: Integer, the largest number of filters of each kind.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If the model has no such layer.
    """
    combining = {found.name: found for found in model.layers if hasattr(found, "random_filters")}
    if not combining or (layer is not None and layer not in combining):
        raise ValueError(
            f"`layer` must name an LCConv2D layer of the model. The model has {sorted(combining)}. "
            f"Received: layer={layer!r}"
        )
    chosen = combining[layer] if layer else next(iter(combining.values()))
    kind = "random, frozen" if chosen.frozen else "learned"
    kernels = {
        f"{kind} basis\n{chosen.basis_filters} filters": chosen.random_filters(),
        f"trained combinations\n{chosen.filters} filters": chosen.kernel,
    }
    return plot_kernels(kernels, path, count, title=f"{model.name}, layer {chosen.name}")


def plot_kernels(
    kernels: dict, path: str | os.PathLike, count: int = 16, title: str = ""
) -> pathlib.Path:
    """Draws filters of several kernels side by side.

    Filters with 3 channels are drawn in colour, with grey for 0. For other filters, only the
    first channel is drawn, with white for 0, purple for positive and orange for negative values.
    Each filter has its own scale.

    Args:
        kernels: Dict from titles to kernels `(height, width, channels, filters)`, drawn in a row.
            Or a dict from the titles of several rows to such dicts.
        path: Path of the PNG.
        count: Integer, the largest number of filters of each kernel.
        title: String below the picture.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are no kernels, or one does not have 4 axes.

    Example:

    Random filters, and combinations of more and more of them (Figure 7 of the paper):

    ```python
    stems = [model.get_layer("stem_conv") for model in models]
    kernels = {"random": stems[0].random_filters()}
    kernels |= {f"E = {stem.expansion}": stem.kernel for stem in stems}
    keras_lc.analysis.plot_kernels(kernels, "filters.png")
    ```

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Figures 7 and 10
    """
    plt = pyplot()
    figure, panels = _panels(plt, kernels, "kernels", axes=4, panel=2.2)
    for axis, kernel in panels:
        axis.imshow(filter_mosaic(kernel, count), interpolation="nearest")
        axis.set_axis_off()
    figure.supxlabel(title, fontsize=8, color="0.35")
    return _save(figure, path, dpi=240)


def plot_spatial_variance(heatmaps: dict, path: str | os.PathLike, title: str = "") -> pathlib.Path:
    """Draws the variance of the weights at each position in the filters, on one scale.

    Args:
        heatmaps: Dict from titles to arrays `(height, width)` from `spatial_variance`, drawn in a
            row. Or a dict from the titles of several rows to such dicts.
        path: Path of the PNG.
        title: String below the picture.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are no heatmaps, or one does not have 2 axes.

    Example:

    ```python
    kernels = keras_lc.analysis.spatial_kernels(model).values()
    keras_lc.analysis.plot_spatial_variance(
        {"frozen, E = 128": keras_lc.analysis.spatial_variance(kernels)}, "variance.png"
    )
    ```

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Figure 8b
    """
    plt = pyplot()
    figure, panels = _panels(plt, heatmaps, "heatmaps", axes=2, panel=1.5)
    highest = max(values.max() for _, values in panels)
    for axis, values in panels:
        image = axis.imshow(values, cmap="cividis", vmin=0, vmax=highest)
        axis.set_xticks([])
        axis.set_yticks([])
        if max(values.shape) <= 5:
            _write_values(axis, values, highest)
    figure.colorbar(
        image,
        ax=[axis for axis, _ in panels],
        label="variance (layer's = 1)",
        shrink=0.85,
        pad=0.02,
    )
    figure.supxlabel(title, fontsize=8, color="0.35")
    return _save(figure, path, dpi=240)


def filter_mosaic(kernel: Array, count: int) -> np.ndarray:
    """Returns a picture of the first filters of a kernel, in a square with white gaps.

    Args:
        kernel: Array of shape `(height, width, channels, filters)`.
        count: Integer, the largest number of filters.

    Returns:
        An array of shape `(rows, columns, 3)` with values from 0 to 1.
    """
    pyplot()
    from matplotlib import colormaps

    kernel = keras.ops.convert_to_numpy(kernel).astype("float64")
    tiles = min(count, kernel.shape[-1])
    side = int(np.ceil(np.sqrt(tiles)))
    # Several points per weight, so that the gap can be thinner than a weight.
    points = max(1, 48 // max(kernel.shape[:2]))
    gap = 4
    height, width = (points * size + gap for size in kernel.shape[:2])
    mosaic = np.ones((-(-tiles // side) * height - gap, side * width - gap, 3))
    for place in range(tiles):
        values = kernel[..., place] if kernel.shape[2] == 3 else kernel[:, :, 0, place]
        tile = 0.5 + 0.5 * values / (np.abs(values).max() or 1.0)
        if tile.ndim == 2:
            tile = colormaps["PuOr"](tile)[..., :3]
        tile = tile.repeat(points, axis=0).repeat(points, axis=1)
        row, column = divmod(place, side)
        top, left = row * height, column * width
        mosaic[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return mosaic


def plot_grad_cam(
    model: keras.Model,
    x: Array,
    path: str | os.PathLike,
    classes: Array | None = None,
    class_names: Sequence[str] | None = None,
    layer: str | None = None,
) -> pathlib.Path:
    """Draws images with their Grad-CAM maps below, which show the evidence for a class.

    Each map has its own scale: yellow where a place says most for the class, black where it says
    least. See `keras_lc.analysis.grad_cam`.

    Args:
        model: A Functional or Sequential model from images to class scores.
        x: Array of images with values in [0, 255], in the model's layout.
        path: Path of the PNG.
        classes: Integer, or one integer for each image: the class to explain. Defaults to `None`:
            the class that the model predicts.
        class_names: Sequence of strings, the names of the classes for the picture. Defaults to
            `None`: the names that the model knows, if any.
        layer: String, the name of a layer. Its output is the feature map. Defaults to `None`: the
            last layer with rows and columns.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If an argument has a value that is not allowed, or the model has no such
            feature map.

    Example:

    ```python
    model = keras_lc.ResNet(50, spatial="hybrid")
    keras_lc.load_torch_weights(model, "resnet50_hybrid.pth")
    keras_lc.analysis.plot_grad_cam(model, images, "grad_cam.png")
    ```

    Reference:

    - [Learning Features with Parameter-Free Layers](https://arxiv.org/abs/2202.02777)
    """
    plt = pyplot()
    x = keras.ops.convert_to_numpy(x)
    if classes is None:
        classes = np.argmax(model.predict(x, verbose=0), axis=-1)
    maps = grad_cam(model, x, classes, layer)
    names = class_names_of(model) if class_names is None else class_names
    pictures = x if x.shape[-1] in (1, 3) else np.moveaxis(x, 1, -1)
    pictures = np.broadcast_to(np.clip(pictures / 255, 0, 1), (*pictures.shape[:3], 3))
    figure, axes = plt.subplots(
        2, len(x), figsize=(1.6 * len(x), 3.4), layout="constrained", squeeze=False
    )
    height, width = pictures.shape[1:3]
    for column, number in enumerate(np.broadcast_to(classes, len(x))):
        above, below = axes[:, column]
        above.imshow(pictures[column])
        name = names[number] if names is not None else f"class {number}"
        above.set_title(name, fontsize=_STYLE["axes.titlesize"])
        grey = pictures[column].mean(-1)
        below.imshow(grey, cmap="gray", vmin=0, vmax=1)
        lowest, highest = maps[column].min(), maps[column].max()
        below.imshow(
            maps[column],
            cmap="inferno",
            vmin=lowest,
            vmax=highest if highest > lowest else lowest + 1,
            alpha=0.6,
            interpolation="bilinear",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )
    for axis in axes.flat:
        axis.set_axis_off()
    figure.supxlabel(f"{model.name}, Grad-CAM", fontsize=8)
    return _save(figure, path)


def plot_answers(answers: "Sequence[Answer]", path: str | os.PathLike) -> pathlib.Path:
    """Draws pictures with the classes that a model gives them.

    Args:
        answers: Sequence of what `keras_lc.classify` returns, at most 200.
        path: Path of the PNG.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If there are no answers, or too many for a page.
    """
    plt = pyplot()
    if not 1 <= len(answers) <= _MOST_ANSWERS:
        raise ValueError(
            f"A page must have from 1 to {_MOST_ANSWERS} answers. Received: {len(answers)}"
        )
    columns = min(5, len(answers))
    rows = math.ceil(len(answers) / columns)
    lines = 1 + max(len(answer.names) for answer in answers)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(1.9 * columns, (1.9 + 0.16 * lines) * rows),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, answer in zip(axes.flat, answers, strict=False):
        axis.imshow(np.broadcast_to(answer.image, (*answer.image.shape[:2], 3)))
        pairs = zip(answer.names, answer.probabilities, strict=True)
        text = [_shortened(f"{probability:.0%} ", name) for name, probability in pairs]
        text.append(_shortened("", pathlib.PurePath(answer.picture).name))
        axis.set_title("\n".join(text), fontsize=_STYLE["axes.titlesize"], loc="left")
    return _save(figure, path)


def _shortened(begin, name):
    name = shown(name)
    return begin + (name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")


def _panels(plt, arrays, name, axes, panel):
    """Returns a figure, and its axes with the arrays to draw there."""
    rows = arrays if any(isinstance(row, dict) for row in arrays.values()) else {"": arrays}
    if not arrays or not all(isinstance(row, dict) and row for row in rows.values()):
        raise ValueError(
            f"`{name}` must be a dict from titles to arrays, or from titles of rows to such dicts. "
            f"Received: {name}={arrays!r}"
        )
    columns = max(map(len, rows.values()))
    figure, grid = plt.subplots(
        len(rows),
        columns,
        figsize=(panel * columns, panel * len(rows) + 0.3),
        layout="constrained",
        squeeze=False,
    )
    panels = []
    for (row_title, row), axes_of_row in zip(rows.items(), grid, strict=True):
        for axis in axes_of_row[len(row) :]:
            axis.remove()
        for axis, (title, values) in zip(axes_of_row, row.items(), strict=False):
            values = keras.ops.convert_to_numpy(values)
            if values.ndim != axes:
                plt.close(figure)
                raise ValueError(
                    f"Each of `{name}` must have {axes} axes. "
                    f"Received: shape {values.shape} for {title!r}"
                )
            axis.set_title(title, fontsize=9)
            panels.append((axis, values))
        # Not the label of the axis itself: it disappears if the axis is off.
        axes_of_row[0].annotate(
            row_title,
            (-0.08, 0.5),
            xycoords="axes fraction",
            rotation=90,
            ha="right",
            va="center",
            fontsize=9,
        )
    return figure, panels


def _write_values(axis, values, highest):
    for (row, column), value in np.ndenumerate(values):
        # Dark text on light colours.
        colour = "black" if value > 0.6 * highest else "white"
        axis.text(column, row, f"{value:.2f}", color=colour, ha="center", va="center", fontsize=7)


def _axis_of(key):
    if key.endswith("_gap"):
        label, scale = _axis_of(key.removesuffix("_gap"))
        return f"gap in {label.replace('(%)', '(% points)')}", scale
    return _AXES.get(key, (key.replace("_", " "), 1))


def _name_of(group, settings):
    """Returns the label of a line: its values, with the setting's name for plain numbers."""
    names = []
    for key, value in zip(group, settings, strict=True):
        # The setting does not apply.
        if value is None:
            continue
        name = key.replace("_", " ")
        if isinstance(value, bool):
            names.append(name if value else f"not {name}")
        else:
            names.append(f"{name} {value:g}" if is_number(value) else str(value))
    return ", ".join(names) or ", ".join(f"no {key.replace('_', ' ')}" for key in group)


def _draw_line(axis, line, x, scale, number):
    """Draws one line and returns its handle for the legend."""
    colour = _COLOURS[number % len(_COLOURS)]
    placed = sorted((point for point in line if point[x] is not None), key=lambda point: point[x])
    for point in line:
        if point[x] is None:
            mean, deviation = scale * point["mean"], scale * (point["deviation"] or 0)
            handle = axis.axhline(mean, color=colour, linestyle="--", linewidth=1.2)
            axis.axhspan(mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
    if placed:
        deviations = [scale * (point["deviation"] or 0) for point in placed]
        handle = axis.errorbar(
            [point[x] for point in placed],
            [scale * point["mean"] for point in placed],
            yerr=deviations if any(deviations) else None,
            color=colour,
            # Shifted against the colours, so that a pair repeats only after 49 lines.
            marker=_MARKERS[(number + number // len(_COLOURS)) % len(_MARKERS)],
            markersize=4,
            linewidth=1.2,
            capsize=2.5,
        )
    return handle


def _mark_reference(axis, y):
    if y.endswith("_gap"):
        axis.axhline(0, color="0.35", linewidth=0.8)
    elif y == "variance_entropy_normalized":
        axis.axhline(1, color="0.35", linewidth=0.8, linestyle=":")


def _set_scale(axis, places):
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, NullLocator

    logarithmic = places[0] > 0 and places[-1] / places[0] >= 8
    if logarithmic:
        axis.set_xscale("log")
    if len(places) <= 9 and places[-1] < 10_000:
        axis.set_xticks(places, [f"{place:g}" for place in places])
        axis.xaxis.set_minor_locator(NullLocator())
    elif places[-1] >= 10_000:
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        if logarithmic:
            close = places[-1] / places[0] < 100
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if close else (1,)))
            axis.xaxis.set_minor_formatter(NullFormatter())


def pyplot() -> ModuleType:
    """Imports matplotlib when a picture needs it. It opens no window."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError(f"Pictures need matplotlib. Run: {how_to_install('plots')}") from None
    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot

    return matplotlib.pyplot


def _save(figure, path, dpi=120):
    path = user_path(path)
    as_plain_text(figure)
    try:
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi, bbox_inches="tight")
    finally:
        pyplot().close(figure)
    return path


def as_plain_text(figure: "Figure") -> None:
    """Shows names in a figure as plain text, not as formulas. Axis numbers may be powers."""
    from matplotlib.axis import Tick
    from matplotlib.text import Text

    numbers = {id(text) for tick in figure.findobj(Tick) for text in tick.get_children()}
    for text in figure.findobj(Text):
        if id(text) not in numbers:
            text.set_parse_math(False)
