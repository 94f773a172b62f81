"""Pooling-based vision transformers, with self-attention or max-pools."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_lc.models.classifier import Classifier
from keras_lc.models.transformer import Plan, Stage, build, check_patch_size
from keras_lc.spatial import SpatialOperator
from keras_lc.types import Activation, Shape

# Patch size, channels of a head, and heads and blocks of each stage.
_SIZES = {
    "tiny": (16, 32, (2, 4, 8), (2, 6, 4)),
    "small": (16, 48, (3, 6, 12), (2, 6, 4)),
    "base": (14, 64, (4, 8, 16), (3, 6, 4)),
}


def PiT(
    size: str = "small",
    spatial: str | SpatialOperator = "learned",
    patch_size: int | None = None,
    input_shape: Shape = (224, 224, 3),
    classes: int = 1000,
    include_preprocessing: bool = True,
    mean: float | Sequence[float] | np.ndarray | None = None,
    std: float | Sequence[float] | np.ndarray | None = None,
    augmentation: str | keras.layers.Layer | None = None,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    classifier_activation: Activation = None,
    data_format: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> Classifier:
    """Pooling-based vision transformer: three stages, each of half the size and twice the width.

    The patches overlap by half. Between two stages, a depthwise 3×3 convolution of stride 2
    doubles the channels. With `spatial="max"`, self-attention stays in the first, third, … block
    of each stage, and all convolutions stay trained. The other operators replace the convolution
    that makes the patches and the convolutions between the stages. Otherwise the network is like
    `keras_lc.ViT`.

    Args:
        size: `"tiny"`, `"small"` or `"base"`: 32, 48 or 64 channels per head. The first stage has
            2, 3 or 4 heads and 2, 2 or 3 blocks. The other stages have 6 and 4 blocks.
        spatial: Spatial operator: `"learned"`, `"max"`, `"frozen"`, `"lc"`, or an operator such
            as `keras_lc.spatial.LC(expansion=8)`.
        patch_size: Even integer, in pixels. The distance between patches is half of it. Defaults
            to 16, and to 14 for `"base"`.
        input_shape, classes, include_preprocessing, mean, std, augmentation, dropout,
        stochastic_depth, classifier_activation, data_format, seed, name: As in `keras_lc.ViT`.

    Returns:
        A `Classifier`: a `keras.Model` with a default recipe in `fit`,
        `keras_lc.training.DEIT`.

    Raises:
        ValueError: If the size does not exist, or if the image size is unknown or too small.

    Input shape: `(batch, height, width, channels)`, images with values in [0, 255].

    Output shape: `(batch, classes)`, logits.

    Example:

    >>> model = keras_lc.PiT("tiny", spatial="max", input_shape=(64, 64, 3))
    >>> model.name
    'pit_tiny_max'

    Reference:

    - [Rethinking Spatial Dimensions of Vision Transformers](https://arxiv.org/abs/2103.16302)
    - [Learning Features with Parameter-Free Layers](https://arxiv.org/abs/2202.02777)
    """
    if size not in _SIZES:
        raise ValueError(f"`size` must be one of {list(_SIZES)}. Received: size={size!r}")
    default_patch_size, head_width, heads, blocks = _SIZES[size]
    patch_size = default_patch_size if patch_size is None else patch_size
    check_patch_size(patch_size, multiple=2)
    words = size if patch_size == default_patch_size else f"{size}_p{patch_size}"
    stages = [Stage(head_width * h, h, b) for h, b in zip(heads, blocks, strict=True)]
    return build(
        Plan("pit", words, patch_size, patch_size // 2, stages),
        spatial=spatial,
        input_shape=input_shape,
        classes=classes,
        include_preprocessing=include_preprocessing,
        mean=mean,
        std=std,
        augmentation=augmentation,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
        classifier_activation=classifier_activation,
        data_format=data_format,
        seed=seed,
        name=name,
    )
