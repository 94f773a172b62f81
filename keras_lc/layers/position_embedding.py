"""A trained vector for each position in a feature map."""

from typing import Any

import keras
import numpy as np

from keras_lc.layers.stored_variables import check_names
from keras_lc.types import Initializer, Shape, Store, Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class PositionEmbedding(keras.layers.Layer):
    """Adds a trained vector to each position in a feature map.

    If loaded weights are for a map of another size, they are resampled. So a network that was
    trained with one image size can continue with another.

    Args:
        initializer: Keras initializer of the vectors.

    Input shape: `(batch, height, width, channels)`, with a known height and width.

    Output shape: Same as the input shape.

    Example:

    >>> layer = keras_lc.layers.PositionEmbedding()
    >>> layer(np.zeros((1, 14, 14, 384))).shape
    (1, 14, 14, 384)
    """

    def __init__(self, initializer: Initializer = "zeros", **kwargs: Any):
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape: Shape) -> None:
        self.embedding = self.add_weight(
            name="embedding", shape=tuple(input_shape[1:]), initializer=self.initializer
        )
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return inputs + self.embedding

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def save_own_variables(self, store: Store) -> None:
        store["embedding"] = self.embedding

    def load_own_variables(self, store: Store) -> None:
        check_names(self, store, {"embedding"})
        values, own = np.array(store["embedding"]), tuple(self.embedding.shape)
        if values.ndim != 3 or values.shape[-1] != own[-1]:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}) has variables of other shapes than "
                f"the file: 'embedding' {values.shape}, where the layer has {own}. Only height "
                "and width may differ."
            )
        self.embedding.assign(self.resampled(values))

    def resampled(self, values: np.ndarray) -> np.ndarray:
        """Returns a map `(height, width, channels)` in the size of this layer's: bicubic."""
        height, width, _ = self.embedding.shape
        rows, columns = _bicubic(values.shape[0], height), _bicubic(values.shape[1], width)
        resampled = np.einsum("ab,bcd,ec->aed", rows, values, columns)
        return resampled.astype(values.dtype)

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "initializer": initializer}


def _bicubic(size, new_size):
    """Returns the matrix that resamples a line, as PyTorch does it (without `align_corners`).

    Keys' cubic with a = -0.75, of which each place takes 4, and the last one again beyond the end.
    """
    if size == new_size:
        return np.eye(size)
    a = -0.75
    centres = (np.arange(new_size) + 0.5) * size / new_size - 0.5
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros((new_size, size))
    for place in (first, first + 1, first + 2, first + 3):
        t = np.abs(centres - place)
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
        weights = np.where(t <= 1, near, far)
        np.add.at(matrix, (np.arange(new_size), np.clip(place, 0, size - 1)), weights)
    return matrix
