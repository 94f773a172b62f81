"""Full LC layers into compact ones."""

import keras

from keras_lc.layers import LCConv2D
from keras_lc.surgery.replace import replace, to_numpy


def to_compact(model: keras.Model) -> keras.Model:
    """Copies a model, with each frozen LCConv2D in its compact form.

    The copy computes the same, and under an optimizer that is linear in the gradient it learns the
    same, at the price of plain convolutions; see `keras_lc.LCConv2D`. Layers whose basis is
    learned, or has no more filters than the compact form, stay as they are.

    Args:
        model: A Functional or Sequential model. It stays as it is.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: If a frozen basis is not what its seed gives (set by hand, or made by a
            `basis_initializer`), or if a layer or subclassed model hides an LCConv2D.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras_lc.LCConv2D(4, 3, expansion=64)])
    >>> keras_lc.to_compact(model).layers[0].combination.shape
    (27, 4)
    """

    def compact(layer):
        if type(layer) is not LCConv2D or not layer.frozen or layer.compact:
            return None
        if not layer.has_seeded_basis():
            raise ValueError(
                f"The basis of layer '{layer.name}' is not what its seed gives, so it has no "
                "compact form that could be loaded from a file."
            )
        twin = LCConv2D.from_config(layer.get_config() | {"compact": True})
        shape = [None] * 4
        for axis, channels in layer.input_spec.axes.items():
            shape[axis] = channels
        twin.build(tuple(shape))
        if not twin.is_factored:
            return None
        twin.combination.assign(twin.compact_combination(layer.combination))
        if layer.bias is not None:
            twin.bias.assign(to_numpy(layer.bias))
        return [twin]

    return replace(model, compact)
