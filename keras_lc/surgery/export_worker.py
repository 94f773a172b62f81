"""The child process of `export`. It writes a plain Keras model in a format, or runs such a file.

`export` runs it as a script, by its path, so that it loads neither keras_lc nor the parent's
backend:

    export_worker.py write  FORMAT MODEL.keras FILE
    export_worker.py verify FORMAT FILE BATCHES.npz OUTPUTS.npz
"""

import sys

import numpy as np


def write(file_format, source, target):
    import keras

    model = at_inference(keras.saving.load_model(source, compile=False))
    (images,) = model.inputs
    signature = [keras.InputSpec(shape=(None, *images.shape[1:]), dtype=images.dtype)]
    options = {}
    if file_format == "onnx":
        bake_normalization(model)
        spell_out_gelu(model)
    if file_format == "torch":
        import torch

        options["dynamic_shapes"] = {0: torch.export.Dim("batch", min=1)}
    model.export(target, format=file_format, input_signature=signature, verbose=False, **options)


def at_inference(model):
    """Returns the model with `training=False` in its graph.

    In most formats, Keras does not set `training`. Keras' random layers for images then use the
    default of their `call`, `training=True`.
    """
    import keras

    return keras.Model(model.inputs, model(model.inputs, training=False), name=model.name)


def bake_normalization(model):
    """Makes statistics constants of the graph. tf2onnx would make inputs of their tensors."""
    import keras

    for layer in layers_within(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.mean = keras.ops.convert_to_numpy(layer.mean)
            layer.variance = keras.ops.convert_to_numpy(layer.variance)


def spell_out_gelu(model):
    """Computes GELU by erf. TensorFlow's own GELU uses erfc, which ONNX does not have."""
    import keras

    def gelu(x):
        return x * (keras.ops.erf(x / 2**0.5) + 1) / 2

    for layer in layers_within(model):
        if getattr(layer, "activation", None) is keras.activations.gelu:
            layer.activation = gelu


def layers_within(layer):
    """Yields all layers in a layer: layers of models and pipelines, and wrapped layers."""
    wrapped = getattr(layer, "layer", None)
    for inner in [*getattr(layer, "layers", ()), *([] if wrapped is None else [wrapped])]:
        yield inner
        yield from layers_within(inner)


def saved_model_runner(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    # The default argument keeps `loaded` alive. Otherwise its variables are deleted.
    return lambda images, loaded=loaded: loaded.serve(images).numpy()


def onnx_runner(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (images_info,) = session.get_inputs()
    return lambda images: session.run(None, {images_info.name: images})[0]


def litert_runner(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    input_index = interpreter.get_input_details()[0]["index"]
    output_index = interpreter.get_output_details()[0]["index"]

    def run(images):
        interpreter.resize_tensor_input(input_index, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(input_index, images)
        interpreter.invoke()
        return interpreter.get_tensor(output_index)

    return run


def torch_runner(path):
    import torch

    module = torch.export.load(path).module()

    def run(images):
        with torch.no_grad():
            outputs = module(torch.from_numpy(images))
        return outputs.numpy()

    return run


RUNNERS = {
    "tf_saved_model": saved_model_runner,
    "onnx": onnx_runner,
    "litert": litert_runner,
    "torch": torch_runner,
}


def verify(file_format, path, batches_path, outputs_path):
    run = RUNNERS[file_format](path)
    with np.load(batches_path) as batches:
        # Twice: if the file still draws random numbers, the two results differ.
        answers = {name: [run(images), run(images)] for name, images in batches.items()}
        np.savez(outputs_path, **answers)


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    {"write": write, "verify": verify}[verb](*arguments)
