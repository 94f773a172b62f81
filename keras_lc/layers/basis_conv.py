"""Arguments and build of all convolutions with filters from a seed."""

import numbers
import warnings
from typing import Any, NoReturn

import keras
from keras import ops

from keras_lc.bases import Basis
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.initializers import ByFunction
from keras_lc.layers.seeded_basis import SeededFilters, get_basis_initializer
from keras_lc.seeds import resolve_seed
from keras_lc.types import Array, Initializer, Shape, Tensor


def check_expansion(expansion: int) -> int:
    """Returns `expansion` if it can be the number of basis filters per output channel."""
    return _at_least_one("expansion", expansion)


def check_rank(rank: int | None, expansion: int) -> int | None:
    """Returns `rank` if it can be the number of basis filters, in place of an `expansion`."""
    if rank is None:
        return None
    if expansion != 1:
        raise ValueError(
            "`rank` is the number of basis filters, and so is `filters * expansion`: give one of "
            f"the two. Received: rank={rank!r}, expansion={expansion!r}"
        )
    return _at_least_one("rank", rank)


def _at_least_one(name, value):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}")
    return int(value)


class BasisConv(SeededFilters):
    """Mixin of Keras' convolutions of any dimension: the kernel is made from a seeded `basis`.

    A subclass sets `basis_filters` and `frozen` before `build`, and gives the layer its `kernel`.
    It also inherits from the layer of Keras that it equals: from `Conv1D`, `Conv2D` or `Conv3D`
    here, from others with the mixins below.
    """

    def __init__(
        self,
        *size: Any,
        basis_initializer: Initializer | Basis = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        self._refuse_kernel_arguments(kwargs)
        super().__init__(*size, **kwargs)
        self.seed = resolve_seed(seed)
        self.basis_initializer = get_basis_initializer(basis_initializer)

    def build(self, input_shape: Shape) -> None:
        # `super().build` would allocate a trainable kernel. Its checks are repeated here.
        axis = channel_axis(self.data_format)
        channels = input_shape[axis]
        self.input_spec = keras.InputSpec(min_ndim=self.rank + 2, axes={axis: channels})
        self._channels = channels
        if channels % self._basis_groups:
            raise ValueError(
                "The number of input channels must be divisible by `groups`. Received: "
                f"groups={self._basis_groups}, input_shape={tuple(input_shape)} "
                f"with {channels} channels."
            )
        self.compute_output_shape(input_shape)
        self._build_basis()
        self._build_combination()
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self._output_filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.built = True

    # --- What differs between the kinds of convolutions ---

    @property
    def _basis_groups(self):
        return self.groups

    @property
    def _output_filters(self):
        return self.filters

    def _in_layout(self, filters):
        """Returns filters `(*kernel_size, channels/groups, …)` in the layout of Keras' kernel."""
        return filters

    def _shape_of_basis(self, filters):
        """Returns the shape of a basis variable with so many filters."""
        return (*self.kernel_size, self._channels // self._basis_groups, filters)

    def _from_layout(self, kernel):
        """Returns what `_in_layout` made a kernel of."""
        return kernel

    # --- What is the same for all ---

    @property
    def _filters_shape(self):
        """The shape of the random filters, as `keras_lc.bases.Basis` draws them."""
        return (*self.kernel_size, self._channels // self._basis_groups, self.basis_filters)

    @property
    def basis(self) -> Tensor:
        if not self.built:
            raise AttributeError("You must build the layer before accessing `basis`.")
        return self._basis

    @property
    def kernel(self) -> Tensor:
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        return self._in_layout(self.basis)

    def set_basis(self, kernel: Array) -> None:
        """Makes the filters of a kernel the basis. A file then holds them, and not the seed.

        Args:
            kernel: Array of the shape of this layer's kernel, with as many filters as the basis.
        """
        filters = ops.convert_to_numpy(self._from_layout(ops.convert_to_tensor(kernel)))
        self._basis.assign(filters.reshape(self._basis.shape))

    def _build_basis(self):
        self._basis = self._add_basis(self.basis_filters)

    def _add_basis(self, filters):
        return self.add_weight(
            name="basis",
            shape=self._shape_of_basis(filters),
            initializer=ByFunction(self._make_basis),
            # `model.trainable = True` would undo a flag that is set later.
            trainable=not self.frozen,
            autocast=False,
        )

    def _basis_of(self, numbers):
        return self._filters_of(numbers).reshape(self._shape_of_basis(self.basis_filters))

    def _filters_of(self, numbers):
        """Returns the random filters, of `_filters_shape`, from the random numbers of a seed."""
        return super()._basis_of(numbers)

    def _build_combination(self):
        """Creates what the subclass trains beside the bias."""

    @property
    def is_depthwise(self) -> bool:
        """Whether a Conv2D equals a `DepthwiseConv2D`: each channel has its own filters."""
        one_stride = len(set(self.strides)) == 1  # as TensorFlow's needs it
        return 1 < self._basis_groups == self._channels and one_stride

    def plain_layer(self) -> keras.layers.Layer:
        plain = super().plain_layer()
        if type(plain) is not keras.layers.Conv2D or not self.is_depthwise:
            return plain
        config = {
            key: value
            for key, value in plain.get_config().items()
            if key not in ("filters", "groups") and not key.startswith("kernel_")
        }
        config["kernel_size"] = self.kernel_size
        config["depth_multiplier"] = self.filters // self.groups
        return keras.layers.DepthwiseConv2D.from_config(config)

    def enable_lora(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"LoRA needs a kernel variable, and {type(self).__name__} (layer '{self.name}') has "
            "none. `keras_lc.fold(model)` returns a model of Keras' plain layers. On those that "
            "have it, `enable_lora` works."
        )

    def quantize(self, mode: str | None = None, **kwargs: Any) -> NoReturn:
        message = (
            f"{type(self).__name__} (layer '{self.name}') cannot be quantized in place. "
            "Call `keras_lc.fold(model)` first. Or write an int8 file: `keras_lc.export(model, "
            "path, format='litert', quantization='int8', calibration=images)`."
        )
        # From Keras 3.16 on, `model.quantize` does not show the error of a layer.
        warnings.warn(message, stacklevel=2)
        raise NotImplementedError(message)

    @property
    def _basis_variable(self):
        return self._basis

    def get_config(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in super().get_config().items()
            if not name.startswith(("kernel_", "depthwise_")) or name == "kernel_size"
        }


class BasisDepthwiseConv(BasisConv):
    """Mixin of `DepthwiseConv2D`: the same filters as with one group for each channel."""

    _channels = None

    @property
    def _basis_groups(self):
        if self._channels is None:
            raise AttributeError("You must build the layer first: its channels are not known.")
        return self._channels

    @property
    def _output_filters(self):
        return self._basis_groups * self.depth_multiplier

    def _in_layout(self, filters):
        # A variable stays one: weights of other libraries are loaded into it.
        if filters.shape[-2] == self._channels:
            return filters
        return ops.reshape(filters, (*self.kernel_size, self._channels, -1))

    def _shape_of_basis(self, filters):
        return (*self.kernel_size, self._channels, filters // self._channels)

    def _from_layout(self, kernel):
        return ops.reshape(kernel, (*self.kernel_size, 1, -1))


class BasisConvTranspose(BasisConv):
    """Mixin of `Conv2DTranspose`, whose kernel has the filters before the channels."""

    _basis_groups = 1

    def _in_layout(self, filters):
        return ops.swapaxes(filters, -1, -2)

    def _from_layout(self, kernel):
        return ops.swapaxes(kernel, -1, -2)
