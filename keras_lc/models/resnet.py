"""The ResNets for ImageNet and their low-resolution versions, with any spatial operator."""

import dataclasses
import numbers
from collections.abc import Sequence

import keras
import numpy as np

from keras_lc import spatial as spatial_operators
from keras_lc.layers.accelerated import MaxPooling2D
from keras_lc.layers.axes import standardize_data_format
from keras_lc.models.classifier import Classifier
from keras_lc.models.ends import classifier_head, image_input
from keras_lc.models.residual import Builder, drop_rates_of_stages
from keras_lc.seeds import resolve_seed
from keras_lc.spatial import SpatialOperator
from keras_lc.training.recipe import CIFAR, IMAGENET_A2
from keras_lc.types import Activation, Shape

# depth → the blocks of each stage
_BASIC = {14: (2, 2, 2), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_BOTTLENECKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_DEPTHS = sorted(_BASIC | _BOTTLENECKS)


@dataclasses.dataclass(frozen=True)
class _Variant:
    """What a variant changes.

    Args:
        family: String, the first part of the model's name.
        suffix: String, the part of the name after the depth.
        deep_stem: Boolean, whether the stem has three 3×3 convolutions instead of one 7×7.
        average_pool_shortcuts: Boolean.
        groups: Integer, the groups of the 3×3 convolution in bottlenecks.
        group_width: Integer, the channels per group in the first stage, for width 64.
    """

    family: str = "resnet"
    suffix: str = ""
    deep_stem: bool = False
    average_pool_shortcuts: bool = False
    groups: int = 1
    group_width: int = 64

    @property
    def is_for_bottlenecks(self):
        return (self.groups, self.group_width) != (1, 64)


_VARIANTS = {
    None: _Variant(),
    "d": _Variant(suffix="d", deep_stem=True, average_pool_shortcuts=True),
    "next": _Variant(family="resnext", suffix="_32x4d", groups=32, group_width=4),
    "wide": _Variant(family="wide_resnet", suffix="_2", group_width=128),
}


def ResNet(
    depth: int = 18,
    variant: str | None = None,
    spatial: str | SpatialOperator = "learned",
    low_resolution: bool = False,
    stem_pool: bool = True,
    width: int = 64,
    input_shape: Shape = (224, 224, 3),
    classes: int = 1000,
    include_preprocessing: bool = True,
    mean: float | Sequence[float] | np.ndarray | None = None,
    std: float | Sequence[float] | np.ndarray | None = None,
    augmentation: str | keras.layers.Layer | None = None,
    stochastic_depth: float = 0.0,
    classifier_activation: Activation = None,
    data_format: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> Classifier:
    """ResNet for ImageNet, or for small images with `low_resolution=True`.

    The geometry is torchvision's, and timm's for the variant "d", so
    `keras_lc.load_torch_weights` can load their weights. Spatial convolutions pad half their size
    on every side, and the 3×3 convolution of a bottleneck has the stride (v1.5). The initial
    weights follow PyTorch's default distribution, as in the LC paper.

    The spatial operator replaces every spatial convolution, also in the stem. A pool ("max",
    "average", "hybrid") or "depthwise" replaces only the spatial convolutions of bottlenecks; the
    stem stays a trained convolution.

    Args:
        depth: Integer: 18 or 34 (basic blocks), 26, 50 or 101 (bottlenecks; 26 is timm's). With
            `low_resolution=True` also 14 (basic blocks in three stages).
        variant: `None`; `"d"` for a stem of three 3×3 convolutions and shortcuts with an
            average-pool (He et al., 2019); `"next"` for bottlenecks with 32 groups of 4 channels
            (ResNeXt-32x4d); `"wide"` for bottlenecks of double width (Wide-ResNet-2).
        spatial: Spatial operator: `"learned"`, `"frozen"`, `"lc"`, `"max"`, `"average"`,
            `"depthwise"`, `"hybrid"`, or an operator such as `keras_lc.spatial.LC(expansion=8)`.
        low_resolution: Boolean, whether the stem's convolution is 3×3 with stride 1 and so keeps
            the image size. The max-pool of stride 2 stays, as in the LC paper's networks for
            small images.
        stem_pool: Boolean, whether a 3×3 max-pool of stride 2 follows the stem. Without it, the
            feature maps have four times as many pixels, and the network costs four times as much.
        width: Integer, the channels of the stem and the first stage. For `"next"` it must be a
            multiple of 64.
        stochastic_depth: Number, the rate for dropping the last residual branch in training (see
            `keras_lc.layers.StochasticDepth`). The rate grows linearly from 0 in the first block.
        input_shape, classes, include_preprocessing, mean, std, augmentation,
        classifier_activation, data_format, seed: As for all networks; see `keras_lc.models`.
        name: String. Defaults to a name in the papers' style: `resnet_lc_18d_x8`,
            `resnext_50_32x4d`, `resnet_50_max`.

    Returns:
        A `Classifier`: a `keras.Model` with a default recipe in `fit`. It is
        `keras_lc.training.CIFAR` with `low_resolution=True`, otherwise
        `keras_lc.training.IMAGENET_A2`.

    Raises:
        ValueError: If depth, variant or their combination does not exist, or if a pool is asked
            for in basic blocks.

    Input shape: `(batch, height, width, channels)`, images with values in [0, 255].

    Output shape: `(batch, classes)`, logits.

    Example:

    >>> model = keras_lc.ResNet(18, variant="d", spatial=keras_lc.spatial.LC(expansion=8))
    >>> model.name
    'resnet_lc_18d_x8'

    Reference:

    - [Deep Residual Learning for Image Recognition](https://arxiv.org/abs/1512.03385)
    - [Bag of Tricks](https://arxiv.org/abs/1812.01187), Section 4, for "d"
    - [ResNeXt](https://arxiv.org/abs/1611.05431), [Wide ResNet](https://arxiv.org/abs/1605.07146)
    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360)
    """
    spatial = spatial_operators.get(spatial)
    kind = _check_geometry(depth, variant, low_resolution, width)
    bottlenecks = depth in _BOTTLENECKS
    blocks = (_BOTTLENECKS if bottlenecks else _BASIC)[depth]
    rates = drop_rates_of_stages(stochastic_depth, blocks)
    seed = resolve_seed(seed)
    data_format = standardize_data_format(data_format)

    inputs, x = image_input(
        input_shape,
        include_preprocessing,
        mean,
        std,
        augmentation,
        seed,
        data_format,
        low_resolution,
    )

    def topology(x, spatial):
        build = Builder(
            spatial, 3, seed, data_format, average_pool_shortcuts=kind.average_pool_shortcuts
        )
        x = _stem(build, x, width, kind.deep_stem, low_resolution, stem_pool)
        for stage, stage_rates in enumerate(rates):
            channels = width * 2**stage
            inner = channels * kind.group_width // 64 * kind.groups
            for block, rate in enumerate(stage_rates):
                strides = 2 if stage > 0 and block == 0 else 1
                name = f"stage{stage + 1}_block{block}"
                if bottlenecks:
                    x = build.bottleneck_block(
                        x, 4 * channels, inner, strides, name, kind.groups, rate
                    )
                else:
                    x = build.basic_block(x, channels, strides, name, rate)
        return x

    x = topology(x, spatial.for_network(topology, x, seed))
    outputs = classifier_head(x, classes, classifier_activation, seed, data_format)
    size = f"{depth}{kind.suffix}" + ("" if width == 64 else f"_w{width}")
    if low_resolution and depth != 14:  # depth 14 has only this form
        size += "_low_resolution"
    if not stem_pool:
        size += "_no_stem_pool"
    name = name or spatial.network_name(kind.family, size)
    recipe = CIFAR if low_resolution else IMAGENET_A2
    return Classifier(inputs, outputs, seed=seed, recipe=recipe, name=name)


def _stem(build, x, width, deep, low_resolution, pool):
    strides = 1 if low_resolution else 2
    if deep:
        stem = build.for_stem(kernel_size=3)
        x = stem.spatial_unit(x, width // 2, strides, "stem", 1)
        x = stem.spatial_unit(x, width // 2, 1, "stem", 2)
        x = stem.spatial_unit(x, width, 1, "stem", 3)
    else:
        stem = build.for_stem(kernel_size=3 if low_resolution else 7)
        x = stem.spatial_unit(x, width, strides, "stem")
    if not pool:
        return x
    # PyTorch's padding, not Keras' "same". Zeros work as well as -∞ here, after a ReLU.
    x = keras.layers.ZeroPadding2D(1, data_format=build.data_format, name="stem_pool_pad")(x)
    return MaxPooling2D(3, 2, data_format=build.data_format, name="stem_pool")(x)


def _check_geometry(depth, variant, low_resolution, width):
    if depth not in _DEPTHS:
        raise ValueError(f"`depth` must be one of {_DEPTHS}. Received: depth={depth!r}")
    if depth == 14 and not low_resolution:
        raise ValueError(
            "`depth=14` is for small images (it has three stages). Pass `low_resolution=True`. "
            "Received: depth=14, low_resolution=False"
        )
    if variant not in _VARIANTS:
        raise ValueError(
            f"`variant` must be one of {list(_VARIANTS)}. Received: variant={variant!r}"
        )
    kind = _VARIANTS[variant]
    if kind.is_for_bottlenecks and depth in _BASIC:
        raise ValueError(
            f"`variant='{variant}'` needs bottlenecks. Only the depths {list(_BOTTLENECKS)} have "
            f"them. Received: depth={depth}, variant={variant!r}"
        )
    multiple = 64 if kind.groups > 1 else 2
    if not isinstance(width, numbers.Integral) or width < 1 or width % multiple:
        raise ValueError(
            f"`width` must be a positive multiple of {multiple}. Received: width={width!r}"
        )
    return kind
