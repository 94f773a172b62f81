"""Copies a Keras model and replaces some of its layers. All surgery uses this module."""

from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from keras_lc.class_names import class_names_of, functional
from keras_lc.keras_internals import flat_layers, graph_of, inner_layers
from keras_lc.types import Array

Substitute = Callable[[keras.layers.Layer], Sequence[keras.layers.Layer] | None]


def replace(model: keras.Model, substitute: Substitute) -> keras.Model:
    """Copies a Functional or Sequential model and replaces some of its layers.

    Nested models are copied in the same way, at any depth. A layer with several calls is replaced
    once and stays shared. All other layers keep their names, variables (also statistics and the
    state of seed generators), dtype policies and `trainable` flags.

    The copy is a plain `keras.Model` or `keras.Sequential`, even if the model is a subclass: the
    subclass's constructor would build the old layers again. The copy keeps the model's
    `class_names`. It is not compiled, because the optimizer's slots belong to variables that the
    copy may not have.

    Args:
        model: A Functional or Sequential model that is built. It does not change.
        substitute: Function that takes a layer. It returns `None` to keep the layer, or a list of
            new layers to call one after the other. An empty list removes the layer. If the list
            has one layer that is not built, this layer gets the variables of the old layer. Built
            layers keep their own variables. Nested models are not passed to the function, but
            their layers are.

    Returns:
        The copy.

    Raises:
        ValueError: If the model is subclassed or not built. If a layer or a subclassed model
            hides a layer that `substitute` would replace.

    Example:

    >>> def swish_for_relu(layer):
    ...     if isinstance(layer, keras.layers.ReLU):
    ...         return [keras.layers.Activation("swish", name=layer.name)]
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU(name="act")])
    >>> replace(model, swish_for_relu).get_layer("act").activation.__name__
    'silu'
    """
    check_is_model(model)
    if graph_of(model) is None:
        hidden = _replaceable_within(model, model.name, substitute)
        raise ValueError(
            f"The layers of model '{model.name}' ({type(model).__name__}) cannot be replaced: it "
            "has no graph of layers. It is not built, or it is a subclass with its own `call`. "
            "Build it, or write it as a Functional model."
            + (f" These layers had to be replaced: {', '.join(hidden)}." if hidden else "")
        )
    return _Walk(substitute).run(model)


def graphs_within(model: keras.Model) -> list[keras.Function]:
    """Returns the graphs of a model and of all models nested in it, each once."""
    graphs = []

    def collect(layer):
        graph = graph_of(layer)
        if graph is not None and graph not in graphs:
            graphs.append(graph)
            for inner in graph.layers:
                collect(inner)

    collect(model)
    return graphs


def layers_within(
    layer: keras.layers.Layer, path: str = ""
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields `(path, layer)` for all layers in a layer, also hidden ones.

    A shared layer comes once for each of its owners.
    """
    for inner in inner_layers(layer):
        inner_path = f"{path}/{inner.name}" if path else inner.name
        yield inner_path, inner
        yield from layers_within(inner, inner_path)


def paths_within(model: keras.Model) -> dict[keras.layers.Layer, str]:
    """Returns the path of each layer in a model, also of hidden ones.

    For a shared layer, it is the first path.
    """
    check_is_model(model)
    paths = {}
    for path, layer in layers_within(model):
        paths.setdefault(layer, path)
    return paths


def to_numpy(value: Array) -> np.ndarray:
    """Returns the value as a NumPy array, so that no two variables share a buffer.

    Under JAX, a variable that is assigned from another shares its buffer. `fit` and `predict`
    give buffers away, so they would delete the values of the other model. An array on the host
    also does not tie the new variable to a device.
    """
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(value))


def check_is_model(model: object) -> None:
    """Raises `ValueError` if `model` is not a Keras model."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`model` must be a Keras model. Load a file with `keras.saving.load_model`, and put a "
            f"single layer into a `keras.Sequential`. Received: model={model!r}"
        )


def _replaceable_within(layer, path, substitute):
    return [
        inner_path
        for inner_path, inner in layers_within(layer, path)
        if substitute(inner) is not None
    ]


