"""Files of layers whose basis comes from a seed: the seed and a fingerprint, not the numbers."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lc.bases import Basis, Uniform
from keras_lc.layers.own_kernel import OwnKernel
from keras_lc.layers.stored_variables import check_names, check_shapes
from keras_lc.seeds import fingerprint
from keras_lc.types import Initializer, Store

_STORED_SEED = "seed"
_STORED_FINGERPRINT = "basis_fingerprint"


class SeededBasis:
    """Mixin of layers that own a basis variable which `seed` determines.

    A file holds the seed and a fingerprint of the basis. Loading draws the basis again. A file
    holds the basis itself only if the seed does not give it (it is learned, or set by hand).

    A layer has a `seed`. Its `_basis_variable` and `_draw` define what the seed determines.
    """

    @property
    def _basis_seed(self):
        """The seed of the basis. By default, it is the seed of the layer."""
        return self.seed

    @_basis_seed.setter
    def _basis_seed(self, seed):
        self.seed = seed

    @property
    def _basis_variable(self):
        """The variable that a file holds as a seed. `None` if another layer owns it."""
        raise NotImplementedError

    def _draw(self, seed):
        """Returns the random numbers of a seed, a float32 array. Their fingerprint is stored."""
        raise NotImplementedError

    def _basis_of(self, numbers):
        """Returns the basis, an array, from the random numbers of a seed."""
        return numbers

    def _is_from_seed(self):
        """Returns whether the layer was built with a basis from its seed."""
        return True

    def _other_variables(self):
        """Returns the variables that are always written to a file, by name."""
        return {}

    def has_seeded_basis(self) -> bool:
        """Returns whether `seed` gives the basis, so that files need not hold it."""
        return self._fingerprint_if_seeded() is not None

    def _seeded_basis(self, dtype):
        """Returns the basis from the seed, a tensor. The variable starts from it."""
        numbers = self._draw(self._basis_seed)
        basis = self._basis_of(numbers)
        if dtype == "float32":
            self._remember(basis.astype(dtype, copy=False), numbers)
        return ops.convert_to_tensor(basis, dtype)

    # Drawing takes longer than comparing, and a checkpoint may be written after every epoch.
    def _remember(self, held, numbers):
        self._fingerprints = (self._basis_seed, fingerprint(held), fingerprint(numbers))

    #: A seed, the fingerprint of the variable that it gave, and that of the random numbers.
    _fingerprints = ()

    def _fingerprint_if_seeded(self):
        """Returns the fingerprint of the random numbers; `None` if they do not give the basis."""
        if not self._is_from_seed():
            return None
        held = ops.convert_to_numpy(self._basis_variable.value)
        if self._fingerprints[:2] != (self._basis_seed, fingerprint(held)):
            numbers = self._draw(self._basis_seed)
            if not self._holds(self._basis_of(numbers)):
                return None
            self._remember(held, numbers)
        return self._fingerprints[2]

    def _is_exact(self):
        """Returns whether the seed gives the same bits on every machine."""
        return True

    def _holds(self, basis):
        if not self._is_exact():
            held = ops.convert_to_numpy(self._basis_variable.value).astype("float64")
            return np.allclose(held, basis, rtol=0, atol=1e-6 * np.abs(basis).max())
        as_stored = ops.cast(ops.convert_to_tensor(basis), self._basis_variable.dtype)
        return np.array_equal(
            ops.convert_to_numpy(as_stored), ops.convert_to_numpy(self._basis_variable.value)
        )

    def save_own_variables(self, store: Store) -> None:
        if not self.built:
            return
        for name, variable in self._other_variables().items():
            store[name] = variable
        if self._basis_variable is None:
            return
        stored = self._fingerprint_if_seeded()
        if stored is None:
            store["basis"] = self._basis_variable
        else:
            store[_STORED_SEED] = np.array(self._basis_seed, "int64")
            store[_STORED_FINGERPRINT] = np.array(stored)

    def load_own_variables(self, store: Store) -> None:
        if not self.built:
            return
        variables, from_seed = self._other_variables(), ()
        if self._basis_variable is not None:
            if "basis" in store.keys():
                variables["basis"] = self._basis_variable
            else:
                from_seed = (_STORED_SEED, _STORED_FINGERPRINT)
        # All checks come before the first change of the layer.
        check_names(self, store, {*variables, *from_seed})
        drawn = self._basis_in_file(store) if from_seed else None
        check_shapes(self, store, variables)
        if drawn is not None:
            self._basis_seed, basis = drawn
            self._basis_variable.assign(basis)
        for name, variable in variables.items():
            variable.assign(store[name])

    def _basis_in_file(self, store):
        """Returns seed and basis of a file, or `None` if the layer already has this basis."""
        seed = int(np.array(store[_STORED_SEED]))
        written = np.array(store[_STORED_FINGERPRINT]).astype("uint64")
        if seed == self._basis_seed and self._fingerprint_if_seeded() == written:
            return None
        numbers = self._draw(seed)
        if fingerprint(numbers) != written:
            raise ValueError(
                f"The basis of layer '{self.name}' cannot be regenerated: seed {seed} and shape "
                f"{tuple(self._basis_variable.shape)} give filters with fingerprint "
                f"{fingerprint(numbers):016x}, but the file was written with "
                f"{int(written):016x}. Was the layer built with other "
                "arguments (filters, expansion, kernel_size, groups) or input channels?"
            )
        basis = self._basis_of(numbers)
        return seed, ops.convert_to_tensor(basis, self._basis_variable.dtype)


def get_basis_initializer(identifier: Initializer | Basis) -> Any:
    """Returns a `Basis` or a Keras initializer, and `None` for the paper's basis."""
    initializer = keras.initializers.get(identifier)
    return None if initializer == Uniform() else initializer


