"""What the layers share whose filters come from a seed: arguments, variables, saving."""

import keras
import numpy as np
from keras import ops

from keras_lc.layers.random_basis import fan_in_uniform, fingerprint, resolve_seed

_STORED_SEED = "seed"
_STORED_FINGERPRINT = "basis_fingerprint"


class SeededBasis:
    """Mixin of a Keras convolution: a `basis` drawn from `seed` takes the place of its kernel.

    A subclass names the kernel arguments of the convolution, sets `frozen`, calls `_add_basis` and
    `_add_bias` in `build`, and gives the layer its `kernel`.

    The basis is saved as its seed and a fingerprint, and drawn anew when a file is loaded; only
    a basis that is not what the seed gives (learned, or set by hand) is written out.
    """

    #: What the names of the convolution's kernel arguments begin with.
    _kernel_prefix = "kernel"
    #: What to pass in their place; said when one is refused.
    _instead_of_kernel_arguments = ""
    #: The number of inputs of one output. `None`: the product of all axes but the last.
    _fan_in = None

    def __init__(self, *args, basis_initializer=None, seed=None, **kwargs):
        refused = sorted(
            name for name in kwargs if name.startswith((f"{self._kernel_prefix}_", "lora_"))
        )
        if refused:
            raise ValueError(
                f"{type(self).__name__} has no kernel variable, so it takes no "
                f"{', '.join(f'`{name}`' for name in refused)}. "
                f"{self._instead_of_kernel_arguments} Received: "
                + ", ".join(f"{name}={kwargs[name]!r}" for name in refused)
            )
        super().__init__(*args, **kwargs)
        self.seed = resolve_seed(seed)
        self.basis_initializer = keras.initializers.get(basis_initializer)

    def _filters_shape(self, channels):
        """The shape of the random filters, for that many channels on the basis' third axis."""
        raise NotImplementedError

    def _add_basis(self, shape, **options):
        self.basis = self.add_weight(
            name="basis",
            shape=shape,
            initializer=self._make_basis,
            # A flag set later would be undone by `model.trainable = True`.
            trainable=not self.frozen,
            **options,
        )

    def _add_bias(self, size):
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(size,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def _make_basis(self, shape, dtype):
        if self.basis_initializer:
            return self.basis_initializer(shape, dtype=dtype)
        filters = fan_in_uniform(self.seed, tuple(shape), self._fan_in)
        return ops.convert_to_tensor(filters, dtype=dtype)

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
        return fan_in_uniform(seed, self._filters_shape(self.basis.shape[2]), self._fan_in)

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
        for argument in ("initializer", "regularizer", "constraint"):
            del config[f"{self._kernel_prefix}_{argument}"]
        config["seed"] = self.seed
        config["basis_initializer"] = keras.initializers.serialize(self.basis_initializer)
        return config
