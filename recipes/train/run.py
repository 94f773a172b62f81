"""A training run on small images. Imports Keras, so choose the backend before."""

import keras

import keras_lc
from keras_lc.seeds import derive_seed

from ..common.callbacks import TrainingTime
from ..common.checks import in_one_line
from ..common.command_line import PACKAGE
from ..common.images import check_classes, describe, evaluation_batch, take_subset
from ..common.operator import operator
from ..common.session import Session
from .networks import build
from .transfer import compile_phase, phases

_EVALUATION_BATCH = 500


def run(arguments) -> dict:
    """Trains and evaluates one run, and writes its files.

    Args:
        arguments: `recipes.common.settings.Settings`.

    Returns:
        The results, as in `config.json`.
    """
    with in_one_line():
        # Before the folder is made. It also imports the classes in the files of the run.
        operator(arguments)
    name = f"{arguments.dataset}-{arguments.spatial}"
    with Session(arguments, f"{PACKAGE}.train", name) as session:
        if session.finished:
            return session.make_up(lambda: _load(arguments).x_train)
        return _run(arguments, session)


def _load(arguments):
    return keras_lc.data.load(
        arguments.dataset,
        data_dir=arguments.data_dir,
        download=arguments.download,
        data_format="channels_last",
        image_size=arguments.image_size,
        test_share=arguments.test_share,
        seed=arguments.seed,
    )


def _run(arguments, session):
    devices = session.devices
    keras.config.set_dtype_policy(arguments.precision)
    keras.utils.set_random_seed(arguments.seed % 2**32)

    with in_one_line():
        dataset = _load(arguments)
        check_classes(dataset)
        data = describe(dataset, arguments.data_dir)
        if arguments.subset is not None:
            dataset = take_subset(dataset, arguments.subset)
    images = len(dataset.x_train)
    if arguments.batch_size > images:
        raise SystemExit(
            f"--batch-size must be from 1 to the number of training images, {images}. "
            f"Received: {arguments.batch_size}"
        )
    batch_size = session.batch_size(images)
    steps = len(dataset.x_train) // batch_size
    first, *later = planned = phases(arguments)
    model, first_epoch = session.start(
        lambda: build(arguments, dataset),
        lambda model: compile_phase(model, first, steps, arguments),
        class_names=dataset.class_names,
        data=data,
    )
    session.say(
        f"{model.name} on {dataset.name}: {len(dataset.x_train):,} training and "
        f"{len(dataset.x_test):,} test images, {dataset.num_classes} classes. "
        f"{session.machine}.\nFiles: {session.output}"
    )

    speed = TrainingTime(session.output, first_epoch, write=devices.is_first)
    with session.stoppable() as interrupt:
        evaluated_at_once = evaluation_batch(dataset.x_test, _EVALUATION_BATCH)
        for phase in planned:
            begin = max(first_epoch, phase.first)
            if begin >= phase.last:
                continue
            if phase in later and begin == phase.first:
                with devices.scope():
                    compile_phase(model, phase, steps, arguments)
            model.fit(
                devices.training_batches(_batches(arguments, dataset, batch_size, begin)),
                epochs=phase.last,
                initial_epoch=begin,
                validation_data=devices.evaluation_batches(
                    dataset.x_test, dataset.y_test, evaluated_at_once
                ),
                # Otherwise Keras would shuffle the batches with its own random generator.
                shuffle=False,
                callbacks=[speed, session.checkpoints, interrupt],
                verbose=session.verbose,
            )

    images = len(dataset.x_test)
    correct = devices.count_correct(model, dataset.x_test, dataset.y_test, evaluated_at_once)
    results = {
        "test_accuracy": correct / images,
        "test_correct": correct,
        "test_images": images,
        "images_per_second": steps * batch_size / speed.median if speed.seconds else None,
        "compile_seconds": speed.compiling,
        "seconds": speed.total,
    }
    accuracy = f"{correct / images:.2%} ({correct:,} of {images:,})"
    rows = {"test accuracy": accuracy}
    return session.finish(model, results, rows, images=lambda: dataset.x_train)


def _batches(arguments, dataset, batch_size, first_epoch):
    return keras_lc.training.ShuffledBatches(
        dataset.x_train,
        dataset.y_train,
        batch_size,
        seed=derive_seed(arguments.seed, "batches"),
        first_epoch=first_epoch,
    )
