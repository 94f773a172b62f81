"""Conv2D on a seeded basis: what LCConv2D and FrozenConv2D share."""

import numbers

import keras
from keras import ops

from keras_lc.layers.seeded_basis import SeededBasis


def check_expansion(expansion: int) -> int:
    """Returns `expansion` if it can be the number of basis filters per output channel."""
    whole = isinstance(expansion, numbers.Integral) and not isinstance(expansion, bool)
    if not whole or expansion < 1:
        raise ValueError(
            f"`expansion` must be an integer of at least 1. Received: expansion={expansion!r}"
        )
    return int(expansion)


class BasisConv2D(SeededBasis, keras.layers.Conv2D):
    """Base class: a Conv2D whose kernel is made from a seeded `basis`.

    A subclass sets `basis_filters` and `frozen` before `build`, and gives the layer its `kernel`.
    """

    def __init__(self, filters, kernel_size, *, basis_initializer=None, seed=None, **kwargs):
        super().__init__(
            filters, kernel_size, basis_initializer=basis_initializer, seed=seed, **kwargs
        )

    def build(self, input_shape):
        # Not `super().build`: that would allocate a trainable kernel. Its checks stand here.
        channel_axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[channel_axis]
        self.input_spec = keras.InputSpec(min_ndim=4, axes={channel_axis: channels})
        if channels % self.groups:
            raise ValueError(
                "The number of input channels must be divisible by `groups`. Received: "
                f"groups={self.groups}, input_shape={tuple(input_shape)} "
                f"with {channels} channels."
            )
        self.compute_output_shape(input_shape)
        self._add_basis(self._basis_shape(channels // self.groups), autocast=False)
        self._build_combination()
        self._add_bias(self.filters)
        self.built = True

    def _filters_shape(self, channels):
        return (*self.kernel_size, channels, self.basis_filters)

    def _basis_shape(self, channels):
        return self._filters_shape(channels)

    def _build_combination(self):
        """Creates what the subclass trains beside the bias."""

    def convolution_op(self, inputs, kernel):
        # The kernel is computed in the variables' dtype, and rounded to the compute dtype once.
        return super().convolution_op(inputs, ops.cast(kernel, self.compute_dtype))

    def enable_lora(self, *args, **kwargs):
        raise NotImplementedError(
            f"LoRA needs a kernel variable, and {type(self).__name__} (layer '{self.name}') has "
            "none. `keras_lc.fold(model)` returns a model of plain Conv2D layers, on which "
            "`enable_lora` works."
        )
