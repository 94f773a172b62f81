"""MobileNetV2 and MobileNetV3-Large, with any spatial operator."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from keras_lc import spatial as spatial_operators
from keras_lc.layers.axes import standardize_data_format
from keras_lc.models.classifier import Classifier
from keras_lc.models.ends import classifier_head, image_input
from keras_lc.models.residual import Builder, drop_rates
from keras_lc.seeds import resolve_seed
from keras_lc.spatial import SpatialOperator
from keras_lc.training.recipe import CIFAR, IMAGENET_A2
from keras_lc.types import Activation, Shape


@dataclasses.dataclass(frozen=True)
class _Block:
    """One inverted bottleneck.

    Args:
        kernel_size: Integer, in pixels.
        width: Integer, the input channels of its depthwise convolution.
        filters: Integer, the channels of its output.
        squeeze: Integer, the hidden channels of squeeze-and-excitation; 0 for none.
        activation: `"relu6"`, `"relu"` or `"hard_swish"`.
        strides: Integer.
    """

    kernel_size: int
    width: int
    filters: int
    squeeze: int
    activation: str
    strides: int


@dataclasses.dataclass(frozen=True)
class _Plan:
    """A network: its stem, its blocks and its head."""

    family: str
    stem_filters: int
    stem_activation: str
    blocks: Sequence[_Block]
    head_filters: int
    hidden: tuple[int, str] | None
    # For batch normalization.
    momentum: float
    epsilon: float


# Sandler et al., 2018, Table 2: expansion factor, channels, repetitions, stride of the first.
_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

# Howard et al., 2019, Table 1: kernel size, expanded channels, channels, squeeze-and-excitation,
# activation, stride.
_V3_LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)


def MobileNetV2(
    spatial: str | SpatialOperator = "learned",
    low_resolution: bool = False,
    width_multiplier: float = 1.0,
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
    """MobileNetV2: depthwise convolutions, each between two 1×1 convolutions.

    The geometry is torchvision's, so `keras_lc.load_torch_weights` can load its weights. There is
    no dropout before the classifier. The initial weights follow PyTorch's default distribution,
    as in the LC paper.

    The spatial operator replaces every spatial convolution, also in the stem. In a block it is
    depthwise: it does not mix channels. A pool ("max", "average", "hybrid") replaces
    only the depthwise convolutions; the stem stays a trained convolution.

    Args:
        spatial: Spatial operator: `"learned"`, `"frozen"`, `"lc"`, `"max"`, `"average"`,
            `"hybrid"`, or an operator such as `keras_lc.spatial.LC(expansion=8)`.
        low_resolution: Boolean, whether the stem and the first block of stride 2 get stride 1, as
            usual for CIFAR. The last feature maps then have 1/8 of the image's side, not 1/32.
        width_multiplier: Number that multiplies all channels. They are rounded to multiples of 8.
            The channels of the last convolution are never reduced.
        stochastic_depth: Number, the rate for dropping the last block in training (see
            `keras_lc.layers.StochasticDepth`). The rate grows linearly from 0 in the first block.
            Only blocks with a shortcut can be dropped.
        input_shape, classes, include_preprocessing, mean, std, augmentation,
        classifier_activation, data_format, seed: As for all networks; see `keras_lc.models`.
        name: String. Defaults to a name in the papers' style: `mobilenet_v2_frozen`.

    Returns:
        A `Classifier`: a `keras.Model` with a default recipe in `fit`. It is
        `keras_lc.training.CIFAR` with `low_resolution=True`, otherwise
        `keras_lc.training.IMAGENET_A2`.

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Input shape: `(batch, height, width, channels)`, images with values in [0, 255].

    Output shape: `(batch, classes)`, logits.

    Example:

    >>> model = keras_lc.MobileNetV2(spatial="frozen", width_multiplier=0.25)
    >>> model.name
    'mobilenet_v2_025_frozen'

    Reference:

    - [MobileNetV2](https://arxiv.org/abs/1801.04381)
    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """
    scaled = _scaling(width_multiplier)
    channels = stem = scaled(32)
    blocks = []
    for expansion, filters, repetitions, strides in _V2:
        for repetition in range(repetitions):
            width = expansion * channels
            channels = scaled(filters)
            blocks.append(_Block(3, width, channels, 0, "relu6", strides if repetition == 0 else 1))
    plan = _Plan(
        family="mobilenet_v2",
        stem_filters=stem,
        stem_activation="relu6",
        blocks=blocks,
        head_filters=_to_multiple_of_8(1280 * max(1.0, width_multiplier)),
        hidden=None,
        momentum=0.9,
        epsilon=1e-5,
    )
    return _build(
        plan,
        spatial=spatial,
        low_resolution=low_resolution,
        width_multiplier=width_multiplier,
        input_shape=input_shape,
        classes=classes,
        include_preprocessing=include_preprocessing,
        mean=mean,
        std=std,
        augmentation=augmentation,
        stochastic_depth=stochastic_depth,
        classifier_activation=classifier_activation,
        data_format=data_format,
        seed=seed,
        name=name,
    )


def MobileNetV3Large(
    spatial: str | SpatialOperator = "learned",
    low_resolution: bool = False,
    width_multiplier: float = 1.0,
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
    """MobileNetV3-Large: MobileNetV2 with squeeze-and-excitation, hard-swish and a hidden layer.

    Its convolutions are 3×3 and 5×5. Its batch normalization has torchvision's epsilon of 1e-3
    and momentum of 0.01 (0.99 in Keras). Otherwise it is like `keras_lc.MobileNetV2`.

    Args:
        spatial: Spatial operator: `"learned"`, `"frozen"`, `"lc"`, `"max"`, `"average"`,
            `"hybrid"`, or an operator such as `keras_lc.spatial.LC(expansion=8)`.
        width_multiplier: Number that multiplies all channels. They are rounded to multiples of 8.
        low_resolution, stochastic_depth: As in `keras_lc.MobileNetV2`.
        input_shape, classes, include_preprocessing, mean, std, augmentation,
        classifier_activation, data_format, seed, name: As for all networks; see `keras_lc.models`.

    Returns:
        A `Classifier`: a `keras.Model` with a default recipe in `fit`. It is
        `keras_lc.training.CIFAR` with `low_resolution=True`, otherwise
        `keras_lc.training.IMAGENET_A2`.

    Raises:
        ValueError: If an argument has a value that is not allowed.

    Input shape: `(batch, height, width, channels)`, images with values in [0, 255].

    Output shape: `(batch, classes)`, logits.

    Example:

    >>> model = keras_lc.MobileNetV3Large(spatial="max", width_multiplier=0.5)
    >>> model.name
    'mobilenet_v3_large_050_max'

    Reference:

    - [Searching for MobileNetV3](https://arxiv.org/abs/1905.02244)
    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """
    scaled = _scaling(width_multiplier)
    blocks = [
        _Block(
            kernel_size,
            scaled(width),
            scaled(filters),
            _to_multiple_of_8(scaled(width) // 4) if squeeze else 0,
            activation,
            strides,
        )
        for kernel_size, width, filters, squeeze, activation, strides in _V3_LARGE
    ]
    plan = _Plan(
        family="mobilenet_v3_large",
        stem_filters=scaled(16),
        stem_activation="hard_swish",
        blocks=blocks,
        head_filters=6 * blocks[-1].filters,
        hidden=(scaled(1280), "hard_swish"),
        momentum=0.99,
        epsilon=1e-3,
    )
    return _build(
        plan,
        spatial=spatial,
        low_resolution=low_resolution,
        width_multiplier=width_multiplier,
        input_shape=input_shape,
        classes=classes,
        include_preprocessing=include_preprocessing,
        mean=mean,
        std=std,
        augmentation=augmentation,
        stochastic_depth=stochastic_depth,
        classifier_activation=classifier_activation,
        data_format=data_format,
        seed=seed,
        name=name,
    )


def _build(
    plan,
    *,
    spatial,
    low_resolution,
    width_multiplier,
    input_shape,
    classes,
    include_preprocessing,
    mean,
    std,
    augmentation,
    stochastic_depth,
    classifier_activation,
    data_format,
    seed,
    name,
):
    spatial = spatial_operators.get(spatial)
    rates = drop_rates(stochastic_depth, len(plan.blocks))
    seed = resolve_seed(seed)
    data_format = standardize_data_format(data_format)
    first_strided = next(i for i, block in enumerate(plan.blocks) if block.strides > 1)

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
            spatial,
            3,
            seed,
            data_format,
            activation=plan.stem_activation,
            momentum=plan.momentum,
            epsilon=plan.epsilon,
        )
        stem_strides = 1 if low_resolution else 2
        x = build.for_stem(3).spatial_unit(x, plan.stem_filters, stem_strides, "stem")
        for index, (block, rate) in enumerate(zip(plan.blocks, rates, strict=True)):
            place = dataclasses.replace(
                build, kernel_size=block.kernel_size, activation=block.activation
            )
            x = place.inverted_block(
                x,
                block.filters,
                block.width,
                1 if low_resolution and index == first_strided else block.strides,
                f"block{index}",
                block.squeeze,
                rate,
            )
        return build.pointwise_unit(x, plan.head_filters, "head")

    x = topology(x, spatial.for_network(topology, x, seed))
    outputs = classifier_head(x, classes, classifier_activation, seed, data_format, plan.hidden)
    size = [] if width_multiplier == 1 else [_digits(width_multiplier)]
    if low_resolution:
        size.append("low_resolution")
    name = name or spatial.network_name(plan.family, "_".join(size))
    recipe = CIFAR if low_resolution else IMAGENET_A2
    return Classifier(inputs, outputs, seed=seed, recipe=recipe, name=name)


def _digits(multiplier):
    """Returns the digits of a multiplier: `"025"` for 0.25, as usual, more if necessary."""
    rounded = f"{multiplier:.2f}"
    return (rounded if float(rounded) == multiplier else str(float(multiplier))).replace(".", "")


def _scaling(multiplier):
    """Returns the function that scales channels by this width multiplier."""
    if isinstance(multiplier, bool) or not isinstance(multiplier, int | float) or multiplier <= 0:
        raise ValueError(
            "`width_multiplier` must be a positive number. "
            f"Received: width_multiplier={multiplier!r}"
        )
    return lambda channels: _to_multiple_of_8(channels * multiplier)


def _to_multiple_of_8(channels):
    """Rounds to the nearest multiple of 8, but reduces the number by 10 % at most."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
