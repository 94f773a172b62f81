"""Copies any model with its LC layers in the compact form."""

import keras

from keras_lc.layers.lc_conv import LCConv
from keras_lc.surgery.replace import paths_within, replace, to_numpy
from keras_lc.surgery.spatial_convolutions import is_lc_form, warn_of_no_effect


def to_compact(model: keras.Model) -> keras.Model:
    """Copies a model and brings each frozen LC layer into its compact form.

    The copy computes the same outputs at the cost of plain convolutions. With an optimizer that
    is linear in the gradient, it also learns the same; see `keras_lc.LCConv2D`. A layer does not
    change if its basis is learned, or if the basis has no more filters than the compact form. If
    the copy has no compact layer, a warning says so.

    Args:
        model: A Functional or Sequential model. It does not change.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: If the seed does not give the frozen basis (it was set by hand, or a Keras
            initializer made it). If a frozen layer is a subclass of an LC layer (it may
            compute something else). If a layer or a subclassed model hides an LC layer.

    Example:

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras_lc.LCConv2D(4, 3, expansion=64)])
    >>> keras_lc.to_compact(model).layers[0].combination.shape
    (27, 4)
    """

    _refuse_subclasses(model)

    def compact(layer):
        if not _is_full(layer):
            return None
        if not layer.has_seeded_basis():
            raise ValueError(
                f"The basis of layer '{layer.name}' is not what its seed gives, so a file could "
                "not restore its compact form. Use only layers with a basis from a seed."
            )
        twin = type(layer).from_config(layer.get_config() | {"compact": True})
        shape = [None] * layer.input_spec.min_ndim
        for axis, channels in layer.input_spec.axes.items():
            shape[axis] = channels
        twin.build(tuple(shape))
        if not twin.is_factored:
            return None
        twin.combination.assign(twin.compact_combination(layer.combination))
        if layer.bias is not None:
            twin.bias.assign(to_numpy(layer.bias))
        return [twin]

    copy = replace(model, compact)
    if not any(getattr(layer, "is_factored", False) for layer in paths_within(copy)):
        what = "LC layer with a frozen basis of more filters than the compact form"
        warn_of_no_effect("to_compact", model, what)
    return copy


def _is_full(layer):
    return isinstance(layer, LCConv) and layer.frozen and not layer.compact


def _refuse_subclasses(model):
    subclasses = [
        f"{path} ({type(layer).__name__})"
        for layer, path in paths_within(model).items()
        if _is_full(layer) and not is_lc_form(layer)
    ]
    if subclasses:
        raise ValueError(
            f"These layers of model '{model.name}' have no known compact form: "
            f"{', '.join(subclasses)}. A subclass of an LC layer may compute something else. Build "
            "the layers with `compact=True`, or use those of keras_lc."
        )
