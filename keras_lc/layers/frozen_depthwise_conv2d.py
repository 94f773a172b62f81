"""DepthwiseConv2D with random filters that are never trained."""

from typing import Any

import keras

from keras_lc.bases import Basis
from keras_lc.layers.accelerated import DepthwiseConv2D
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.initializers import ByFunction
from keras_lc.layers.seeded_basis import SeededFilters, get_basis_initializer
from keras_lc.seeds import resolve_seed
from keras_lc.types import Initializer, Shape, Size


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenDepthwiseConv2D(SeededFilters, DepthwiseConv2D):
    """2D depthwise convolution with random filters that are never trained.

    This is a `keras.layers.DepthwiseConv2D` with a non-trainable kernel, drawn from `seed`. The
    kernel stays frozen after `layer.trainable = True`, because Keras then changes only variables
    that were created as trainable. A file contains the seed instead of the kernel. The bias, if
    there is one, is trained.

    Args:
        kernel_size: Integer or tuple of 2 integers, in pixels.
        depth_multiplier: Integer, the number of output channels per input channel.
        strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
        bias_regularizer, bias_constraint, activity_regularizer: As in
            `keras.layers.DepthwiseConv2D`.
        basis_initializer: `keras_lc.bases.Basis` that draws the filters from `seed`, with the same
            bits under every backend. Defaults to `None`: PyTorch's default distribution,
            `U[-a, a]` with `a = 1/√(kernel area)`. Filters of a Keras initializer are written to
            checkpoints.
        seed: Integer that determines the filters. `None` draws one, once.

    Attributes:
        basis: Variable of shape `(height, width, channels, depth_multiplier)`, also called
            `kernel`.

    Raises:
        ValueError: For `depthwise_*` arguments, because they have no meaning here.

    Example:

    >>> layer = keras_lc.layers.FrozenDepthwiseConv2D(3, padding="same", seed=0)
    >>> layer(np.zeros((1, 32, 32, 8))).shape
    (1, 32, 32, 8)
    >>> [variable.name for variable in layer.trainable_variables]
    ['bias']

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 3
    """

    _instead_of_kernel_arguments = "Use `basis_initializer`: the filters are not trained."

    frozen = True

    def __init__(
        self,
        kernel_size: Size,
        *args: Any,
        basis_initializer: Initializer | Basis = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        self._refuse_kernel_arguments(kwargs, ("depthwise_",))
        super().__init__(kernel_size, *args, **kwargs)
        self.seed = resolve_seed(seed)
        self.basis_initializer = get_basis_initializer(basis_initializer)

    def build(self, input_shape: Shape) -> None:
        # `super().build` would allocate a trainable kernel. Its checks are repeated here.
        axis = channel_axis(self.data_format)
        channels = input_shape[axis]
        self.input_spec = keras.InputSpec(min_ndim=4, axes={axis: channels})
        self.compute_output_shape(input_shape)
        # The same filters as in a convolution with one group per channel.
        self._basis_groups = channels
        self._filters_shape = (*self.kernel_size, 1, channels * self.depth_multiplier)
        self._basis_shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.basis = self.add_weight(
            name="basis",
            shape=self._basis_shape,
            initializer=ByFunction(self._make_basis),
            # `model.trainable = True` would undo a flag that is set later.
            trainable=False,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(channels * self.depth_multiplier,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.built = True

    @property
    def _basis_variable(self):
        return self.basis

    def _draw(self, seed):
        return super()._draw(seed).reshape(self._basis_shape)

    def _basis_of(self, numbers):
        filters = super()._basis_of(numbers.reshape(self._filters_shape))
        return filters.reshape(self._basis_shape)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("initializer", "regularizer", "constraint"):
            del config[f"depthwise_{name}"]
        return config
