"""Vision transformers, with self-attention or max-pools."""

from collections.abc import Sequence

import keras
import numpy as np

from keras_lc.models.classifier import Classifier
from keras_lc.models.transformer import Plan, Stage, build, check_patch_size
from keras_lc.spatial import SpatialOperator
from keras_lc.types import Activation, Shape

# The width and the heads of each size.
_SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}


def ViT(
    size: str = "small",
    spatial: str | SpatialOperator = "learned",
    patch_size: int = 16,
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
    """Vision transformer: a vector for each patch of the image, and 12 blocks that mix them.

    As in the parameter-free paper, whose weights `keras_lc.load_torch_weights` loads: there is no
    class token, and the classifier sees the mean of all patches. The matrices start from a
    deviation of 0.02, the biases from 0.

    What looks at other patches is the spatial operator: self-attention (`"learned"`), or with
    `"max"` a 3×3 max-pool between two linear layers in every second block; the first one keeps
    self-attention. The other operators stand in the one spatial convolution, that of the patches.

    Args:
        size: `"tiny"`, `"small"` or `"base"`: 192, 384 or 768 channels in 3, 6 or 12 heads.
        spatial: Spatial operator: `"learned"`, `"max"`, `"frozen"`, `"lc"`, or an operator such
            as `keras_lc.spatial.LC(expansion=8)`.
        patch_size: Integer, in pixels.
        input_shape: Tuple of 3 integers, without the batch. Images of any size, if it is known;
            what is no whole patch on the right and below is left out.
        classes: Integer.
        include_preprocessing: Boolean, whether the network normalises its images. With `False`,
            it takes them as they are.
        mean, std: Number or one for each channel, in pixel values (0 to 255). Default to
            ImageNet's for three channels, else to 127.5.
        augmentation: What training does to its images: `None`, `"crop_flip"` (CIFAR's), or a
            Keras layer.
        dropout: Number, the rate of dropout after the position embedding, self-attention (or the
            pool) and each linear layer of the perceptrons. Its random numbers are Keras' own,
            which differ by backend.
        stochastic_depth: Number, the rate at which training leaves out the last residual branches
            (see `keras_lc.layers.StochasticDepth`); those before them less, linearly down to 0.
        classifier_activation: Activation of the outputs. Defaults to `None`: logits.
        data_format: `"channels_last"` or `"channels_first"`, of the images; all else is
            `"channels_last"`. Defaults to Keras' setting.
        seed: Integer that determines all initial weights and frozen filters, all that training
            draws and the order of the images in `fit`. `None` draws one.
        name: String. Defaults to a name after the paper: `vit_small_max`.

    Returns:
        A `Classifier`: a `keras.Model` whose `fit` has a default recipe, that of ImageNet in the
        LC paper.

    Raises:
        ValueError: If there is no such size, or the images' size is unknown or too small.

    Input shape: `(batch, height, width, channels)`, images with values in [0, 255].

    Output shape: `(batch, classes)`, logits.

    Example:

    >>> model = keras_lc.ViT("tiny", spatial="max", input_shape=(64, 64, 3))
    >>> model.name
    'vit_tiny_max'

    Reference:

    - [An Image is Worth 16x16 Words](https://arxiv.org/abs/2010.11929)
    - [Learning Features with Parameter-Free Layers](https://arxiv.org/abs/2202.02777)
    """
    if size not in _SIZES:
        raise ValueError(f"`size` must be one of {list(_SIZES)}. Received: size={size!r}")
    check_patch_size(patch_size)
    width, heads = _SIZES[size]
    words = size if patch_size == 16 else f"{size}_p{patch_size}"
    return build(
        Plan("vit", words, patch_size, patch_size, [Stage(width, heads, 12)]),
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
