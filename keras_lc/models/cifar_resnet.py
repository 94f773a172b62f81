"""The ResNets for small images (He et al., 2015, Section 4.2), with any spatial operator."""

import numbers
from collections.abc import Sequence

import keras
import numpy as np

from keras_lc import spatial as spatial_operators
from keras_lc.bases import Basis
from keras_lc.layers.axes import standardize_data_format
from keras_lc.models.classifier import Classifier
from keras_lc.models.ends import classifier_head, image_input
from keras_lc.models.residual import Builder
from keras_lc.seeds import resolve_seed
from keras_lc.spatial import SpatialOperator
from keras_lc.types import Activation, Shape

_STAGES = 3


def CIFARResNet(
    depth: int = 20,
    width: int = 16,
    spatial: str | SpatialOperator = "learned",
    kernel_size: int = 3,
    input_shape: Shape = (32, 32, 3),
    classes: int = 10,
    include_preprocessing: bool = True,
    mean: float | Sequence[float] | np.ndarray | None = None,
    std: float | Sequence[float] | np.ndarray | None = None,
    augmentation: str | keras.layers.Layer | None = "crop_flip",
    classifier_activation: Activation = None,
    data_format: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> Classifier:
    """ResNet for small images: a stem and three stages of basic blocks, of any width.

    The geometry is PyTorch's: spatial operators pad `kernel_size // 2` on every side, and
    shortcuts are 1×1 convolutions where the shape changes. `fit` without `compile` follows the LC
    paper (Appendix A).

    Args:
        depth: Integer, `6n + 2` for n blocks per stage: 8, 14, 20, 26, 32, …
        width: Integer, the channels of the first stage. The second stage has twice as many, the
            third four times as many.
        spatial: Spatial operator, used everywhere, also in the stem: `"learned"`, `"frozen"`,
            `"lc"`, or an operator such as `keras_lc.spatial.LC(expansion=8)`.
        kernel_size: Odd integer, the size of all spatial operators, in pixels.
        input_shape, classes, include_preprocessing, mean, std, augmentation,
        classifier_activation, data_format, seed: As for all networks; see `keras_lc.models`.
        name: String. Defaults to a name in the paper's style that shows width, operator and
            kernel size: `resnet_lc_20_16x128`, `resnet_20_16_frozen`,
            `resnet_lc_learnable_20_16x8_k5`. A compact network has the name of the full one.

    Returns:
        A `Classifier`: a `keras.Model` with a default recipe in `fit`.

    Input shape: `(batch, height, width, channels)`, images with values in [0, 255].

    Output shape: `(batch, classes)`, logits.

    Example:

    >>> model = keras_lc.CIFARResNet(depth=20, spatial="learned")
    >>> sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    272474

    Reference:

    - [Deep Residual Learning for Image Recognition](https://arxiv.org/abs/1512.03385)
    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """

    spatial = spatial_operators.get(spatial)
    blocks = _blocks_per_stage(depth)
    if not isinstance(width, numbers.Integral) or width < 1:
        raise ValueError(f"`width` must be an integer of at least 1. Received: width={width!r}")
    if not isinstance(kernel_size, numbers.Integral) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            "`kernel_size` must be an odd integer, so that all sides get the same padding. "
            f"Received: kernel_size={kernel_size!r}"
        )
    # Keras cannot store NumPy's integers in a config.
    width, kernel_size = int(width), int(kernel_size)
    seed = resolve_seed(seed)
    data_format = standardize_data_format(data_format)

    inputs, x = image_input(
        input_shape, include_preprocessing, mean, std, augmentation, seed, data_format
    )

    def topology(x, spatial):
        build = Builder(spatial, kernel_size, seed, data_format)
        x = build.for_stem(kernel_size).spatial_conv(x, width, 1, "stem_conv")
        x = build.batch_norm(x, "stem_bn")
        x = keras.layers.ReLU(name="stem_relu")(x)
        for stage in range(_STAGES):
            for block in range(blocks):
                strides = 2 if stage > 0 and block == 0 else 1
                name = f"stage{stage + 1}_block{block}"
                x = build.basic_block(x, width * 2**stage, strides, name)
        return x

    x = topology(x, spatial.for_network(topology, x, seed))
    outputs = classifier_head(x, classes, classifier_activation, seed, data_format)
    if name is None:
        name = spatial.network_name("resnet", str(depth), str(width))
        name += "" if kernel_size == 3 else f"_k{kernel_size}"
    return Classifier(inputs, outputs, seed=seed, name=name)


def ResNetLC(
    depth: int = 20,
    width: int = 16,
    expansion: int = 1,
    kernel_size: int = 3,
    frozen: bool = True,
    compact: bool = False,
    between: str | None = None,
    shared_basis: bool = False,
    input_shape: Shape = (32, 32, 3),
    classes: int = 10,
    seed: int | None = None,
    *,
    include_preprocessing: bool = True,
    mean: float | Sequence[float] | np.ndarray | None = None,
    std: float | Sequence[float] | np.ndarray | None = None,
    augmentation: str | keras.layers.Layer | None = "crop_flip",
    classifier_activation: Activation = None,
    data_format: str | None = None,
    name: str | None = None,
    basis: str | Basis = "uniform",
    rank: int | None = None,
) -> Classifier:
    """ResNet-LC of the LC paper: a `CIFARResNet` with linear combinations of random filters.

    Args:
        depth: Integer, `6n + 2` for n blocks per stage.
        width: Integer, the channels of the first stage.
        expansion: Integer, the number of random filters per output channel.
        kernel_size: Odd integer, in pixels.
        frozen: Boolean, whether the random filters are never trained.
        compact: Boolean, whether to use the compact form. It trains the same network at the cost
            of a plain one; see `keras_lc.LCConv2D`.
        between: `None`, `"relu"`, `"bn"` or `"bn_relu"`: the layers between the random filters
            and their combination (Appendix C).
        shared_basis: Boolean, whether all layers take their random filters from one tensor. Its
            size is the size of the largest basis; see `keras_lc.layers.SharedBasis`.
        input_shape, classes, seed, include_preprocessing, mean, std, augmentation,
        classifier_activation, data_format, name: As of all networks; see `keras_lc.models`.
        basis: Name of a basis, or a `keras_lc.bases.Basis`: what the random filters are; see
            `keras_lc.spatial.LC`.
        rank: Integer, the number of random filters of each layer, in place of `expansion`.

    Returns:
        A `Classifier` with a name as in the paper, such as `resnet_lc_20_16x128`.

    Example:

    >>> model = keras_lc.ResNetLC(depth=20, expansion=4, frozen=True)
    >>> model.name
    'resnet_lc_20_16x4'

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """
    return CIFARResNet(
        depth=depth,
        width=width,
        spatial=spatial_operators.LC(
            expansion=expansion,
            frozen=frozen,
            compact=compact,
            between=between,
            shared=shared_basis,
            basis=basis,
            rank=rank,
        ),
        kernel_size=kernel_size,
        input_shape=input_shape,
        classes=classes,
        include_preprocessing=include_preprocessing,
        mean=mean,
        std=std,
        augmentation=augmentation,
        classifier_activation=classifier_activation,
        data_format=data_format,
        seed=seed,
        name=name,
    )


def _blocks_per_stage(depth):
    if not isinstance(depth, numbers.Integral) or depth < 8 or (depth - 2) % 6:
        raise ValueError(f"`depth` must be 6n + 2: 8, 14, 20, 26, 32, … Received: depth={depth!r}")
    return (depth - 2) // 6
