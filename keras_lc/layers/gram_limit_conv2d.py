"""Conv2D that learns as a frozen LC layer does in the limit of many random filters."""

import math
from typing import Any, NoReturn

import keras

from keras_lc.layers.accelerated import Conv2D
from keras_lc.layers.basis_conv import check_expansion
from keras_lc.layers.initializers import FanInUniform
from keras_lc.layers.own_kernel import OwnKernel
from keras_lc.layers.stored_variables import check_names, check_shapes
from keras_lc.seeds import resolve_seed
from keras_lc.types import Shape, Size, Store, Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class GramLimitConv2D(OwnKernel, Conv2D):
    """Conv2D that learns like a frozen LC layer in the limit of many random filters.

    In a frozen LC layer, the Gram matrix of the basis preconditions the gradient descent of the
    kernel. As the expansion grows, this matrix tends to
    `f = filters · expansion / (3 · channels · k²)` times the identity. This layer uses the limit
    instead of the matrix: its kernel is `√f` times the trained variable. So a gradient step
    changes the kernel `f` times as much as in a Conv2D, and weight decay acts as on any weight.
    The kernel starts with the variance of an LC layer's kernel, `1 / (9 · channels · k²)`. Only
    the initial values are random. So the layer shows what frozen LC gains from its learning rates
    and initialization alone.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer or tuple of 2 integers, in pixels.
        expansion: Integer, the expansion of the LC layer to compare with.
        seed: Integer, the seed of the initial kernel. `None` draws a seed once.
        **kwargs: As in `keras.layers.Conv2D`.

    Example:

    >>> layer = keras_lc.layers.GramLimitConv2D(16, 3, expansion=128)
    >>> layer(np.zeros((1, 8, 8, 16))).shape
    (1, 6, 6, 16)
    >>> round(layer.learning_rate_factor, 2)
    4.74

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        *,
        expansion: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ):
        if kwargs.get("lora_rank"):
            raise ValueError(
                "GramLimitConv2D takes no `lora_rank`: fold the model to plain Conv2D layers "
                f"first. Received: lora_rank={kwargs['lora_rank']!r}"
            )
        self.expansion = check_expansion(expansion)
        self.seed = resolve_seed(seed)
        super().__init__(filters, kernel_size, **{"kernel_initializer": None, **kwargs})
        if self.kernel_initializer is None:
            # The combination has this distribution in the limit. It gives the variance above.
            self.kernel_initializer = FanInUniform(self.seed, fan_in=self._basis_filters)

    @property
    def _basis_filters(self):
        return self.filters * self.expansion // self.groups

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        numbers_of_a_filter = math.prod(self._trained_kernel.shape[:-1])
        self.learning_rate_factor = self._basis_filters / (3 * numbers_of_a_filter)

    @property
    def kernel(self) -> Tensor:
        if not self.built:
            raise AttributeError("You must build the layer before accessing `kernel`.")
        return self._trained_kernel * math.sqrt(self.learning_rate_factor)

    @property
    def _trained_kernel(self):
        return super().kernel

    def save_own_variables(self, store: Store) -> None:
        if self.built:
            for name, variable in self._trained_variables.items():
                store[name] = variable

    def load_own_variables(self, store: Store) -> None:
        if self.built:
            check_names(self, store, self._trained_variables)
            check_shapes(self, store, self._trained_variables)
            for name, variable in self._trained_variables.items():
                variable.assign(store[name])

    @property
    def _trained_variables(self):
        bias = {} if self.bias is None else {"bias": self.bias}
        return {"kernel": self._trained_kernel, **bias}

    def enable_lora(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"GramLimitConv2D (layer '{self.name}') has no LoRA. `keras_lc.fold(model)` returns a "
            "model of plain Conv2D layers, on which `enable_lora` works."
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "expansion": self.expansion, "seed": self.seed}
