"""Conv2D with random filters that are never trained."""

import keras

from keras_lc.layers.basis_conv2d import BasisConv2D


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenConv2D(BasisConv2D):
    """2D convolution with random filters that are never trained.

    This is a `keras.layers.Conv2D` with a non-trainable kernel, drawn from `seed`. The kernel
    stays frozen after `layer.trainable = True`, because Keras then changes only variables that
    were created as trainable. A file contains the seed instead of the kernel. The bias, if there
    is one, is trained.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        strides, padding, data_format, dilation_rate, groups, activation, use_bias,
        bias_initializer, bias_regularizer, bias_constraint, activity_regularizer: As in
            `keras.layers.Conv2D`.
        basis_initializer: `keras_lc.bases.Basis` that draws the filters from `seed`, with the same
            bits under every backend. Defaults to `None`: PyTorch's default distribution. Filters
            of a Keras initializer are written to checkpoints.
        seed: Integer that determines the filters. `None` draws one, once.

    Raises:
        ValueError: For `kernel_*` and `lora_*` arguments, because they have no meaning here.

    Example:

    >>> layer = keras_lc.FrozenConv2D(8, 3, seed=0)
    >>> layer(np.zeros((1, 32, 32, 3))).shape
    (1, 30, 30, 8)
    >>> [variable.name for variable in layer.trainable_variables]
    ['bias']

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """

    _instead_of_kernel_arguments = "Use `basis_initializer`: the filters are not trained."

    frozen = True

    @property
    def basis_filters(self) -> int:
        return self.filters
