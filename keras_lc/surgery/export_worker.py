"""The child process of `export` that writes a plain Keras model in a format.

`export` runs it as a script, by its path, so that it loads neither keras_lc nor the parent's
backend. `OPTIONS` is JSON, see `write`:

    export_worker.py FORMAT MODEL.keras FILE OPTIONS
"""

import json
import pathlib
import sys
import zipfile

import numpy as np


def write(file_format, source, target, options):
    """Writes a file.

    Args:
        file_format: String, as in `export`.
        source: Path of a `.keras` file, without layers of keras_lc.
        target: Path of the file to write.
        options: Dict with `output`, the name of the output; `class_names`, a list or `None`;
            `resize`, whether the file takes pictures of any size; `opset`, for ONNX;
            `quantization` and `calibration`, the path of an `.npy` file of images, for LiteRT.
    """
    import keras

    model = at_inference(keras.saving.load_model(source, compile=False))
    if options["resize"]:
        model = with_resize(model)
    (images,) = model.inputs
    # The batch size is open, whatever the model says.
    spec = keras.InputSpec(shape=(None, *images.shape[1:]), dtype=images.dtype, name="images")
    _WRITERS[file_format](model, spec, target, options)


def at_inference(model):
    """Returns the model with `training=False` in its graph, and with an input named `images`.

    In most formats, Keras does not set `training`. Keras' random layers for images then use the
    default of their `call`, `training=True`.
    """
    import keras

    (images,) = model.inputs
    images = keras.Input(batch_shape=images.shape, dtype=images.dtype, name="images")
    return keras.Model(images, model(images, training=False), name=model.name)


def with_resize(model):
    """Returns a model for pictures of any size."""
    import keras

    _, size, _, channels = model.inputs[0].shape
    pictures = keras.Input((None, None, channels), dtype="uint8", name="images")
    return keras.Model(pictures, model(make_resize()(size)(pictures), training=False))


def make_resize():
    """Returns the layer class `Resize`. Its base class needs Keras, which loads only in `write`."""
    import keras
    from keras import ops

    class Resize(keras.layers.Layer):
        """Brings pictures to one size as `keras_lc.data` does: the square in the centre, resized.

        It computes what Pillow computes. Each of both passes is a product with a matrix of
        weights. The weights are integers until they are divided by their sum, and each pass is
        rounded to whole pixel values.
        """

        def __init__(self, size):
            super().__init__(dtype="float32")
            self.size = size

        def call(self, pictures):
            # Sides are tensors: PyTorch would make constants of integers.
            down = ops.ones_like(pictures[0, :, 0, 0], dtype="int32")
            right = ops.ones_like(pictures[0, 0, :, 0], dtype="int32")
            side = ops.minimum(ops.sum(down), ops.sum(right))
            # First along the width, as Pillow does.
            x = ops.transpose(ops.cast(pictures, "float32"), (0, 1, 3, 2))
            x = rounded(ops.matmul(x, ops.transpose(self.weights_of(right, side))))
            height, channels = ops.shape(x)[1], x.shape[2]
            x = ops.reshape(x, (-1, height, channels * self.size))
            x = rounded(ops.matmul(self.weights_of(down, side), x))
            x = ops.reshape(x, (-1, self.size, channels, self.size))
            return ops.transpose(x, (0, 1, 3, 2))

        def weights_of(self, ones, side):
            """Returns the weights of the pixels along an axis, for each pixel of the result."""
            pixels = ops.cumsum(ones) - 1 - (ops.sum(ones) - side) // 2
            # The middles of the pixels, in units of 1 / (2 * side * size) of the square.
            middles = (2 * pixels + 1) * self.size
            results = (2 * ops.arange(self.size, dtype="int32") + 1) * side
            distance = ops.abs(middles[None] - results[:, None])
            weights = ops.maximum(2 * ops.maximum(side, self.size) - distance, 0)
            inside = ops.logical_and(pixels >= 0, pixels < side)
            weights = ops.cast(ops.where(inside[None], weights, 0), "float32")
            return weights / ops.sum(weights, axis=1, keepdims=True)

    def rounded(x):
        return ops.floor(x + 0.5)

    return Resize


def write_saved_model(model, spec, target, options):
    import tensorflow as tf

    spec = tf.TensorSpec(spec.shape, spec.dtype, name="images")
    module = tf.Module()
    module.model_variables = [variable.value for variable in model.variables]
    module.serve = tf.function(model, input_signature=[spec], autograph=False)

    @tf.function(input_signature=[spec], autograph=False)
    def serve(images):
        return {options["output"]: model(images)}

    signatures = {"serving_default": serve, "serve": serve}
    if options["class_names"] is not None:
        labels = target.with_name("labels.txt")
        labels.write_bytes(lines(options["class_names"]))
        module.labels = tf.saved_model.Asset(str(labels))
        signatures["class_names"] = tf.function(
            lambda: {"class_names": tf.constant(options["class_names"])}, input_signature=[]
        )
    tf.saved_model.save(module, str(target), signatures=signatures)


def write_onnx(model, spec, target, options):
    import onnx

    bake_normalization(model)
    spell_out_gelu(model)
    model.export(
        target,
        format="onnx",
        input_signature=[spec],
        opset_version=options["opset"],
        verbose=False,
    )
    written = onnx.load(target)
    rename_output(written.graph, options["output"])
    if options["class_names"] is not None:
        names = json.dumps(options["class_names"], ensure_ascii=False)
        onnx.helper.set_model_props(written, {"class_names": names})
    onnx.save(written, target)