class _Walk:
    def __init__(self, substitute):
        self.substitute = substitute
        # Layer or other operation of the model → its replacements in the copy.
        self.copies = {}
        # (layer, its copy), if the copy gets the variables of the layer.
        self.twins = []

    def run(self, model):
        copy = self.copy_model(model, path="")
        self.copies[model] = [copy]
        for source, target in self.twins:
            _assign_variables(source, target)
        self.copy_trainable_flags()
        return copy

    def copy_model(self, model, path):
        graph, names = graph_of(model), class_names_of(model)
        if isinstance(model, keras.Sequential):
            layers = [new for layer in model.layers for new in self.copies_of(layer, path)]
            # Without a layer, a Sequential cannot be called.
            layers = layers or [keras.layers.Identity()]
            inputs = _input_copier(graph)(graph.inputs[0])
            copy = keras.Sequential([inputs, *layers], name=model.name)
            if names is not None:
                copy.class_names = names
            return copy
        # Not a subclass and not compiled, because the copy would be the same.
        plain = functional(model.input, model.output, model.name, names)
        return keras.models.clone_model(
            plain,
            input_tensors=keras.tree.map_structure(_input_copier(plain), plain.input),
            clone_function=lambda operation: operation,
            call_function=lambda operation, *args, **kwargs: _call(
                self.copies_of(operation, path), args, kwargs
            ),
        )

    def copies_of(self, operation, path):
        if operation not in self.copies:
            path = f"{path}/{operation.name}" if path else operation.name
            # Inner layers are copied first: `copy_trainable_flags` needs this order.
            self.copies[operation] = self.make_copies(operation, path)
        return self.copies[operation]

    def make_copies(self, operation, path):
        if not isinstance(operation, keras.layers.Layer):
            return [_copy(operation, path)]
        if graph_of(operation) is not None:
            return [self.copy_model(operation, path)]
        substitutes = self.substitute(operation)
        if substitutes is not None:
            substitutes = list(substitutes)
            if len(substitutes) == 1 and not substitutes[0].built:
                self.twins.append((operation, substitutes[0]))
            return substitutes
        hidden = _replaceable_within(operation, path, self.substitute)
        if hidden:
            raise ValueError(
                f"These layers cannot be replaced: {', '.join(hidden)}. Layer '{path}' "
                f"({type(operation).__name__}) owns them and hides how it calls them. Use them in "
                "the model's graph itself, or in a nested Functional or Sequential model."
            )
        copy = _copy(operation, path)
        self.twins.append((operation, copy))
        return [copy]

    def copy_trainable_flags(self):
        twins = dict(self.twins)
        # The flag of a layer also sets the flags of all its inner layers: outer layers first.
        for source, targets in reversed(self.copies.items()):
            if source in twins:
                pairs = zip(flat_layers(source), flat_layers(twins[source]), strict=True)
            elif isinstance(source, keras.layers.Layer):
                pairs = ((source, target) for target in targets)
            else:
                continue
            for original, copy in pairs:
                copy.trainable = original.trainable
        for source, target in self.twins:
            for original, copy in zip(source.variables, target.variables, strict=True):
                copy.trainable = original.trainable


def _copy(operation, path):
    try:
        return type(operation).from_config(operation.get_config())
    except Exception as error:
        if isinstance(operation, keras.layers.Lambda):
            way_out = (
                "Write it as your own `keras.layers.Layer`, or with `keras.ops` in the model's "
                "graph. If you trust its code, call "
                "`keras.config.enable_unsafe_deserialization()` to allow the copy."
            )
        else:
            way_out = "`get_config()` must return all arguments of its constructor."
        raise ValueError(
            f"Layer '{path}' ({type(operation).__name__}) cannot be copied. {way_out} "
            f"Keras says: {error}"
        ) from error


def _input_copier(graph):
    """Returns a function that copies an input of a graph with its layer's settings."""
    layers = {
        id(layer.output): layer
        for layer in graph.operations
        if isinstance(layer, keras.layers.InputLayer)
    }

    def copy(tensor):
        layer = layers[id(tensor)]
        return type(layer).from_config(layer.get_config()).output

    return copy


def _call(layers, args, kwargs):
    if not layers:
        return args[0] if args else kwargs["inputs"]
    outputs = layers[0](*args, **kwargs)
    for layer in layers[1:]:
        outputs = layer(outputs, training=kwargs.get("training"))
    return outputs


def copy_stored(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Gives a layer, and all layers in it, what a file of another layer would hold.

    Unlike `set_weights`, this also takes over the seeds of random filters.

    Args:
        source: A layer that is built.
        target: A layer of the same kind and shape.
    """
    for original, copy in zip(flat_layers(source), flat_layers(target), strict=True):
        stored = {}
        original.save_own_variables(stored)
        # As arrays: under JAX, two variables must not share a buffer.
        copy.load_own_variables({name: to_numpy(value) for name, value in stored.items()})


def _assign_variables(source, target):
    shapes = [variable.shape for variable in source.variables]
    if shapes != [variable.shape for variable in target.variables]:
        raise ValueError(
            f"The variables of layer '{source.name}' ({type(source).__name__}) cannot be taken "
            f"over. Their shapes are {shapes}, but the new layer ({type(target).__name__}) has the "
            f"shapes {[variable.shape for variable in target.variables]}. Check that its "
            "`get_config()` returns all arguments of its constructor."
        )
    for original, copy in zip(source.variables, target.variables, strict=True):
        copy.assign(to_numpy(original))
    for layer in flat_layers(target):
        # `keras.layers.Normalization` makes constants from its variables and computes with them.
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()
