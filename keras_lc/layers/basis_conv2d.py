"""Arguments and build of all convolutions with filters from a seed."""

import numbers
from typing import Any, NoReturn

import keras

from keras_lc.bases import Basis
from keras_lc.layers.accelerated import Conv2D
from keras_lc.layers.axes import channel_axis
from keras_lc.layers.initializers import ByFunction
from keras_lc.layers.seeded_basis import SeededFilters, get_basis_initializer
from keras_lc.seeds import resolve_seed
from keras_lc.types import Initializer, Shape, Size, Tensor


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


class BasisConv2D(SeededFilters, Conv2D):
    """Base class: a Conv2D whose kernel is made from a seeded `basis`.

    A subclass sets `basis_filters` and `frozen` before `build`, and gives the layer its `kernel`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        *,
        basis_initializer: Initializer | Basis = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        self._refuse_kernel_arguments(kwargs, ("kernel_", "lora_"))
        super().__init__(filters, kernel_size, **kwargs)
        self.seed = resolve_seed(seed)
        self.basis_initializer = get_basis_initializer(basis_initializer)

    def build(self, input_shape: Shape) -> None:
        # `super().build` would allocate a trainable kernel. Its checks are repeated here.
        axis = channel_axis(self.data_format)
        channels = input_shape[axis]
        self.input_spec = keras.InputSpec(min_ndim=4, axes={axis: channels})
        if channels % self.groups:
            raise ValueError(
                "The number of input channels must be divisible by `groups`. Received: "
                f"groups={self.groups}, input_shape={tuple(input_shape)} "
                f"with {channels} channels."
            )
        self.compute_output_shape(input_shape)
        self._group_channels = channels // self.groups
        self._build_basis()
        self._build_combination()
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.filters,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.built = True

    @property
    def basis(self) -> Tensor:
        if not self.built:
            raise AttributeError("You must build the layer before accessing `basis`.")
        return self._basis

    @property
    def _filters_shape(self):
        """The shape of the random filters."""
        return (*self.kernel_size, self._group_channels, self.basis_filters)

    @property
    def _basis_groups(self):
        return self.groups

    def _build_basis(self):
        self._basis = self._add_basis(self._filters_shape)

    def _add_basis(self, shape):
        return self.add_weight(
            name="basis",
            shape=shape,
            initializer=ByFunction(self._make_basis),
            # `model.trainable = True` would undo a flag that is set later.
            trainable=not self.frozen,
            autocast=False,
        )

    def _build_combination(self):
        """Creates what the subclass trains beside the bias."""

    @property
    def is_depthwise(self) -> bool:
        """Whether the layer equals a `DepthwiseConv2D`: each channel has its own filters."""
        one_stride = self.strides[0] == self.strides[1]  # as TensorFlow's needs it
        return 1 < self.groups and self._group_channels == 1 and one_stride

    def plain_layer(self) -> keras.layers.Layer:
        plain = super().plain_layer()
        if not self.is_depthwise:
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
            "none. `keras_lc.fold(model)` returns a model of plain Conv2D layers, on which "
            "`enable_lora` works."
        )

    def quantize(self, mode: str | None = None, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__} (layer '{self.name}') cannot be quantized in place. "
            "Call `keras_lc.fold(model)` first; for int8, export the folded model with "
            "`keras_lc.export(model, path, format='litert')` and quantize it there."
        )

    @property
    def _basis_variable(self):
        return self._basis

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[name]
        return config
