"""The losses in the papers' recipes."""

from typing import Any

import keras
from keras import ops

from keras_lc.types import Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with label smoothing, for integer or one-hot labels.

    `keras.losses.CategoricalCrossentropy` smooths only one-hot labels, and
    `keras.losses.SparseCategoricalCrossentropy` does not smooth.

    Args:
        label_smoothing: Float between 0 and 1, the part of the target that is spread evenly over
            all classes.
        from_logits: Boolean, whether predictions are logits (and not probabilities).
        **kwargs: `reduction`, `name` and `dtype`, as in `keras.losses.Loss`.

    Example:

    >>> loss = keras_lc.training.SmoothedCrossentropy(label_smoothing=0.1)
    >>> float(loss(np.array([1]), np.array([[0.0, 0.0]])))  # log 2 for each label
    0.6931471824645996
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        from_logits: bool = True,
        name: str = "smoothed_crossentropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                "`label_smoothing` must be between 0 and 1. "
                f"Received: label_smoothing={label_smoothing}"
            )
        self.label_smoothing = label_smoothing
        self.from_logits = from_logits

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return keras.losses.categorical_crossentropy(
            _shares(y_true, y_pred),
            y_pred,
            from_logits=self.from_logits,
            label_smoothing=self.label_smoothing,
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(label_smoothing=self.label_smoothing, from_logits=self.from_logits)
        return config


@keras.saving.register_keras_serializable(package="keras_lc")
class BinarisedCrossentropy(keras.losses.Loss):
    """Binary cross-entropy for each class, for images mixed with Mixup or CutMix.

    The targets are the shares of the classes in an image, or integer labels. The target of a
    class is 1 if its share is above `threshold`, otherwise 0. The loss is the mean over classes
    and images.

    Args:
        threshold: Float of at least 0 and below 1.
        from_logits: Boolean, whether predictions are logits (and not probabilities).
        **kwargs: `reduction`, `name` and `dtype`, as in `keras.losses.Loss`.

    Example:

    >>> loss = keras_lc.training.BinarisedCrossentropy()
    >>> shares, logits = np.array([[0.3, 0.7, 0.0]]), np.array([[50.0, 50.0, -50.0]])
    >>> round(float(loss(shares, logits)), 6)
    0.0

    Reference:

    - [ResNet strikes back](https://arxiv.org/abs/2110.00476), Section 3
    """

    def __init__(
        self,
        threshold: float = 0.0,
        from_logits: bool = True,
        name: str = "binarised_crossentropy",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        if not 0 <= threshold < 1:
            raise ValueError(
                f"`threshold` must be at least 0 and below 1. Received: threshold={threshold}"
            )
        self.threshold = threshold
        self.from_logits = from_logits

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        present = ops.cast(_shares(y_true, y_pred) > self.threshold, y_pred.dtype)
        return keras.losses.binary_crossentropy(present, y_pred, from_logits=self.from_logits)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(threshold=self.threshold, from_logits=self.from_logits)
        return config


def _shares(y_true, y_pred):
    """Returns the targets as shares of the classes. Integer labels become one-hot labels."""
    classes = y_pred.shape[-1]
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == classes:
        return y_true
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] != 1:
        raise ValueError(
            f"The targets must be integer labels, or shares of the {classes} classes. "
            f"Received: shape {tuple(y_true.shape)}"
        )
    labels = ops.reshape(ops.cast(y_true, "int32"), ops.shape(y_pred)[:-1])
    return ops.one_hot(labels, classes, dtype=y_pred.dtype)
