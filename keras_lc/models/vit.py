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

    The network follows the parameter-free paper: there is no class token, and the classifier gets
    the mean of all patches. `keras_lc.load_torch_weights` loads the paper's weights. The initial
    matrices have a standard deviation of 0.02, the initial biases are 0.

    With `spatial="learned"`, all blocks use self-attention. With `"max"`, every second block uses
    a 3×3 max-pool between two linear layers instead; the first block keeps self-attention. So do
    `"average"` and `"depthwise"` with their own operators. The other operators replace only the
    convolution that makes the patches.

    Args:
        size: `"tiny"`, `"small"` or `"base"`: 192, 384 or 768 channels in 3, 6 or 12 heads.
        spatial: Spatial operator: `"learned"`, `"max"`, `"frozen"`, `"lc"`, or an operator such
            as `keras_lc.spatial.LC(expansion=8)`.
        patch_size: Integer, in pixels.
        input_shape: Tuple of 3 integers, without the batch. The images can have any known size.
            An incomplete patch at the right or bottom border is cut off.
        classes: Integer, the number of classes.
        include_preprocessing: Boolean, whether the network normalizes its images. If `False`, the
            images must already be normalized.
        mean, std: Number, or one number for each channel, in pixel values (0 to 255). For three
            channels, they default to ImageNet's statistics. Otherwise they default to 127.5.
        augmentation: Augmentation of the training images: `None`, `"crop_flip"` (as usual for
            CIFAR), `"resized_crop_flip"` (as usual for photos), or a Keras layer.
        dropout: Number, the rate of dropout after the position embedding, self-attention (or the
            pool) and each linear layer of the perceptrons. Its random numbers are Keras' own and
            differ by backend.
        stochastic_depth: Number, the rate for dropping the residual branches of the last block in
            training (see `keras_lc.layers.StochasticDepth`). The rate grows linearly from 0 in
            the first block.
        classifier_activation: Activation of the outputs. Defaults to `None`: the outputs are
            logits.
        data_format: `"channels_last"` or `"channels_first"`, the format of the images. Inside the
            network, all is `"channels_last"`. Defaults to Keras' setting.
        seed: Integer. It determines the initial weights, the frozen filters, the random numbers
            of training, and the order of the images in `fit`. `None` draws a seed.
        name: String. Defaults to a name in the paper's style: `vit_small_max`.

    Returns:
        A `Classifier`: a `keras.Model` with a default recipe in `fit`,
        `keras_lc.training.DEIT`.

    Raises:
        ValueError: If the size does not exist, or if the image size is unknown or too small.

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