def rename_output(graph, name):
    """Renames the output of an ONNX graph."""
    (output,) = graph.output
    for node in graph.node:
        for tensors in (node.input, node.output):
            for i, tensor in enumerate(tensors):
                if tensor == output.name:
                    tensors[i] = name
    output.name = name


def write_litert(model, spec, target, options):
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    folder = target.with_name("for_litert")
    write_saved_model(model, spec, folder, options | {"class_names": None})
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder), signature_keys=["serving_default"]
    )
    converter.experimental_enable_resource_variables = True
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.TFLITE_BUILTINS,
        tf.lite.OpsSet.SELECT_TF_OPS,
    ]
    quantization = options["quantization"]
    if quantization is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantization == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantization == "int8":
        images = np.load(options["calibration"])
        converter.representative_dataset = lambda: (
            {"images": image[np.newaxis].astype("float32")} for image in images
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    file = flatbuffer_utils.read_model_from_bytearray(bytearray(converter.convert()))
    if quantization == "int8":
        check_integers(file)
    name_tensors(file, options["output"])
    names = options["class_names"]
    if names is not None:
        add_metadata(file, litert_metadata(spec, options["output"]))
    target.write_bytes(flatbuffer_utils.convert_object_to_bytearray(file))
    if names is not None:
        # Readers of the metadata find the file in a ZIP archive after the model.
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(zipfile.ZipInfo("labels.txt"), lines(names))


def check_integers(file):
    """Checks that a LiteRT model computes in integers, and takes pixel values as they are."""
    from tensorflow.lite.python import schema_py_generated as schema

    for graph in file.subgraphs:
        for tensor in graph.tensors:
            if tensor.type in (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16):
                raise SystemExit(f"LiteRT computes this in floats: {tensor.name.decode()}")
    images = file.subgraphs[0].tensors[file.subgraphs[0].inputs[0]].quantization
    if (images.scale[0], images.zeroPoint[0]) != (1.0, 0):
        raise SystemExit(f"LiteRT scales the pixels: {images.scale}, {images.zeroPoint}")


def name_tensors(file, output):
    """Names the input and the output of a LiteRT model."""
    graph = file.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = b"images"
    graph.tensors[graph.outputs[0]].name = output.encode()


def add_metadata(file, content):
    """Adds the metadata to a LiteRT model."""
    from tensorflow.lite.python import schema_py_generated as schema

    buffer, metadata = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(content, np.uint8)
    file.buffers.append(buffer)
    metadata.name, metadata.buffer = b"TFLITE_METADATA", len(file.buffers) - 1
    file.metadata = [*(file.metadata or []), metadata]


def litert_metadata(spec, output):
    """Returns LiteRT's metadata: images in [0, 255], and `labels.txt` with the outputs' names.

    TensorFlow does not include their schema, `metadata_schema.fbs` of TensorFlow Lite Support.
    The keys of these tables are the positions of its fields.
    """
    import flatbuffers

    colours = {3: 1, 1: 2}.get(spec.shape[-1], 0)
    images = {
        0: "images",
        1: "Pictures with values in [0, 255].",
        3: {0: 2, 1: {0: colours}},
        # Mean and standard deviation: readers must not change the values.
        4: [{0: 1, 1: {0: np.float32([0]), 1: np.float32([1])}}],
    }
    answers = {0: output, 3: {0: 1, 1: {}}, 6: [{0: "labels.txt", 2: 2}]}
    builder = flatbuffers.Builder()
    content = {3: [{2: [images], 3: [answers]}], 7: "1.0.0"}
    builder.Finish(write_table(builder, content), file_identifier=b"M001")
    return bytes(builder.Output())


def write_table(builder, fields):
    """Writes a table of a flatbuffer: a dict from positions to bytes, texts, tables and lists."""
    places = {position: write_value(builder, value) for position, value in fields.items()}
    builder.StartObject(max(fields, default=-1) + 1)
    for position, place in places.items():
        if isinstance(fields[position], int):
            builder.PrependUint8Slot(position, place, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(position, place, 0)
    return builder.EndObject()


def write_value(builder, value):
    """Writes a value of a table, and returns its place. A byte stays in the table."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, dict):
        return write_table(builder, value)
    if isinstance(value, list):
        places = [write_table(builder, table) for table in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    return value


def write_torch(model, spec, target, options):
    import torch

    sizes = ["batch", "height", "width"]
    shape = {
        axis: torch.export.Dim(sizes[axis], min=1)
        for axis, size in enumerate(spec.shape)
        if size is None
    }
    example = torch.zeros([2 + axis if n is None else n for axis, n in enumerate(spec.shape)])

    class Served(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            return self.model(images)

    program = torch.export.export(
        Served(),
        (example.to(getattr(torch, spec.dtype)),),
        dynamic_shapes={"images": shape},
        strict=False,
    )
    (output,) = (x for x in program.graph.nodes if x.name in program.graph_signature.user_outputs)
    output._rename(options["output"])
    for found in program.graph_signature.output_specs:
        found.arg.name = output.name
    names = options["class_names"]
    files = {} if names is None else {"class_names.json": json.dumps(names)}
    torch.export.save(program, target, extra_files=files)


def lines(names):
    """Returns the content of `labels.txt`."""
    return "".join(f"{name}\n" for name in names).encode()


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


_WRITERS = {
    "tf_saved_model": write_saved_model,
    "onnx": write_onnx,
    "litert": write_litert,
    "torch": write_torch,
}


if __name__ == "__main__":
    file_format, source, target, options = sys.argv[1:]
    write(file_format, source, pathlib.Path(target), json.loads(options))
