"""The protocol of layers that are a convolution of Keras, with a kernel of their own."""

import keras

from keras_lc.types import Store

# A class that overrides one of these may compute something else.
_COMPUTATION = ("call", "convolution_op")


class OwnKernel:
    """Mixin: a convolution of Keras that computes its kernel itself.

    Write it before one of Keras' convolutions, or one of `keras_lc.layers`, and define the
    property `kernel`. Then `fold`, `export`, `filter_report`, `lc_rate` and all other functions of
    this library treat the layer as the plain convolution that it is. They know a layer by these
    attributes alone, and not by its class:

    - `kernel`: Tensor, what the input is convolved with, as Keras' layer would hold it.
    - `bias`: Variable or `None`.
    - `plain_layer()`: The layer of Keras that equals this one, if its weights are `kernel` and
      `bias`. It is not built. By default, it is of the first class of Keras that the layer derives
      from, and has the layer's options. A class that overrides `call` must also define this
      method, since it may compute something else.

    A layer that does not derive from a convolution of Keras has the protocol if it defines all
    three. Layers that are linear combinations of random filters also have:

    - `combination`: Variable whose last axes are `(basis filters of a group, filters)`.
    - `basis_filters`: Integer, the number of random filters.
    - `frozen`: Boolean, whether the random filters are never trained. A layer without a
      `combination` can have it too.

    Example:

    >>> @keras.saving.register_keras_serializable("my_package")
    ... class SymmetricConv2D(keras_lc.layers.OwnKernel, keras_lc.layers.Conv2D):
    ...     @property
    ...     def kernel(self):
    ...         return (super().kernel + keras.ops.flip(super().kernel, axis=1)) / 2
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), SymmetricConv2D(4, 3, name="conv")])
    >>> type(keras_lc.fold(model).get_layer("conv")) is keras.layers.Conv2D
    True
    """

    combination = None
    frozen = False

    def plain_layer(self) -> keras.layers.Layer:
        cls = keras_base(self)
        if not hasattr(self, "kernel_size"):
            raise NotImplementedError(
                f"{type(self).__name__} (layer '{self.name}') does not derive from a convolution "
                "of Keras, so it must define `plain_layer`."
            )
        config = cls.get_config(self)
        # The weights are given, so Keras' initializers suffice, and the file needs no others.
        return cls.from_config(
            {key: value for key, value in config.items() if not key.endswith("_initializer")}
        )

    # Keras would store the kernel, and load it into a variable that is something else.

    def save_own_variables(self, store: Store) -> None:
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Store) -> None:
        keras.layers.Layer.load_own_variables(self, store)


def keras_base(layer: keras.layers.Layer) -> type:
    """Returns the first class of Keras that a layer derives from."""
    return next(cls for cls in type(layer).__mro__ if cls.__module__.split(".")[0] == "keras")


def plain_layer_of(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """Returns the convolution of Keras that a layer equals, not built; `None` if there is none."""
    for cls in type(layer).__mro__:
        if "plain_layer" in vars(cls):
            return layer.plain_layer()
        if any(name in vars(cls) for name in _COMPUTATION):
            return None
    return None


def computes_kernel(layer: keras.layers.Layer) -> bool:
    """Returns whether the kernel of a layer is not simply one of its variables."""
    if getattr(layer, "combination", None) is not None:
        return True
    return isinstance(layer, OwnKernel) and not isinstance(layer.kernel, keras.Variable)
