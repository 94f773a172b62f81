"""DepthwiseConv2D with random filters that are never trained."""

import math
from typing import Any

import keras

from keras_lc.layers.accelerated import DepthwiseConv2D
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.initializers import ByFunction, fan_in_uniform
from keras_lc.layers.seeded_basis import SeededBasis
from keras_lc.seeds import resolve_seed
from keras_lc.types import Initializer, Shape, Size, Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class FrozenDepthwiseConv2D(SeededBasis, DepthwiseConv2D):
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
        basis_initializer: Keras initializer of the filters. Defaults to `None`: PyTorch's
            default distribution, `U[-a, a]` with `a = 1/√(kernel area)`, drawn from `seed` with
            the same bits under every backend. Filters of any other initializer are written to
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
        basis_initializer: Initializer = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        self._refuse_kernel_arguments(kwargs, ("depthwise_",))
        super().__init__(kernel_size, *args, **kwargs)
        self.seed = resolve_seed(seed)
        self.basis_initializer = keras.initializers.get(basis_initializer)

    def build(self, input_shape: Shape) -> None:
        # Not `super().build`: that would allocate a trainable kernel. Its checks stand here.
        axis = channel_axis(self.data_format)
        channels = input_shape[axis]
        self.input_spec = keras.InputSpec(min_ndim=4, axes={axis: channels})
        self.compute_output_shape(input_shape)
        self._filters_shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.basis = self.add_weight(
            name="basis",
            shape=self._filters_shape,
            initializer=ByFunction(self._make_basis),
            # A flag set later would be undone by `model.trainable = True`.
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

    def _make_basis(self, shape, dtype):
        if self.basis_initializer:
            return self.basis_initializer(shape, dtype=dtype)
        return self._seeded_basis(dtype)

    @property
    def kernel(self) -> Tensor:
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        return self.basis

    @property
    def _basis_variable(self):
        return self.basis

    def _other_variables(self):
        return {} if self.bias is None else {"bias": self.bias}

    def _is_from_seed(self):
        return self.basis_initializer is None

    def _draw(self, seed):
        return fan_in_uniform(seed, self._filters_shape, fan_in=math.prod(self.kernel_size))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("initializer", "regularizer", "constraint"):
            del config[f"depthwise_{name}"]
        config["seed"] = self.seed
        config["basis_initializer"] = keras.initializers.serialize(self.basis_initializer)
        return config
