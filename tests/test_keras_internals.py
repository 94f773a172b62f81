"""One file uses what is private in Keras, and no other does."""

import ast
import pathlib

import keras
import pytest

import keras_lc
from keras_lc.keras_internals import flat_layers, source_layers
from keras_lc.surgery.export_worker import layers_within

PACKAGE = pathlib.Path(keras_lc.__path__[0])
# Names that a class here defines for itself, and Keras for classes that it does not inherit from.
OWN_NAMES = {
    "models/transformer.py": {"_initializer"},
    "training/lamb.py": {"_momentums", "_velocities"},
    "training/resume.py": {"_path"},
}
# Methods that Keras calls, and that a class here overrides: no public name says the same.
# `_apply_weight_decay`: the decay is part of our step. `_parallel_update_step`: PyTorch's form of
# `update_step`. `_run_through_graph`: `clone_model` makes the copy of its outputs.
HOOKS = {"_apply_weight_decay", "_parallel_update_step", "_run_through_graph"}


def private_names_of_keras():
    inputs = keras.Input((4, 4, 1))
    layers = [
        keras.layers.Conv2D(1, 1),
        keras.layers.DepthwiseConv2D(1),
        keras.layers.BatchNormalization(),
    ]
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "mse")
    optimizer.build(model.trainable_variables)
    objects = [
        *(inputs, outputs, *layers, model, optimizer, *model.variables),
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]),
        keras.optimizers.Adam(),
        keras.callbacks.Callback(),
        keras.distribution.ModelParallel,
        keras.initializers.Zeros(),
        keras.losses.MeanSquaredError(),
        keras.metrics.Mean(),
        keras.random.SeedGenerator(0),
        keras.utils.PyDataset(),
    ]
    return {name for value in objects for name in dir(value) if name[0] == "_" != name[1]}


def private_names_used(tree):
    """Yields the attributes that a file reads or sets, the methods of its classes, `keras.src`."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name in HOOKS:
            # What such a method overrides, it may call.
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and node.attr == function.name:
                    node.attr = "overridden"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("attr"):
            # `getattr`, `hasattr`, `setattr`
            yield from (word.value for word in node.args if isinstance(word, ast.Constant))
        elif isinstance(node, ast.ClassDef):
            methods = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
            yield from (method.name for method in methods if method.name not in HOOKS)
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("keras.src."):
            yield "keras.src"
        elif isinstance(node, ast.Import):
            yield from ("keras.src" for name in node.names if "keras.src" in name.name)


@pytest.mark.once
def test_one_file_uses_what_is_private_in_keras():
    private = {*private_names_of_keras(), "keras.src"}
    # The check itself sees what it is to see.
    assert {"_functional", "_flatten_layers", "_keras_history", "_loss_tracker"} <= private
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        used = set(private_names_used(ast.parse(path.read_text()))) & private
        if used - OWN_NAMES.get(name, set()):
            found[name] = used
    assert list(found) == ["keras_internals.py"], found


@pytest.mark.once
def test_the_inputs_of_many_residual_blocks_are_found():
    inputs = keras.Input((4,), name="images")
    outputs = inputs
    for _ in range(60):  # by following every path, 2^60 of them
        outputs = keras.layers.Add()([outputs, keras.layers.ReLU()(outputs)])
    assert [layer.name for layer in source_layers(outputs)] == ["images"]


def hidden_normalizations():
    def normalization():
        return keras.layers.Normalization(mean=1.0, variance=2.0)

    images = keras.Input((4, 4, 3))
    nested = keras.Sequential([keras.Input((4, 4, 3)), normalization()])
    wrapped = keras.layers.TimeDistributed(normalization())
    pipeline = keras.layers.Pipeline([normalization(), normalization()])
    return keras.Model(images, pipeline(wrapped(nested(normalization()(images)))))


@pytest.mark.once
def test_the_child_of_export_finds_hidden_layers_by_public_names():
    def normalizations(layers):
        return {layer for layer in layers if isinstance(layer, keras.layers.Normalization)}

    model = hidden_normalizations()
    found = normalizations(layers_within(model))
    assert len(found) == 5 and found == normalizations(flat_layers(model))
