"""A training run on ImageNet. Imports Keras, so choose the backend before."""

import statistics
import time

import keras
import numpy as np

import keras_lc

from ..common.callbacks import TrainingTime
from ..common.checks import in_one_line
from ..common.command_line import PACKAGE
from ..common.environment import on_gpu
from ..common.operator import operator
from ..common.session import Session
from . import sources
from .input import AUGMENTATIONS, Batches, Corrupt, keep_from_gpus
from .network import build

_COLUMNS = 8
_TOP = 5
_TIMED = 30


def run(arguments) -> dict | None:
    """Trains and evaluates one run and writes its files, or writes only the preview.

    Args:
        arguments: `recipes.imagenet.arguments.Arguments`.

    Returns:
        The results, as in `config.json`; `None` for a preview.
    """
    keep_from_gpus()
    with in_one_line():
        # Before the folder is made. It also imports the classes in the files of the run.
        operator(arguments)
    name = arguments.preset or "imagenet"
    module = f"{PACKAGE}.imagenet"
    with Session(arguments, module, name, writes=arguments.preview is None) as session:
        return session.make_up() if session.finished else _run(arguments, session)


def _run(arguments, session):
    devices = session.devices
    with in_one_line():
        train, test, class_names = sources.find(
            arguments.data_dir, arguments.seed, arguments.test_share
        )
    steps = _steps(arguments, len(train))
    corrupt = Corrupt(arguments.max_corrupt)
    batches = Batches(
        classes=len(class_names),
        image_size=arguments.image_size,
        batch_size=session.batch_size(images=arguments.batch_size),
        crop_ratio=arguments.crop_ratio,
        seed=arguments.seed,
        corrupt=corrupt,
        parts=devices.processes,
        part=devices.process,
        whole=devices.replicas > 1,
    )
    augmentation = AUGMENTATIONS[arguments.augmentation]
    if arguments.preview:
        _preview(batches.training(train, augmentation, steps, 0, 1), arguments.preview)
        session.say(f"The first batch: {arguments.preview}")
        return None

    precision = arguments.precision
    if precision == "auto":
        precision = "mixed_float16" if on_gpu() else "float32"
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(arguments.seed % 2**32)
    model, first_epoch = session.start(
        lambda: build(arguments, len(class_names)),
        lambda model: _compile(model, arguments, steps),
        class_names=class_names,
        data=sources.describe(train, test, class_names),
        precision=precision,
    )
    session.say(
        f"{model.name}: {len(train):,} training and {len(test):,} test images, "
        f"{len(class_names)} classes. {session.machine}, {precision}.\nFiles: {session.output}"
    )

    best, checkpoints = session.best(), session.checkpoints
    speed = TrainingTime(session.output, first_epoch, write=devices.is_first)
    with session.stoppable() as interrupt, corrupt.explained():
        if first_epoch < arguments.epochs:
            model.fit(
                batches.training(train, augmentation, steps, first_epoch, arguments.epochs),
                steps_per_epoch=steps,
                epochs=arguments.epochs,
                initial_epoch=first_epoch,
                validation_data=batches.evaluation(test),
                shuffle=False,
                callbacks=[speed, best, checkpoints, interrupt],
                verbose=session.verbose,
            )
        # Load the best model, so that the results describe the file.
        with devices.scope():
            model = keras.saving.load_model(best.path, compile=False)
            _compile(model, arguments, steps)
        devices.prepare(model)
        evaluate = _evaluate_together if devices.replicas > 1 else _evaluate
        results = evaluate(model, batches.evaluation(test))

    results |= {
        # One image cannot be shared out.
        "inference_milliseconds": None if devices.replicas > 1 else _milliseconds(model),
        "best_epoch": 1 + int(np.argmax(checkpoints.history["val_accuracy"])),
        "damaged_images": corrupt.names,
        "seconds": speed.total,
        "images_per_second": steps * arguments.batch_size / speed.median if speed.seconds else None,
        "compile_seconds": speed.compiling,
    }
    return session.finish(model, results, _describe(results))


