"""What one process of a distributed training does; writes what it saw as JSON.

Started by `launch.py`: `worker.py kind folder`, with the devices that the environment gives it.
"""

import math
import os
import pathlib
import sys

import tests.distribution.virtual_devices  # noqa: F401  isort: skip  (first)

import keras
import numpy as np

import keras_lc
from keras_lc.files import write_json
from keras_lc.layers.initializers import FanInUniform
from keras_lc.seeds import fingerprint

TEST_IMAGES = 13
BATCH = 8


def main(kind, folder):
    devices = keras_lc.distribution.distribute(kind)
    results = {
        "replicas": devices.replicas,
        "processes": devices.processes,
        "process": devices.process,
    }
    run = keras_lc.training.ResumableRun(folder / os.environ["MODE"], write=devices.is_first)
    model = made(devices, sgd)
    results["sgd"] = train(devices, model, callbacks=[run])
    results["weights_sgd"] = fingerprints(model)
    results["whole"] = train(devices, model, epochs=2, first_epoch=1)
    results["resumed"] = resumed(devices, run)
    model = made(devices, lamb)
    results["lamb"] = train(devices, model)
    results["shards"] = shards([*model.variables, *model.optimizer.variables])
    results["shards_of_other_layers"] = shards(variables_of_other_layers(devices))
    results["correct"] = devices.count_correct(model, *data()[2:], 4)
    results["bases"] = [str(fingerprint(to_numpy(v))) for v in bases(model)]
    if devices.is_first:
        np.savez(folder / f"weights-{os.environ['MODE']}.npz", *map(to_numpy, model.weights))
        # By an ordinary forward pass on one device, of the weights that were trained.
        results["expected"] = plainly_evaluated(model, *data()[2:])
    results["batch_norm"] = with_batch_norm(devices)
    if devices.processes > 1:
        results["refused"] = of_different_seeds(devices)
    write_json(folder / f"{os.environ['MODE']}-{devices.process}.json", results)


def data():
    generator = np.random.default_rng(0)
    n = 5 * BATCH
    images = generator.integers(0, 200, (n + TEST_IMAGES, 8, 8, 3), dtype="uint8")
    labels = generator.integers(0, 3, len(images))
    # A colour for each class, so that there is something to learn in five steps.
    images[np.arange(len(images)), :, :, labels] += 50
    return images[:n], labels[:n], images[n:], labels[n:]


def made(devices, optimizer, batch_norm=False, seed=1):
    with devices.scope():
        inputs = keras.Input((8, 8, 3))
        x = keras_lc.RandomCropFlip(padding=2, seed=3)(inputs)
        x = keras.layers.Rescaling(1 / 64, offset=-2.0)(x)
        x = keras_lc.LCConv2D(4, 3, expansion=2, seed=seed, name="conv1")(x)
        if batch_norm:
            x = keras_lc.layers.BatchNormalization(name="bn")(x)
        x = keras.layers.ReLU()(x)
        x = keras_lc.LCConv2D(4, 3, expansion=2, frozen=False, seed=seed + 1, name="conv2")(x)
        x = keras.layers.GlobalAveragePooling2D()(x)
        outputs = keras.layers.Dense(3, kernel_initializer=FanInUniform(seed + 2))(x)
        model = keras.Model(inputs, outputs)
        model.compile(
            optimizer(), keras_lc.training.SmoothedCrossentropy(0.1), weighted_metrics=["accuracy"]
        )
    devices.prepare(model)
    return model


def sgd():
    return keras_lc.training.SGD(
        keras.optimizers.schedules.CosineDecay(0.2, 10), 0.9, nesterov=True, weight_decay=1e-2
    )


def lamb():
    return keras_lc.training.LAMB(0.05)


class Losses(keras.callbacks.Callback):
    """The loss of each step, from the mean over the epoch that Keras reports."""

    def __init__(self):
        super().__init__()
        self.sums = [0.0]

    def on_train_batch_end(self, batch, logs=None):
        self.sums.append(float(logs["loss"]) * (batch + 1))

    @property
    def each(self):
        return np.diff(self.sums).tolist()


def train(devices, model, epochs=1, first_epoch=0, callbacks=()):
    x, y, x_test, y_test = data()
    batches = keras_lc.training.ShuffledBatches(
        x, y, devices.batch_size(BATCH, len(x)), first_epoch=first_epoch
    )
    losses = Losses()
    history = model.fit(
        devices.training_batches(batches),
        validation_data=devices.evaluation_batches(x_test, y_test, 4),
        epochs=epochs,
        initial_epoch=first_epoch,
        shuffle=False,
        verbose=0,
        callbacks=[losses, *callbacks],
    )
    return {"losses": losses.each, **{k: v[-1] for k, v in history.history.items()}}


def plainly_evaluated(model, x, y):
    """Loss and number of correct answers, from logits, in float64."""
    logits = to_numpy(forward(model, x)).astype("float64")
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothed = np.eye(3)[y] * 0.9 + 0.1 / 3
    correct = int((logits.argmax(axis=1) == y).sum())
    return {"loss": float(-(smoothed * log_p).sum(axis=1).mean()), "correct": correct}


def forward(model, x):
    """The same weights in a model of one device alone."""
    values = [to_numpy(v) for v in model.weights]
    config = model.get_config()
    engine = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    alone = keras.Model.from_config(config)
    for variable, value in zip(alone.weights, values, strict=True):
        variable.assign(value)
    outputs = alone(x)
    keras.distribution.set_distribution(engine)
    return outputs


def resumed(devices, stopped):
    """The second epoch, as by processes that restore what the first ended with."""
    run = keras_lc.training.ResumableRun(stopped.folder, write=devices.is_first)
    with devices.scope():
        model, epoch = run.restore()
    devices.prepare(model)
    return train(devices, model, epochs=2, first_epoch=epoch)


def with_batch_norm(devices):
    model = made(devices, sgd, batch_norm=True)
    seen = train(devices, model)
    return {
        **seen,
        "weights": fingerprints(model),
        "mean": to_numpy(model.get_layer("bn").moving_mean).tolist(),
    }


def of_different_seeds(devices):
    # Under JAX each by itself: it would refuse to build them as one.
    keras.distribution.set_distribution(None)
    try:
        made(devices, sgd, seed=1 + devices.process)
    except ValueError as error:
        return str(error)


def bases(model):
    return [layer.basis for layer in model.layers if isinstance(layer, keras_lc.LCConv2D)]


def variables_of_other_layers(devices):
    layers = {
        keras_lc.LCConv1D(4, 3, expansion=2, name="series"): 1,
        keras_lc.LCConv3D(4, 3, expansion=2, name="volume"): 3,
        keras_lc.LCDepthwiseConv2D(3, expansion=2, name="channels"): 2,
        keras_lc.LCConv2DTranspose(4, 3, expansion=2, name="enlarged"): 2,
    }
    with devices.scope():
        for layer, sides in layers.items():
            layer.build((None, *[8] * sides, 3))
    return [variable for layer in layers for variable in layer.variables]


def shards(variables):
    """The share of each variable that a device holds, under JAX."""
    if os.environ["KERAS_BACKEND"] != "jax":
        return None
    return {
        v.path: math.prod(v.value.sharding.shard_shape(v.value.shape)) / max(v.value.size, 1)
        for v in variables
    }


def fingerprints(model):
    return [str(fingerprint(to_numpy(v))) for v in model.weights]


def to_numpy(variable):
    return keras.ops.convert_to_numpy(getattr(variable, "value", variable))


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
