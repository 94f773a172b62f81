"""All that is private in Keras and used here: the one place to look at when Keras changes.

Each function says why nothing public does. It stands at the root, and not in `surgery`, since
layers, training and distribution need some of it, and know no surgery.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

# --- The graph of a model ---


class Call(NamedTuple):
    """One call of an operation in a graph: a shared layer has several."""

    operation: keras.Operation
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: Sequence[keras.KerasTensor]
    outputs: Sequence[keras.KerasTensor]


def graph_of(layer: keras.Operation) -> keras.Function | None:
    """Returns the graph that says what a model computes, or `None` where only code says it.

    A `Sequential` makes a graph when it is built, and shows its layers and not the graph.
    """
    if type(layer).call.__module__.partition(".")[0] != "keras":
        return None
    if isinstance(layer, keras.Sequential):
        return layer._functional
    return layer if isinstance(layer, keras.Model) and isinstance(layer, keras.Function) else None


def calls_of(graph: keras.Function) -> list[Call]:
    """Returns the calls of a graph in the order of the computation.

    `keras.Function.operations` has each operation once, however often it is called, and neither
    its arguments nor its tensors. `keras.models.clone_model` shows calls, but makes them anew.
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
    """Returns the operation whose output a symbolic tensor is; the tensor alone knows it."""
    return tensor._keras_history.operation


def source_layers(tensor: keras.KerasTensor) -> list[keras.Operation]:
    """Returns the input layers from which a symbolic tensor is computed.

    `keras.utils.get_source_inputs` takes time that doubles with each residual block.
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


# --- Layers within layers ---


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers that a layer owns; only models list theirs in public."""
    return layer.layers if isinstance(layer, keras.Model) else layer._layers


def flat_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all below, each once; only models list theirs in public."""
    return layer._flatten_layers()


# --- Optimizers and training ---


def place_of(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Returns the place of a variable's slots.

    What `update_step` is given is the backend's own variable under TensorFlow, and only the
    optimizer knows which of the model's it is.
    """
    return optimizer._get_variable_index(variable)


def is_decayed(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Returns whether weight decay acts on a variable; `exclude_from_weight_decay` only sets it."""
    return optimizer._use_weight_decay(variable)


def schedule_of(optimizer: keras.optimizers.Optimizer) -> Any:
    """Returns the learning rate or its schedule; `learning_rate` is the schedule's value."""
    return optimizer._learning_rate


def forget_restored_epoch(model: keras.Model) -> None:
    """Undoes what `BackupAndRestore` sets for one `fit`, and Keras keeps for the next."""
    model._initial_epoch = None


def has_own_ddp(model: keras.Model) -> bool:
    """Returns whether Keras trains with DDP by itself, as from 3.16 on under PyTorch."""
    return hasattr(model, "_initialize_ddp")
