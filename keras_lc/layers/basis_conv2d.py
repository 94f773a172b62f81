"""What the layers share whose filters come from a seed: arguments, build, saving."""

import numbers

import keras
import numpy as np
from keras import ops

from keras_lc.layers.random_basis import fan_in_uniform, fingerprint, resolve_seed

_STORED_SEED = "seed"
_STORED_FINGERPRINT = "basis_fingerprint"


def check_expansion(expansion: int) -> int:
    """Returns `expansion` if it can be the number of basis filters per output channel."""
    whole = isinstance(expansion, numbers.Integral) and not isinstance(expansion, bool)
    if not whole or expansion < 1:
        raise ValueError(
            f"`expansion` must be an integer of at least 1. Received: expansion={expansion!r}"
        )
    return int(expansion)


class BasisConv2D(keras.layers.Conv2D):
    """Base class: a Conv2D whose kernel is made from a seeded `basis`.

    A subclass sets `basis_filters` and `frozen` before `build`, and gives the layer its `kernel`.

    The basis is saved as its seed and a fingerprint, and drawn anew when a file is loaded; only
    a basis that is not what the seed gives (learned, or set by hand) is written out.
    """

    #: What to pass in place of Conv2D's `kernel_*` arguments; said when one is refused.
    _instead_of_kernel_arguments = ""

    def __init__(self, filters, kernel_size, *, basis_initializer=None, seed=None, **kwargs):
        refused = sorted(name for name in kwargs if name.startswith(("kernel_", "lora_")))
        if refused:
            raise ValueError(
                f"{type(self).__name__} has no kernel variable, so it takes no "
                f"{', '.join(f'`{name}`' for name in refused)}. "
                f"{self._instead_of_kernel_arguments} Received: "
                + ", ".join(f"{name}={kwargs[name]!r}" for name in refused)
            )
        super().__init__(filters, kernel_size, **kwargs)
        self.seed = resolve_seed(seed)
        self.basis_initializer = keras.initializers.get(basis_initializer)

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
        self.basis = self.add_weight(
            name="basis",
            shape=self._basis_shape(channels // self.groups),
            initializer=self._make_basis,
            # A flag set later would be undone by `model.trainable = True`.
            trainable=not self.frozen,
            autocast=False,
        )
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

    def _filters_shape(self, channels):
        """The shape of the random filters, for that many input channels of a group."""
        return (*self.kernel_size, channels, self.basis_filters)

    def _basis_shape(self, channels):
        return self._filters_shape(channels)

    def _make_basis(self, shape, dtype):
        if self.basis_initializer:
            return self.basis_initializer(shape, dtype=dtype)
        return ops.convert_to_tensor(fan_in_uniform(self.seed, tuple(shape)), dtype=dtype)

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

    def quantize(self, mode=None, **kwargs):
        raise NotImplementedError(
            f"{type(self).__name__} (layer '{self.name}') cannot be quantized in place. "
            "Call `keras_lc.fold(model)` first; for int8, export the folded model with "
            "`keras_lc.export(model, path, format='litert')` and quantize it there."
        )

    def _trained_variables(self):
        """The variables that are always written to a file, by name."""
        return {} if self.bias is None else {"bias": self.bias}

    def _draw_filters(self, seed):
        return fan_in_uniform(seed, self._filters_shape(self.basis.shape[2]))

    def _basis_of(self, filters, seed):
        """The basis that the random filters of a seed give, as an array."""
        return filters

    def save_own_variables(self, store):
        if not self.built:
            return
        for name, variable in self._trained_variables().items():
            store[name] = variable
        filters = self._filters_if_seeded()
        if filters is not None:
            store[_STORED_SEED] = np.array(self.seed, "int64")
            store[_STORED_FINGERPRINT] = np.array(fingerprint(filters))
        else:
            store["basis"] = self.basis

    def has_seeded_basis(self) -> bool:
        """Returns whether the basis is what `seed` gives, and so need not be stored."""
        return self._filters_if_seeded() is not None

    def _filters_if_seeded(self):
        if self.basis_initializer:
            return None
        filters = self._draw_filters(self.seed)
        return filters if self._holds(self._basis_of(filters, self.seed)) else None

    def _holds(self, basis):
        as_stored = ops.cast(ops.convert_to_tensor(basis), self.basis.dtype)
        return np.array_equal(
            ops.convert_to_numpy(as_stored), ops.convert_to_numpy(self.basis.value)
        )

    def load_own_variables(self, store):
        if not self.built:
            return
        expected = self._trained_variables()
        found = set(store.keys())
        basis_names = {"basis"}, {_STORED_SEED, _STORED_FINGERPRINT}
        if not any(found == set(expected) | names for names in basis_names):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) expects the variables "
                f"{sorted(expected)} and its basis (as 'basis', or as '{_STORED_SEED}' with "
                f"'{_STORED_FINGERPRINT}'), but the file holds {sorted(found)}."
            )
        if "basis" in found:
            self.basis.assign(store["basis"])
        else:
            self._regenerate_basis(store)
        for name, variable in expected.items():
            variable.assign(store[name])

    def _regenerate_basis(self, store):
        seed = int(np.array(store[_STORED_SEED]))
        filters = self._draw_filters(seed)
        written = np.array(store[_STORED_FINGERPRINT]).astype("uint64")
        if fingerprint(filters) != written:
            raise ValueError(
                f"The basis of layer '{self.name}' cannot be regenerated: seed {seed} and shape "
                f"{filters.shape} give filters with fingerprint {fingerprint(filters):016x}, but "
                f"the file was written with {int(written):016x}. Was the layer built with other "
                "arguments (filters, expansion, kernel_size, groups) or input channels?"
            )
        self.seed = seed
        self.basis.assign(ops.convert_to_tensor(self._basis_of(filters, seed), self.basis.dtype))

    def get_config(self):
        config = super().get_config()
        for name in ("kernel_initializer", "kernel_regularizer", "kernel_constraint"):
            del config[name]
        config["seed"] = self.seed
        config["basis_initializer"] = keras.initializers.serialize(self.basis_initializer)
        return config
