"""Copies any model with linear combinations of random filters as its spatial convolutions."""

import math

import keras
import numpy as np

from keras_lc import bases
from keras_lc.bases import Basis
from keras_lc.layers.basis_conv import check_expansion, check_rank
from keras_lc.layers.initializers import GroupIdentity
from keras_lc.layers.own_kernel import keras_base
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.surgery.replace import paths_within, replace, to_numpy
from keras_lc.surgery.spatial_convolutions import (
    FORMS,
    build_like,
    is_frozen_form,
    is_lc_form,
    is_plain,
    is_spatial,
    kernel_argument,
    kernel_of,
    warn_of_no_effect,
    without_kernel_arguments,
)

# Allowed error of a kernel, relative to its largest number. Rounding the combination to float32
# costs 1e-5 if the basis has just enough filters, and 1e-7 if it has at least a tenth more.
_TOLERANCE = 1e-3


def to_lc(
    model: keras.Model,
    expansion: int = 1,
    frozen: bool = True,
    compact: bool = False,
    seed: int | None = None,
    keep_kernels: bool = False,
    basis: str | Basis = "uniform",
    rank: int | None = None,
) -> keras.Model:
    """Copies a model and replaces each spatial convolution with an LC layer.

    Each `Conv2D` (or `FrozenConv2D`) with a kernel larger than 1×1, also in the stem, becomes a
    `keras_lc.LCConv2D` with the same name, options and bias. So do all convolutions of Keras in
    1D, 2D and 3D, also depthwise and transposed ones: `DepthwiseConv2D` becomes a
    `keras_lc.LCDepthwiseConv2D`. A `kernel_regularizer` becomes the `combination_regularizer`. All
    other layers stay unchanged, also LC layers. If the copy has no LC layer, a warning says so.

    Separable convolutions also stay unchanged and trained: the 1×1 convolution in them already
    combines their filters, as an LC layer would do. To freeze their filters, call
    `freeze_spatial(to_lc(model, expansion))`, which does not change the LC layers.

    With `basis="kernels"` there are no random filters: the basis of a layer is its own kernel, and
    the combination starts as the identity. So the copy computes what the model does. Only the
    combinations of the filters are trained, `filters²` numbers for each layer without groups
    instead of `height * width * channels * filters`. Use it for pretrained networks. In a depthwise
    convolution each channel combines only its own filters, so with one filter for each channel the
    combination is a factor for each. For separable convolutions, call `freeze_spatial` with
    `keep_kernels=True` on the copy.

    Args:
        model: A Functional or Sequential model that is built. It does not change.
        expansion: Integer, the number of random filters per output channel.
        frozen: Boolean, whether the random filters are never trained.
        compact: Boolean, whether the layers use the compact form; see `keras_lc.LCConv2D`.
        seed: Integer, the seed of all random filters. The filters of a layer depend on the seed
            and on the layer's path of names, as in `freeze_spatial`. `None` draws a seed.
        keep_kernels: Boolean, whether to start from the model's own kernels. The combinations are
            then the least-squares solution for these kernels, so that the copy computes
            what the model does. `False` starts from random combinations, PyTorch's default.
        basis: Name of a basis, or a `keras_lc.bases.Basis`: what the random filters are; see
            `keras_lc.spatial.LC`. Or `"kernels"`: the model's own kernels. A file then holds them.
        rank: Integer, the number of random filters of each layer, in place of `expansion`. For a
            depthwise convolution, it is their number for each channel.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: If `keep_kernels=True` and a layer has too few random filters for its kernel:
            `filters * expansion < height * width * channels`. The message names the smallest
            expansion that is enough. If the copy's kernel differs by more than 1e-3 of its
            largest number. If `basis="kernels"` is used with `compact=True`, or with another number
            of filters than the kernels have. If a spatial convolution has a constraint of its
            kernel or is a subclass (it may compute something else). If a layer or a subclassed
            model hides one.

    Example:

    >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(16, 3)])
    >>> converted = keras_lc.to_lc(model, expansion=4, seed=0, keep_kernels=True)
    >>> images = np.random.default_rng(0).uniform(size=(1, 32, 32, 3))
    >>> bool(np.allclose(model.predict(images, verbose=0),
    ...                  converted.predict(images, verbose=0), atol=1e-5))
    True

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """
    expansion, seed = check_expansion(expansion), resolve_seed(seed)
    rank = check_rank(rank, expansion)
    own_kernels = isinstance(basis, str) and basis == _OWN_KERNELS
    if own_kernels:
        _refuse_other_filters(expansion, rank, compact)
    else:
        basis = bases.get(basis)
    paths = paths_within(model)
    _refuse_what_does_not_convert(model, paths)
    if not any(_is_converted(layer) or _combines(layer) for layer in paths):
        warn_of_no_effect("to_lc", model, "convolution of more than one pixel")
    if keep_kernels and not own_kernels:
        _check_ranks(paths, expansion, rank)
    options = dict(
        expansion=expansion,
        rank=rank,
        frozen=frozen,
        compact=compact,
    )

    def lc(layer):
        if not _is_converted(layer):
            return None
        path = paths[layer]
        config = _plain_config(layer)
        twin = FORMS[keras_base(layer)].lc.from_config(
            without_kernel_arguments(config)
            | options
            | {
                "combination_regularizer": kernel_argument(config, "regularizer"),
                "seed": derive_seed(seed, path),
            }
            | (_kernel_as_basis(layer, config) if own_kernels else {"basis_initializer": basis})
        )
        build_like(twin, layer)
        if own_kernels and layer.built:
            twin.set_basis(to_numpy(layer.kernel))
        elif keep_kernels and layer.built:
            _take_over_kernel(twin, layer, path)
        return [twin]

    return replace(model, lc)


