"""All uses of Keras' private code. If Keras changes, look here.

Each function says why there is no public way. The module is at the root and not in `surgery`,
because layers, training and distribution need it too, and they must not import `surgery`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

# --- The graph of a model ---


class Call(NamedTuple):
    """One call of an operation in a graph. A shared layer has several calls."""

    operation: keras.Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: Sequence[keras.KerasTensor]
    outputs: Sequence[keras.KerasTensor]


def graph_of(layer: keras.Operation) -> keras.Function | None:
    """Returns the graph of a model's computation. Returns `None` if the model's `call` is code.

    A `Sequential` makes a graph when it is built. In public it shows its layers but not the graph.
    """
    if type(layer).call.__module__.partition(".")[0] != "keras":
        return None
    if isinstance(layer, keras.Sequential):
        return layer._functional
    return layer if isinstance(layer, keras.Model) and isinstance(layer, keras.Function) else None


def calls_of(graph: keras.Function) -> list[Call]:
    """Returns the calls of a graph in the order of the computation.

    `keras.Function.operations` lists each operation only once, and without its arguments and
    tensors. `keras.models.clone_model` shows calls, but makes them again.
    """
    by_depth = graph._nodes_by_depth
    return [
        Call(
            node.operation,
            node.arguments.args,
            node.arguments.kwargs,
            node.input_tensors,
            node.outputs,
        )
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if not node.is_input
    ]


def producer(tensor: keras.KerasTensor) -> keras.Operation:
    """Returns the operation that made a symbolic tensor. Only the tensor stores it."""
    return tensor._keras_history.operation


def source_layers(tensor: keras.KerasTensor) -> list[keras.Operation]:
    """Returns the input layers of a symbolic tensor.

    `keras.utils.get_source_inputs` is too slow: its time doubles with each residual block.
    """
    inputs, seen, left = [], set(), [tensor]
    while left:
        history = getattr(left.pop(), "_keras_history", None)
        if history is None or (history.operation, history.node_index) in seen:
            continue
        seen.add((history.operation, history.node_index))
        parents = history.operation._inbound_nodes[history.node_index].input_tensors
        left.extend(parents)
        if not parents:
            inputs.append(history.operation)
    return inputs


# --- Files ---


def saved_as_functional(cls: type) -> type:
    """Makes the files of a subclass of `keras.Model` name Keras' own class for such models.

    Where the subclass is registered, Keras finds it by its registered name. Elsewhere it takes
    its own class. Keras has no public name for that class, so all its files have this one.
    """
    cls.__module__, cls.__name__ = "keras.src.models.functional", "Functional"
    return cls


# --- Layers within layers ---


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers that a layer owns. In public, only models list their layers."""
    return layer.layers if isinstance(layer, keras.Model) else layer._layers


def flat_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers in it, each once. In public, only models list their layers."""
    return layer._flatten_layers()


# --- Optimizers and training ---


def place_of(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Returns the index of a variable in the optimizer's slots.

    Under TensorFlow, `update_step` receives the backend's variable. Only the optimizer knows
    which of the model's variables it is.
    """
    return optimizer._get_variable_index(variable)


def is_decayed(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Returns whether weight decay acts on a variable. The public method only sets it."""
    return optimizer._use_weight_decay(variable)


def schedule_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns the learning rate or its schedule. `learning_rate` gives only the current value."""
    return optimizer._learning_rate


def forget_restored_epoch(model: keras.Model) -> None:
    """Resets the epoch that `BackupAndRestore` sets. Keras would keep it for the next `fit`."""
    model._initial_epoch = None


def has_own_ddp(model: keras.Model) -> bool:
    """Returns whether Keras itself trains with DDP, as it does under PyTorch from 3.16 on."""
    return hasattr(model, "_initialize_ddp")
