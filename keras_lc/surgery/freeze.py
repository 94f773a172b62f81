"""Copies any model with random spatial convolutions that are never trained."""

import keras

from keras_lc import bases
from keras_lc.bases import Basis
from keras_lc.layers.accelerated import keras_class
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.surgery.replace import paths_within, replace, to_numpy
from keras_lc.surgery.spatial_convolutions import (
    FORMS,
    SEPARABLE,
    build_like,
    is_plain,
    is_spatial,
    kernel_argument,
    starts_spatial,
    warn_of_no_effect,
    without_kernel_arguments,
)


def freeze_spatial(
    model: keras.Model,
    seed: int | None = None,
    basis: str | Basis = "uniform",
    keep_kernels: bool = False,
) -> keras.Model:
    """Copies a model and replaces its spatial convolutions with frozen ones, random by default.

    This is the experiment of Section 3 of the LC paper, for any Keras model. Each convolution
    with a kernel larger than 1×1 gets new random filters. Training never changes these filters.

    - `Conv2D` becomes `keras_lc.FrozenConv2D`,
    - `DepthwiseConv2D` becomes `keras_lc.layers.FrozenDepthwiseConv2D`,
    - `SeparableConv2D` becomes two layers: a `FrozenDepthwiseConv2D` named `{name}_depthwise`,
      and a trained 1×1 `Conv2D` with the layer's name and its pointwise weights,
    - in the same way, `Conv1D`, `Conv3D`, `Conv2DTranspose` and the others of one and three
      dimensions become `keras_lc.layers.FrozenConv1D` and so on.

    All other parts stay unchanged and trained: 1×1 convolutions, normalization, dense layers, and
    the biases of the frozen layers. Layers that are already frozen (also frozen LC layers) do not
    change, so freezing twice is the same as freezing once. Regularizers and constraints of the
    frozen kernels are removed. If the copy has no frozen layer, a warning says so.

    `keras_lc.analysis.lc_rate(model)` tells whether such training can work.

    Args:
        model: A Functional or Sequential model that is built. It does not change.
        seed: Integer, the seed of all filters. The filters of a layer depend on the seed and on
            the layer's path of names, not on the other layers. Give names to the layers of your
            own models: an automatic name such as `conv2d_7` depends on what was built before.
            `None` draws a seed.
        basis: Name of a basis, or a `keras_lc.bases.Basis`: what the random filters are; see
            `keras_lc.spatial.LC`. Layers that are already frozen keep theirs.
        keep_kernels: Boolean, whether the frozen filters are the model's own, in place of random
            ones. The copy then computes what the model does. Use it for pretrained networks, to
            train all but the spatial filters. A file then holds the filters in place of a seed.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: If the model has a spatial convolution without a frozen form: a `ConvLSTM2D`
            (the papers do not treat it), a subclass of a convolution (it may compute something
            else), or an LC layer with a learned basis. If a layer or a subclassed model hides a
            convolution. If `keep_kernels=True` is used with a `seed` or a `basis`.

    Example:

    >>> model = keras.Sequential(
    ...     [keras.Input((32, 32, 3)), keras.layers.Conv2D(8, 3), keras.layers.Conv2D(4, 1)]
    ... )
    >>> frozen = keras_lc.freeze_spatial(model, seed=0)
    >>> [variable.name for variable in frozen.trainable_variables]
    ['bias', 'kernel', 'bias']

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """
    if keep_kernels and (seed is not None or basis != "uniform"):
        raise ValueError(
            "`keep_kernels=True` draws no filters, so it takes no `seed` and no `basis`. "
            f"Received: seed={seed!r}, basis={basis!r}"
        )
    seed, basis = resolve_seed(seed), bases.get(basis)
    paths = paths_within(model)
    _refuse_others(model, paths)
    if not any(_is_replaced(layer) or _is_frozen(layer) for layer in paths):
        warn_of_no_effect("freeze_spatial", model, "convolution of more than one pixel")

    def frozen(layer):
        if not _is_replaced(layer):
            return None
        options = {"seed": derive_seed(seed, paths[layer]), "basis_initializer": basis}
        form = _frozen_separable if type(layer) in SEPARABLE else _frozen_form
        return form(layer, options, keep_kernels)

    return replace(model, frozen)


def _frozen_form(layer, options, keep):
    config = layer.get_config()
    # With the Keras initializer of the kernel, a file holds the filters and not the seed.
    own = {"basis_initializer": kernel_argument(config, "initializer")} if keep else {}
    twin = FORMS[keras_class(layer)].frozen.from_config(
        without_kernel_arguments(config) | options | own
    )
    build_like(twin, layer)
    if keep and layer.built:
        twin.set_basis(to_numpy(layer.kernel))
    return [twin]


def _frozen_separable(layer, options, keep):
    config = layer.get_config()
    shared = {key: config[key] for key in ("trainable", "dtype", "data_format")}
    geometry = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    plain_depthwise, plain_pointwise = SEPARABLE[type(layer)]
    depthwise = FORMS[plain_depthwise].frozen.from_config(
        {key: config[key] for key in geometry}
        | shared
        | {"name": f"{layer.name}_depthwise", "use_bias": False}
        | options
        | ({"basis_initializer": config["depthwise_initializer"]} if keep else {})
    )
    own = ("name", "filters", "activation", "use_bias", "activity_regularizer")
    pointwise = plain_pointwise.from_config(
        {key: value for key, value in config.items() if key in own or key.startswith("bias_")}
        | {f"kernel_{key}": config[f"pointwise_{key}"] for key in _KERNEL_ARGUMENTS}
        | shared
        | {"kernel_size": 1}
    )
    if layer.built:
        shape = layer.get_build_config()["input_shape"]
        depthwise.build(shape)
        if keep:
            depthwise.set_basis(to_numpy(layer.depthwise_kernel))
        pointwise.build(depthwise.compute_output_shape(shape))
        pointwise.kernel.assign(to_numpy(layer.pointwise_kernel))
        if layer.use_bias:
            pointwise.bias.assign(to_numpy(layer.bias))
    return [depthwise, pointwise]


_KERNEL_ARGUMENTS = ("initializer", "regularizer", "constraint")


def _is_replaced(layer):
    return (is_plain(layer) or type(layer) in SEPARABLE) and is_spatial(layer)


def _is_frozen(layer):
    return getattr(layer, "frozen", False)


def _refuse_others(model, paths):
    others = [
        f"{path} ({type(layer).__name__})"
        for layer, path in paths.items()
        if starts_spatial(layer) and not (_is_replaced(layer) or _is_frozen(layer))
    ]
    if others:
        raise ValueError(
            f"These spatial convolutions of model '{model.name}' have no frozen form: "
            f"{', '.join(others)}. Subclasses and recurrent convolutions have none. Build LC "
            "layers with `frozen=True`."
        )
