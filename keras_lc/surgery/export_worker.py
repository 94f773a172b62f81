"""The child process of `export`: writes a plain Keras model in a format, or runs such a file.

Run as a script, by its path, so that neither keras_lc nor the parent's backend is loaded:

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
    if file_format == "torch":
        import torch

        options["dynamic_shapes"] = {0: torch.export.Dim("batch", min=1)}
    model.export(target, format=file_format, input_signature=signature, verbose=False, **options)


def at_inference(model):
    """Returns the model whose graph says that it is not training.

    Keras leaves that open in most formats, and its own random layers for images then go by the
    default of their `call`, which is to train.
    """
    import keras

    return keras.Model(model.inputs, model(model.inputs, training=False), name=model.name)


def bake_normalization(model):
    """Makes statistics part of the graph; tf2onnx takes the tensors they are for inputs."""
    import keras

    for layer in layers_within(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.mean = keras.ops.convert_to_numpy(layer.mean)
            layer.variance = keras.ops.convert_to_numpy(layer.variance)


def layers_within(layer):
    """Yields all layers below one: those of models and pipelines, and what wrappers wrap."""
    wrapped = getattr(layer, "layer", None)
    for inner in [*getattr(layer, "layers", ()), *([] if wrapped is None else [wrapped])]:
        yield inner
        yield from layers_within(inner)


def saved_model_runner(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    # The default argument keeps `loaded` alive, without which its variables are deleted.
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
        # Twice: a file that still draws random numbers gives two answers.
        answers = {name: [run(images), run(images)] for name, images in batches.items()}
        np.savez(outputs_path, **answers)


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    {"write": write, "verify": verify}[verb](*arguments)
