"""Random numbers for each image of a batch: the same under every backend, continued from a file."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lc.layers.backend import replica_index
from keras_lc.layers.stored_variables import check_names, check_shapes
from keras_lc.seeds import resolve_seed
from keras_lc.types import Store, Tensor

_MASK = 0xFFFF
_ROUNDS = 6
# The state of a seed generator is int32 under PyTorch, uint32 under JAX, int64 under TensorFlow.
SEED_LIMIT = 2**31


def _hash16(words):
    """Hashes integer tensors, of which the low 16 bits count, to 16-bit integers; broadcasts.

    Feistel rounds on two 16-bit halves held in int32. No product exceeds 31 bits: all backends
    and accelerators agree on such arithmetic, and on little else (`keras.random` gives other
    numbers under each backend).
    """
    left, right = 0, 0x9E37
    for word in words:
        left = ops.bitwise_xor(word, left)
        for _ in range(_ROUNDS):
            product = right * 0x6D2B + 0x3C6F
            mixed = ops.bitwise_xor(product, ops.right_shift(product, 7))
            left, right = right, ops.bitwise_and(ops.bitwise_xor(left, mixed), _MASK)
    return right


class SeededRandomLayer(keras.layers.Layer):
    """Base class of layers that draw for each image, in training.

    The random numbers are a function of `seed`, of the number of batches seen and of the image's
    place in its batch.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = resolve_seed(seed)
        if self.seed >= SEED_LIMIT:
            raise ValueError(f"`seed` must be below 2**31. Received: seed={seed}")
        # Without a name, Keras numbers them through the process: no two models would be alike.
        self.seed_generator = keras.random.SeedGenerator(self.seed, name=self.name)

    def draw_words(self, batch_size: int | Tensor, count: int) -> Tensor:
        """Returns int32 numbers from 0 to 65535, of shape `(batch_size, count)`; new in each call.

        Args:
            batch_size: Integer or scalar tensor.
            count: Integer, the numbers of each image.
        """
        state = ops.cast(self.seed_generator.next(), "int32")
        low, high = ops.bitwise_and(state, _MASK), ops.right_shift(state, 16)
        high = ops.bitwise_and(high, _MASK)
        number = ops.arange(count, dtype="int32")
        # Its place in the whole batch, of which several devices may see a part each.
        image = ops.arange(batch_size, dtype="int32") + replica_index() * batch_size
        image = ops.reshape(image, (-1, 1))
        # The scalars first, so that most rounds run on one number and not on a batch of them.
        return _hash16([low[0], high[0], low[1], high[1], number, image])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    # Keras writes no seed generator's state, and a resumed run would draw as if it had just begun.
    def save_own_variables(self, store: Store) -> None:
        state = ops.convert_to_numpy(self.seed_generator.state.value)
        store["seed_state"] = state.astype("int64")

    def load_own_variables(self, store: Store) -> None:
        state = self.seed_generator.state
        check_names(self, store, {"seed_state"})
        check_shapes(self, store, {"seed_state": state})
        state.assign(np.array(store["seed_state"]).astype(state.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "seed": self.seed}