def _is_converted(layer):
    # By exact type: a subclass may compute something else.
    return (is_plain(layer) or is_frozen_form(layer)) and is_spatial(layer)


def _combines(layer):
    return getattr(layer, "combination", None) is not None


def _plain_config(layer):
    return keras_base(layer).get_config(layer)


def _refuse_what_does_not_convert(model, paths):
    convolutions = {
        layer: path
        for layer, path in paths.items()
        if isinstance(layer, tuple(FORMS)) and is_spatial(layer)
    }
    reasons = []
    subclasses = {
        f"{path} ({type(layer).__name__})": keras_base(layer).__name__
        for layer, path in convolutions.items()
        if not _is_converted(layer) and not is_lc_form(layer)
    }
    if subclasses:
        reasons.append(
            f"{', '.join(subclasses)}: a subclass of {' or '.join(sorted({*subclasses.values()}))} "
            "may compute something else."
        )
    constrained = [
        path
        for layer, path in convolutions.items()
        if _is_converted(layer) and kernel_argument(_plain_config(layer), "constraint") is not None
    ]
    if constrained:
        reasons.append(
            f"{', '.join(constrained)}: a `kernel_constraint` has no meaning for an LC layer, "
            "because its kernel is a product. Build the model without the constraint."
        )
    if reasons:
        raise ValueError(
            f"These layers of model '{model.name}' cannot become LC layers. " + " ".join(reasons)
        )


# --- The model's own kernels ---

_OWN_KERNELS = "kernels"


def _refuse_other_filters(expansion, rank, compact):
    given = {"expansion": expansion, "rank": rank, "compact": compact}
    if (expansion, rank, compact) != (1, None, False):
        received = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ValueError(
            "With `basis='kernels'` the basis is the kernel, so it has as many filters as the "
            "kernel and no compact form: leave out `expansion`, `rank` and `compact`. "
            f"Received: {received}"
        )


def _kernel_as_basis(layer, config):
    """Returns the arguments of an LC layer that starts with its basis as its kernel."""
    if is_frozen_form(layer):
        filters = {"seed": layer.seed, "basis_initializer": layer.basis_initializer}
    else:
        # With the Keras initializer of the kernel, a file holds the basis and not a seed.
        filters = {"basis_initializer": kernel_argument(config, "initializer")}
    return filters | {"combination_initializer": GroupIdentity()}


def _check_ranks(paths, expansion, rank):
    name, given = ("expansion", expansion) if rank is None else ("rank", rank)
    too_few = {}
    for layer, path in paths.items():
        if _is_converted(layer) and layer.built:
            *shape, filters = kernel_of(layer).shape
            groups = getattr(layer, "groups", 1)
            # Filters and numbers of a group, times the groups.
            numbers = math.prod(shape) * groups
            if hasattr(layer, "depth_multiplier"):
                filters = layer.depth_multiplier
            smallest = math.ceil(numbers / filters) if rank is None else numbers
            if smallest > given:
                too_few[path] = smallest
    if too_few:
        raise ValueError(
            "`keep_kernels=True` needs at least as many random filters as a filter has weights: "
            "`filters * expansion >= height * width * channels`. Received: "
            f"{name}={given}, too small for "
            + ", ".join(f"{path} (needs {smallest})" for path, smallest in too_few.items())
            + f". The smallest {name} for all of them is {max(too_few.values())}; one more "
            "keeps two more digits."
        )


def _take_over_kernel(twin, layer, path):
    kernel = to_numpy(layer.kernel)
    twin.combination.assign(twin.combination_for(kernel))
    error = np.abs(to_numpy(twin.kernel).astype("float64") - kernel).max()
    largest = np.abs(kernel).max()
    if not error <= _TOLERANCE * largest:
        raise ValueError(
            f"The kernel of layer '{path}' (largest value {largest:.3g}) cannot be built from its "
            f"random filters. The best combination in {twin.variable_dtype} has an error of "
            f"{error:.3g}. Use another `seed` or a larger `expansion`."
        )
