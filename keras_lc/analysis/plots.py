"""Pictures of a training run and of what a network learned. Need matplotlib."""

import os
import pathlib

import keras
import numpy as np

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_TRAINING, _TEST, _RATE = "#0072B2", "#D55E00", "#009E73"


def plot_curves(history: dict, path: str | os.PathLike, title: str = "") -> pathlib.Path:
    """Draws loss and accuracy over the epochs, and saves the picture.

    Args:
        history: Dict of lists, one value an epoch: `loss`, `accuracy` and, if the run was
            validated, `val_loss` and `val_accuracy`; as `keras.callbacks.History.history`.
        path: Path of the PNG.
        title: String above the picture.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    epochs = np.arange(1, len(history["loss"]) + 1)
    # A single epoch has a point and no line.
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


def plot_filters(
    model: keras.Model, path: str | os.PathLike, layer: str | None = None, count: int = 16
) -> pathlib.Path:
    """Draws combined filters of a layer beside filters of its random basis.

    Args:
        model: A model with `keras_lc.LCConv2D` layers.
        path: Path of the PNG.
        layer: Name of an `LCConv2D` layer. Defaults to the first one. A layer with 3 input
            channels is drawn in colour, of any other its first channel.
        count: Integer, the number of filters of each kind at the most.

    Returns:
        The path.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If the model has no such layer.
    """
    combining = {found.name: found for found in model.layers if hasattr(found, "combination")}
    if not combining or (layer is not None and layer not in combining):
        raise ValueError(
            f"`layer` must name an LCConv2D layer of the model, which has {sorted(combining)}. "
            f"Received: layer={layer!r}"
        )
    chosen = combining[layer] if layer else next(iter(combining.values()))
    plt = _pyplot()
    figure = plt.figure(figsize=(9, 4.9), layout="constrained")
    kind = "random, frozen" if chosen.frozen else "learned"
    halves = figure.subfigures(1, 2, wspace=0.06)
    for half, values, title in (
        (halves[0], chosen.random_filters(), f"{kind} basis ({chosen.basis_filters} filters)"),
        (halves[1], chosen.kernel, f"trained combinations ({chosen.filters} filters)"),
    ):
        values = keras.ops.convert_to_numpy(values)
        tiles = min(count, values.shape[-1])
        side = int(np.ceil(np.sqrt(tiles)))
        half.suptitle(title, fontsize=11)
        for place, axis in enumerate(half.subplots(side, side).flat):
            axis.set_axis_off()
            if place < tiles:
                _draw_filter(axis, values[..., place])
    figure.suptitle(f"{model.name}, layer {chosen.name}", fontsize=9, y=-0.01, va="top")
    return _save(figure, path)


def _draw_filter(axis, values):
    limit = np.abs(values).max() or 1.0
    if values.shape[-1] == 3:
        # Grey is zero in each colour.
        axis.imshow(0.5 + 0.5 * values / limit)
    else:
        axis.imshow(values[..., 0], cmap="PuOr", vmin=-limit, vmax=limit)


def _pyplot():
    try:
        import matplotlib
    except ImportError:
        raise ImportError('Pictures need matplotlib: `pip install "keras-lc[plots]"`.') from None
    matplotlib.use("Agg", force=False)
    import matplotlib.pyplot

    return matplotlib.pyplot


def _save(figure, path):
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
    _pyplot().close(figure)
    os.replace(temporary, path)
    return path
