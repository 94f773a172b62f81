"""DepthwiseConv2D with random filters that are never trained."""

import math

import keras

from keras_lc.layers.seeded_basis import SeededBasis


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenDepthwiseConv2D(SeededBasis, keras.layers.DepthwiseConv2D):
    """2D depthwise convolution with random filters that are never trained.

    A `keras.layers.DepthwiseConv2D` whose kernel is a non-trainable variable drawn from `seed`.
    It stays frozen under `layer.trainable = True`, which sets only variables that were created
    trainable, and a file holds the seed in the kernel's stead. The bias, if any, is trained.

    Args:
        kernel_size: Integer or tuple of 2 integers, in pixels.
        depth_multiplier: Integer, the number of output channels per input channel.
        strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
        bias_regularizer, bias_constraint, activity_regularizer: As in
            `keras.layers.DepthwiseConv2D`.
        basis_initializer: Keras initializer of the filters. Defaults to `None`: PyTorch's
            default distribution, `U[-a, a]` with `a = 1/√(kernel area)`, drawn from `seed` with
            the same bits under every backend. Filters of any other initializer are written to
            checkpoints.
        seed: Integer that determines the filters. `None` draws one, once.

    Attributes:
        basis: Variable of shape `(height, width, channels, depth_multiplier)`, also called
            `kernel`.

    Raises:
        ValueError: For `depthwise_*` arguments, which have no meaning here.

    Example:

    >>> layer = keras_lc.layers.FrozenDepthwiseConv2D(3, padding="same", seed=0)
    >>> layer(np.zeros((1, 32, 32, 8))).shape
    (1, 32, 32, 8)
    >>> [variable.name for variable in layer.trainable_variables]
    ['bias']

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """

    _kernel_prefix = "depthwise"
    _instead_of_kernel_arguments = "Use `basis_initializer`: the filters are not trained."

    frozen = True

    def __init__(
        self,
        kernel_size,
        strides=(1, 1),
        padding="valid",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=(1, 1),
        activation=None,
        use_bias=True,
        *,
        basis_initializer=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(
            kernel_size,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            basis_initializer=basis_initializer,
            seed=seed,
            **kwargs,
        )

    def build(self, input_shape):
        # Not `super().build`: that would allocate a trainable kernel. Its checks stand here.
        channel_axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[channel_axis]
        self.input_spec = keras.InputSpec(min_ndim=4, axes={channel_axis: channels})
        self.compute_output_shape(input_shape)
        self._add_basis(self._filters_shape(channels))
        self._add_bias(channels * self.depth_multiplier)
        self.built = True

    @property
    def _fan_in(self):
        return math.prod(self.kernel_size)

    def _filters_shape(self, channels):
        return (*self.kernel_size, channels, self.depth_multiplier)

    @property
    def kernel(self):
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        return self.basis