class SeededFilters(SeededBasis, OwnKernel):
    """Mixin of convolutions whose basis is a `keras_lc.bases.Basis`, or of a Keras initializer.

    A layer has a `basis_initializer` and a `seed`. Its `_filters_shape` and `_basis_groups` define
    what to draw.
    """

    #: Which arguments replace the kernel arguments of a Keras layer. It is part of an error.
    _instead_of_kernel_arguments = ""

    def _refuse_kernel_arguments(self, arguments):
        """Raises `ValueError` for arguments about a kernel variable."""
        refused = sorted(
            name
            for name in arguments
            if name.startswith(("kernel_", "depthwise_", "lora_")) and name != "kernel_size"
        )
        if refused:
            raise ValueError(
                f"{type(self).__name__} has no kernel variable, so it takes no "
                f"{', '.join(f'`{name}`' for name in refused)}. "
                f"{self._instead_of_kernel_arguments} Received: "
                + ", ".join(f"{name}={arguments[name]!r}" for name in refused)
            )

    @property
    def _random_basis(self):
        """The `Basis` that draws the filters; `None` where a Keras initializer makes them."""
        if self.basis_initializer is None:
            return Uniform()
        return self.basis_initializer if isinstance(self.basis_initializer, Basis) else None

    def _make_basis(self, shape, dtype):
        if self._is_from_seed():
            return self._seeded_basis(dtype)
        return self.basis_initializer(shape, dtype=dtype)

    def _is_from_seed(self):
        return self._random_basis is not None

    def _draw(self, seed):
        return self._random_basis.draw_groups(seed, self._filters_shape, self._basis_groups)

    def _basis_of(self, numbers):
        return self._random_basis.finish_groups(numbers, self._basis_groups)

    def _is_exact(self):
        return self._random_basis.is_exact

    def _other_variables(self):
        return {} if self.bias is None else {"bias": self.bias}

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["seed"] = self.seed
        config["basis_initializer"] = keras.initializers.serialize(self.basis_initializer)
        return config
