"""The filter metrics of all layers of a model."""

import keras
import numpy as np

from keras_lc.analysis.filter_metrics import (
    combination_sparsity,
    effective_rank,
    norms,
    orthogonality,
    sparsity,
    variance_entropy,
)
from keras_lc.surgery.replace import layers_within
from keras_lc.surgery.spatial_convolutions import is_spatial, kernel_of


def filter_report(model: keras.Model) -> list[dict]:
    """Returns the filter metrics of each spatial convolution of a model.

    The spatial convolutions have filters larger than one pixel: `Conv2D`, `DepthwiseConv2D`,
    `SeparableConv2D` (its depthwise part), `Conv2DTranspose`, `ConvLSTM2D` (the kernel for its
    input), those of one and three dimensions, and layers that equal one of these; see
    `keras_lc.layers.OwnKernel`. Those in nested
    models and in other layers count too. For an LC layer, the metrics are of the combined kernel,
    so they do not change if the model is folded. For an `LCBlock`, they are of the basis.

    Args:
        model: A Keras model that is built.

    Returns:
        A list of dicts with equal keys, in the order of the layers. `pandas.DataFrame(report)`
        makes a table of it.

        - `layer`: Path of the layer, such as `"nested/conv"` in a nested model.
        - `type`: Name of its class.
        - `kernel_size`: Such as `"3x3"`, in 1D `"3"`.
        - `channels`: Input channels of one filter; 1 for a depthwise convolution.
        - `filters`: Output channels.
        - `variance_entropy`, `variance_entropy_normalized` (`None` if not 3×3), `sparsity`,
          `orthogonality`, `effective_rank`: See the functions with these names.
        - `frobenius_norm`, `spectral_norm`: See `norms`.
        - `combination_sparsity`: See the function. `None` if the layer does not combine the
          random filters themselves (a plain or compact layer).

    Raises:
        ValueError: If a layer is not built, or its weights are not finite.

    Example:

    >>> report = filter_report(keras_lc.ResNetLC(depth=8, expansion=2, seed=0))
    >>> report[0]["layer"], report[0]["kernel_size"], report[0]["filters"]
    ('stem_conv', '3x3', 16)
    """
    combinations = _combinations(model)
    rows = []
    for path, layer in spatial_layers(model).items():
        combination = combinations.get(id(layer))
        try:
            metrics = _metrics(kernel_of(layer), combination)
        except ValueError as error:
            raise ValueError(f"Layer '{path}': {error}") from error
        rows.append({"layer": path, "type": type(layer).__name__, **metrics})
    return rows


def _combinations(model):
    """Returns the combinations of random filters, by the id of the layer with these filters."""
    found = {}
    for _, layer in layers_within(model):
        # A factored layer combines other filters than its random ones.
        if getattr(layer, "combination", None) is not None and not _is_factored(layer):
            holders = [layer, *(inner for _, inner in layers_within(layer))]
            found.update((id(holder), layer.combination) for holder in holders)
    return found


def _is_factored(layer):
    return getattr(layer, "is_factored", False)


def spatial_kernels(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns the kernels of the spatial convolutions of a model.

    Args:
        model: A Keras model that is built.

    Returns:
        A dict from the paths of the layers, as in `filter_report`, to arrays of shape
        `(height, width, channels/groups, filters)`, in 1D and 3D with one and three sides. For LC
        layers, they are the combined kernels.

    Raises:
        ValueError: If a layer is not built.

    Example:

    >>> kernels = spatial_kernels(keras_lc.ResNetLC(depth=8, expansion=2, seed=0))
    >>> kernels["stem_conv"].shape
    (3, 3, 3, 16)
    """
    return {path: kernel_of(layer) for path, layer in spatial_layers(model).items()}


def spatial_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns the spatial convolutions of a model by path, each once."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a Keras model. Received: model={model!r}")
    found = {}
    for path, layer in layers_within(model):
        is_part = path.startswith(tuple(f"{outer}/" for outer in found))
        if is_part or not is_spatial(layer):
            continue
        if not layer.built:
            raise ValueError(
                f"Layer '{path}' of model '{model.name}' has no weights yet. First call the model "
                "on data, or call `model.build(input_shape)`."
            )
        if any(layer is other for other in found.values()):
            continue
        # A layer may own two layers with the same name.
        twins = [other for other in found if other.partition("#")[0] == path]
        found[f"{path}#{len(twins) + 1}" if twins else path] = layer
    return found


def _metrics(kernel, combination):
    *area, channels, filters = kernel.shape
    norm = norms(kernel)
    return {
        "kernel_size": "x".join(map(str, area)),
        "channels": channels,
        "filters": filters,
        "variance_entropy": variance_entropy(kernel),
        "variance_entropy_normalized": (
            variance_entropy(kernel, normalize=True) if area == [3, 3] else None
        ),
        "sparsity": sparsity(kernel),
        "orthogonality": orthogonality(kernel),
        "effective_rank": effective_rank(kernel),
        "frobenius_norm": norm["frobenius"],
        "spectral_norm": norm["spectral"],
        "combination_sparsity": None if combination is None else combination_sparsity(combination),
    }
