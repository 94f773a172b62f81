"""Cross-entropy with label smoothing, for integer and for one-hot labels."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_lc")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with label smoothing, for integer or one-hot labels.

    `keras.losses.CategoricalCrossentropy` smooths one-hot labels only, and
    `keras.losses.SparseCategoricalCrossentropy` does not smooth.

    Args:
        label_smoothing: Float between 0 and 1: the share of the target that is spread evenly
            over all classes.
        from_logits: Boolean, whether predictions are logits (and not probabilities).
        **kwargs: `reduction`, `name` and `dtype`, as in `keras.losses.Loss`.

    Example:

    >>> loss = keras_lc.training.SmoothedCrossentropy(label_smoothing=0.1)
    >>> float(loss(np.array([1]), np.array([[0.0, 0.0]])))  # log 2, whatever the label
    0.6931471824645996
    """

    def __init__(
        self,
        label_smoothing=0.0,
        from_logits=True,
        name="smoothed_crossentropy",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                "`label_smoothing` must be between 0 and 1. "
                f"Received: label_smoothing={label_smoothing}"
            )
        self.label_smoothing = label_smoothing
        self.from_logits = from_logits

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        one_hot = len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == classes
        if not one_hot:
            labels = ops.reshape(ops.cast(y_true, "int32"), ops.shape(y_pred)[:-1])
            y_true = ops.one_hot(labels, classes, dtype=y_pred.dtype)
        return keras.losses.categorical_crossentropy(
            y_true,
            y_pred,
            from_logits=self.from_logits,
            label_smoothing=self.label_smoothing,
        )

    def get_config(self):
        config = super().get_config()
        config.update(label_smoothing=self.label_smoothing, from_logits=self.from_logits)
        return config