def _steps(arguments, images):
    steps = arguments.steps or images // arguments.batch_size
    if not steps:
        raise SystemExit(
            f"{images} training images do not fill a batch of {arguments.batch_size}. Pass a "
            "smaller --batch-size, or --steps: then images come several times in an epoch."
        )
    return steps


def recipe_of(arguments) -> keras_lc.training.Recipe:
    """Returns the recipe of a run."""
    a2 = keras_lc.training.IMAGENET_A2
    return keras_lc.training.Recipe(
        algorithm=arguments.optimizer,
        learning_rate=arguments.learning_rate,
        # All recipes of the papers have this momentum, and are timm's: vectors do not decay.
        momentum=a2.momentum,
        decay_vectors=a2.decay_vectors,
        weight_decay=arguments.weight_decay,
        batch_size=arguments.batch_size,
        label_smoothing=arguments.label_smoothing,
        epochs=arguments.epochs,
        warmup_epochs=arguments.warmup_epochs,
        target_threshold=a2.target_threshold if arguments.loss == "binary" else None,
        schedule=arguments.schedule,
        drop_epochs=arguments.epochs / 3 if arguments.schedule == "steps" else None,
        final_learning_rate=arguments.final_learning_rate,
    )


def _compile(model, arguments, steps):
    metrics = [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        keras.metrics.TopKCategoricalAccuracy(min(_TOP, model.output_shape[-1]), name="top5"),
    ]
    # Weighted: damaged test images have the weight 0.
    recipe_of(arguments).compile(model, steps * arguments.epochs, weighted_metrics=metrics)


def _evaluate(model, data):
    counts = np.zeros(3, int)
    for x, shares, weights in data.as_numpy_iterator():
        logits = model.predict_on_batch(x)
        own = np.take_along_axis(logits, np.argmax(shares, axis=-1)[:, np.newaxis], axis=-1)
        # The number of classes that are more likely than the right class.
        before = np.sum(logits > own, axis=-1)[weights > 0]
        counts += len(before), np.sum(before < 1), np.sum(before < _TOP)
    images, correct, correct_top = counts.tolist()
    return {
        "test_accuracy": correct / images,
        "test_top5": correct_top / images,
        "test_correct": correct,
        "test_images": images,
    }


def _evaluate_together(model, data):
    """Returns only shares: no process knows the damaged images of the other processes."""
    results = model.evaluate(data, verbose=0, return_dict=True)
    return {"test_accuracy": results["accuracy"], "test_top5": results["top5"]}


def _milliseconds(model):
    """Returns the median time for one image, with the way to the device and back."""
    image = np.zeros((1, *model.input_shape[1:]), "uint8")
    times = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        model.predict_on_batch(image)
        times.append(time.perf_counter() - start)
    # The first calls compile.
    return 1000 * statistics.median(times[_TIMED // 3 :])


def _preview(data, path):
    images, _ = next(data.as_numpy_iterator())
    rows = -(-len(images) // _COLUMNS)
    missing = np.zeros((rows * _COLUMNS - len(images), *images.shape[1:]), "uint8")
    grid = np.concatenate([images, missing]).reshape(rows, _COLUMNS, *images.shape[1:])
    picture = grid.swapaxes(1, 2).reshape(rows * images.shape[1], -1, 3)
    keras.utils.save_img(path, picture, scale=False)


def _describe(results):
    count = ""
    if "test_correct" in results:
        count = f" ({results['test_correct']:,} of {results['test_images']:,})"
    rows = {
        "test top-1": f"{results['test_accuracy']:.2%}{count}, epoch {results['best_epoch']}",
        "test top-5": f"{results['test_top5']:.2%}",
    }
    if results["damaged_images"]:
        rows["damaged images"] = f"{len(results['damaged_images']):,}, in config.json"
    return rows
