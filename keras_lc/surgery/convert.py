"""Copies any model with linear combinations of random filters instead of spatial Conv2D."""

import math

import keras
import numpy as np

from keras_lc import bases
from keras_lc.bases import Basis
from keras_lc.layers import FrozenConv2D, LCBlock, LCConv2D
from keras_lc.layers.accelerated import keras_class
from keras_lc.layers.basis_conv2d import check_expansion, check_rank
from keras_lc.layers.compact_basis import by_group, from_groups
from keras_lc.layers.initializers import GroupIdentity
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.surgery.replace import paths_within, replace, to_numpy
from keras_lc.surgery.spatial_convolutions import (
    build_like,
    is_spatial,
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
    """Copies a model and replaces each spatial Conv2D with an LCConv2D.

    Each `Conv2D` (or `FrozenConv2D`) with a kernel larger than 1×1, also in the stem, becomes a
    `keras_lc.LCConv2D` with the same name, options and bias. A `kernel_regularizer` becomes the
    `combination_regularizer`. All other layers stay unchanged, also LC layers. If the copy has no
    LC layer, a warning says so.

    Depthwise and separable convolutions also stay unchanged and trained: the 1×1 convolution
    after them already combines their outputs, as an LC layer would do. To freeze them, call
    `freeze_spatial(to_lc(model, expansion))`, which does not change the LC layers.

    With `basis="kernels"` there are no random filters: the basis of a layer is its own kernel, and
    the combination starts as the identity. So the copy computes what the model does. Only the
    combinations of the filters are trained, `filters²` numbers for each layer without groups
    instead of `height * width * channels * filters`. Use it for pretrained networks. To keep the
    filters of depthwise convolutions too, call
    `freeze_spatial(to_lc(model, basis="kernels"), keep_kernels=True)`.

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
        rank: Integer, the number of random filters of each layer, in place of `expansion`.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: If `keep_kernels=True` and a layer has too few random filters for its kernel:
            `filters * expansion < height * width * channels`. The message names the smallest
            expansion that is enough. If the copy's kernel differs by more than 1e-3 of its
            largest number. If `basis="kernels"` is used with `compact=True`, or with another number
            of filters than the kernels have. If a spatial Conv2D has a `kernel_constraint` or is a
            subclass (it may compute something else). If a layer or a subclassed model hides a
            spatial Conv2D.

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
    if not any(_is_converted(layer) or isinstance(layer, LCConv2D | LCBlock) for layer in paths):
        warn_of_no_effect("to_lc", model, "Conv2D of more than one pixel")
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
        config = keras.layers.Conv2D.get_config(layer)
        twin = LCConv2D.from_config(
            without_kernel_arguments(config)
            | options
            | {
                "combination_regularizer": config["kernel_regularizer"],
                "seed": derive_seed(seed, path),
            }
            | (_kernel_as_basis(layer) if own_kernels else {"basis_initializer": basis})
        )
        build_like(twin, layer)
        if own_kernels and layer.built:
            twin.basis.assign(to_numpy(layer.kernel))
        elif keep_kernels and layer.built:
            _take_over_kernel(twin, layer, path)
        return [twin]

    return replace(model, lc)


def _is_converted(layer):
    # By exact type: a subclass may compute something else.
    return keras_class(layer) in (keras.layers.Conv2D, FrozenConv2D) and is_spatial(layer)


def _refuse_what_does_not_convert(model, paths):
    convolutions = {
        layer: path
        for layer, path in paths.items()
        if isinstance(layer, keras.layers.Conv2D) and is_spatial(layer)
    }
    reasons = []
    subclasses = [
        f"{path} ({type(layer).__name__})"
        for layer, path in convolutions.items()
        if not _is_converted(layer) and type(layer) is not LCConv2D
    ]
    if subclasses:
        reasons.append(f"{', '.join(subclasses)}: a subclass of Conv2D may compute something else.")
    constrained = [
        path
        for layer, path in convolutions.items()
        if _is_converted(layer) and layer.kernel_constraint is not None
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


def _kernel_as_basis(layer):
    """Returns the arguments of an LC layer that starts with its basis as its kernel."""
    arguments = {"combination_initializer": GroupIdentity(layer.groups)}
    if isinstance(layer, FrozenConv2D):
        return arguments | {"seed": layer.seed, "basis_initializer": layer.basis_initializer}
    # With the Keras initializer of the kernel, a file holds the basis and not a seed.
    return arguments | {"basis_initializer": layer.kernel_initializer}


def _check_ranks(paths, expansion, rank):
    name, given = ("expansion", expansion) if rank is None else ("rank", rank)
    too_few = {}
    for layer, path in paths.items():
        if _is_converted(layer) and layer.built:
            *area, channels, filters = layer.kernel.shape
            # Filters and numbers of a group, times the groups.
            numbers = math.prod(area) * channels * layer.groups
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
    twin.combination.assign(_solve_combination(to_numpy(twin.basis), kernel, layer.groups))
    error = np.abs(to_numpy(twin.kernel).astype("float64") - kernel).max()
    largest = np.abs(kernel).max()
    if not error <= _TOLERANCE * largest:
        raise ValueError(
            f"The kernel of layer '{path}' (largest value {largest:.3g}) cannot be built from its "
            f"random filters. The best combination in {twin.variable_dtype} has an error of "
            f"{error:.3g}. Use another `seed` or a larger `expansion`."
        )


def _solve_combination(basis, kernel, groups):
    """Returns the least-squares solution `C` of `basis · C = kernel` in each group."""
    basis = by_group(basis.astype("float64"), groups)
    transposed = basis.transpose(0, 2, 1)
    # The Gram matrix squares the condition number, to 1e8 at worst. In float64 the error is then
    # 1e-8, below float32's rounding. A factorization of the basis would take ten times as long.
    dual = np.linalg.solve(basis @ transposed, by_group(kernel.astype("float64"), groups))
    return from_groups(transposed @ dual, (-1, kernel.shape[-1]))
