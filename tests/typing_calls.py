"""Calls that a type checker must find nothing in. Checked by tests/test_typing.py, never run."""

import pathlib

import keras
import numpy as np

import keras_lc

images = np.zeros((8, 32, 32, 3), "uint8")
labels = np.arange(8)

# Networks, with every kind of spatial operator and augmentation.
model = keras_lc.CIFARResNet(spatial=keras_lc.spatial.LC(8))
any_model: keras.Model = model
keras_lc.CIFARResNet(depth=20, width=16, spatial="learned", augmentation=None, seed=None)
keras_lc.CIFARResNet(input_shape=(None, None, 3), mean=127.5, std=[60.0, 61, 62])
keras_lc.ResNetLC(20, 16, 8, frozen=True, compact=True, between=None, name="mine")
keras_lc.ResNetLC(expansion=8, augmentation=keras.layers.RandomFlip(), mean=(1, 2, 3), std=1)
keras_lc.ResNetLC(classifier_activation="softmax", data_format="channels_last")
keras_lc.ResNet(50, variant="d", spatial=keras_lc.spatial.MaxPool(), stochastic_depth=0.05)
keras_lc.MobileNetV2(spatial="frozen", low_resolution=True, width_multiplier=1)
keras_lc.MobileNetV3Large(spatial=keras_lc.spatial.Hybrid(), classes=10)

# Training.
history = model.fit(images, labels, epochs=2, verbose=2, validation_split=0.1)
losses: list[float] = history.history["loss"]
model.fit(images, labels, validation_data=(images, labels), callbacks=[])
model.compile(
    keras_lc.training.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=1e-4),
    keras_lc.training.SmoothedCrossentropy(label_smoothing=0.1),
)
keras_lc.training.LAMB(keras.optimizers.schedules.CosineDecay(0.1, 10), weight_decay=None)
keras_lc.training.CIFAR.compile(model, steps=100, jit_compile=False)
run = keras_lc.training.ResumableRun(pathlib.Path("run"), config={"seed": 1})
best = keras_lc.training.BestModel("run/best.keras", history=run.history, run=run.id)
batches = keras_lc.training.ShuffledBatches(images, labels, 4, sample_weight=None, seed=1)
devices = keras_lc.distribution.distribute("data")
with devices.scope():
    devices.prepare(model)
model.fit(devices.training_batches(batches), shuffle=False, callbacks=[best, run])

# Layers.
keras.Sequential(
    [
        keras.Input((32, 32, 3)),
        keras_lc.RandomCropFlip(padding=4, seed=0),
        keras_lc.RandomResizedCropFlip(area=(0.5, 1), ratio=[0.5, 2], seed=0),
        keras_lc.LCConv2D(16, 3, expansion=8, padding="same", use_bias=False, seed=None),
        keras_lc.LCConv2D(16, (3, 3), strides=2, activation="relu", name="second"),
        keras_lc.LCConv2D(16, 3, combination_regularizer=keras.regularizers.L2(1e-4)),
        keras_lc.FrozenConv2D(8, 3, basis_initializer="he_normal"),
        keras_lc.layers.FrozenDepthwiseConv2D(3, seed=1),
        keras_lc.LCDepthwiseConv2D(3, depth_multiplier=2, expansion=8, compact=True, name="third"),
        keras_lc.LCConv2DTranspose(8, 3, strides=2, output_padding=1, rank=16, dtype="float32"),
        keras_lc.layers.LCBlock(16, 3, between="bn_relu", expansion=4),
        keras_lc.layers.StochasticDepth(0.1),
    ]
)

# Surgery, data and analysis.
folded: keras.Model = keras_lc.fold(model, batch_norm=True)
keras_lc.freeze_spatial(keras_lc.to_lc(model, 8, keep_kernels=True), seed=1)
keras_lc.load_torch_weights(model, "weights.safetensors", head=False)
path: pathlib.Path = keras_lc.export(keras_lc.to_compact(model), "model.onnx", format="onnx")
data = keras_lc.data.load("digits")
keras_lc.ResNetLC(input_shape=data.image_shape, classes=data.num_classes, mean=data.mean)
accuracy: float = keras_lc.analysis.robust_accuracy(model, data.x_test, data.y_test, steps=5)
keras_lc.analysis.plot_kernels({"random": np.zeros((3, 3, 3, 8))}, "kernels.png")
entropy: float = keras_lc.analysis.variance_entropy(np.zeros((3, 3, 3, 8)))
