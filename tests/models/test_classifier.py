"""`fit` without `compile`, on every kind of data."""

import dataclasses
import pickle
import re
import warnings

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.distribution import PartOfBatches
from keras_lc.models.classifier import Classifier
from keras_lc.models.ends import classifier_head, image_input
from keras_lc.seeds import derive_seed
from keras_lc.training import (
    CIFAR,
    DEIT,
    IMAGENET_A2,
    LAMB,
    SGD,
    SGD90,
    BinarisedCrossentropy,
    ShuffledBatches,
    SmoothedCrossentropy,
)


def small_model(classifier_activation=None, augmentation=None, include_preprocessing=True, size=32):
    """One LC layer, since what `fit` does depends on no network."""
    inputs, x = image_input(
        (size, size, 3), include_preprocessing, None, None, augmentation, 1, "channels_last"
    )
    x = keras_lc.LCConv2D(8, 3, expansion=2, strides=2, seed=1, activation="relu", name="conv")(x)
    outputs = classifier_head(x, 10, classifier_activation, 1, "channels_last")
    return Classifier(inputs, outputs, seed=1)


@pytest.fixture(scope="module")
def arrays():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 80, dtype="int32")
    images = generator.integers(0, 60, (80, 32, 32, 3)) + 18 * labels[:, None, None, None]
    return images.astype("uint8"), labels


def test_compiles_with_the_papers_recipe(arrays):
    model = small_model()
    model.fit(*arrays, batch_size=16, epochs=3, verbose=0)
    assert type(model.optimizer) is SGD and type(model.loss) is SmoothedCrossentropy
    assert model.optimizer.momentum == 0.9 and model.optimizer.nesterov
    assert model.optimizer.weight_decay == 1e-2
    assert model.loss.label_smoothing == 0.1 and model.loss.from_logits


@pytest.mark.once
def test_learning_rate_comes_down_along_a_cosine_over_all_steps(arrays):
    rates = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    model = small_model()
    model.fit(*arrays, batch_size=16, epochs=2, verbose=0, callbacks=[Record()])
    expected = 1e-2 * 0.5 * (1 + np.cos(np.pi * np.arange(10) / 10))
    np.testing.assert_allclose(rates, expected, rtol=1e-4)
    assert float(model.optimizer.learning_rate) < 1e-9


@pytest.mark.once
def test_default_batch_is_the_papers_or_all_images(arrays):
    model = small_model()
    model.fit(*arrays, verbose=0)  # 80 images: fewer than 256
    assert int(model.optimizer.iterations) == 1


@pytest.mark.once
def test_last_partial_batch_is_dropped(arrays):
    model = small_model()
    model.fit(*arrays, batch_size=32, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 2 * (80 // 32)


@pytest.mark.once
def test_softmax_outputs_are_not_taken_for_logits(arrays):
    model = small_model(classifier_activation="softmax")
    model.fit(*arrays, batch_size=40, verbose=0)
    assert not model.loss.from_logits


@pytest.mark.once
def test_integer_and_one_hot_labels_train_alike(arrays):
    images, labels = arrays
    losses = []
    for y in (labels, labels[:, None], np.eye(10, dtype="float32")[labels]):
        history = small_model().fit(images, y, batch_size=16, epochs=2, verbose=0).history
        losses.append([*history["loss"], *history["accuracy"]])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-6)


@pytest.mark.once
def test_training_lowers_the_loss(arrays):
    model = keras_lc.ResNetLC(depth=8, width=4, expansion=2, seed=1, augmentation=None)
    history = model.fit(*arrays, batch_size=16, epochs=6, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 0.2


def test_equal_seeds_train_alike(arrays):
    first, second = (
        small_model(augmentation="crop_flip").fit(*arrays, batch_size=16, epochs=2, verbose=0)
        for _ in range(2)
    )
    assert first.history == second.history


def test_basis_does_not_change(arrays):
    model = small_model()
    layer = model.get_layer("conv")
    before = keras.ops.convert_to_numpy(layer.basis).copy()
    combination = keras.ops.convert_to_numpy(layer.combination).copy()
    model.fit(*arrays, batch_size=16, verbose=0)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.basis), before)
    assert np.abs(keras.ops.convert_to_numpy(layer.combination) - combination).max() > 1e-5


def data_set(kind, images, labels):
    if kind == "PyDataset":
        return ShuffledBatches(images, labels, batch_size=16)
    if kind == "tf.data":
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((images, labels)).batch(16)
    import torch

    tensors = torch.from_numpy(images), torch.from_numpy(labels).long()
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=16)


@pytest.mark.parametrize("kind", ["PyDataset", "tf.data", "DataLoader"])
def test_data_sets_train_and_their_length_sets_the_schedule(kind, arrays):
    model = small_model()
    model.fit(data_set(kind, *arrays), epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 10
    assert float(model.optimizer.learning_rate) < 1e-9


def endless(images, labels):
    while True:
        yield images[:16], labels[:16]


@pytest.mark.once
def test_unknown_length_is_refused_with_what_to_pass(arrays):
    with pytest.raises(ValueError, match="`steps_per_epoch=`"):
        small_model().fit(endless(*arrays), epochs=2, verbose=0)


@pytest.mark.once
def test_infinite_tf_data_is_refused_with_what_to_pass(arrays):
    with pytest.raises(ValueError, match="`steps_per_epoch=`"):
        small_model().fit(data_set("tf.data", *arrays).repeat(), epochs=2, verbose=0)


@pytest.mark.once
def test_unknown_length_trains_with_steps_per_epoch(arrays):
    model = small_model()
    model.fit(endless(*arrays), epochs=2, steps_per_epoch=3, verbose=0)
    assert int(model.optimizer.iterations) == 6
    assert float(model.optimizer.learning_rate) < 1e-9


class Batches(ShuffledBatches):
    """Takes note of the labels of each step that a batch was asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = {}

    def __getitem__(self, index):
        batch = super().__getitem__(index)
        self.asked[self.epoch, index] = batch[1].tolist()
        return batch


@pytest.fixture
def asked(monkeypatch):
    """Returns what the last `fit` with arrays asked for: labels by epoch and step."""
    made = []

    def make(*args, **kwargs):
        made.append(Batches(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr("keras_lc.models.classifier.ShuffledBatches", make)
    return lambda: made[-1].asked


@pytest.mark.once
@pytest.mark.parametrize("steps", [3, 4, 5, 12])
def test_arrays_are_one_stream_of_passes_for_any_steps_of_an_epoch(steps, arrays, asked):
    images = arrays[0][:48]
    numbers = np.arange(48) % 10
    model = small_model()
    model.fit(images, numbers, batch_size=10, epochs=3, steps_per_epoch=steps, verbose=0)
    assert int(model.optimizer.iterations) == 3 * steps
    assert float(model.optimizer.learning_rate) < 1e-9
    # 4 batches a pass, without the partial one.
    stream = ShuffledBatches(images, numbers, 10, seed=derive_seed(1, "batches"))
    for step in range(3 * steps):
        stream.start_epoch(step // 4)
        assert asked()[divmod(step, steps)] == stream[step % 4][1].tolist()


@pytest.mark.once
@pytest.mark.parametrize("kind", ["PyDataset", "tf.data", "DataLoader"])
@pytest.mark.parametrize("steps", [3, 4, 6])
def test_data_that_ends_within_an_epoch_is_refused(kind, steps, arrays):
    model = small_model()
    with pytest.raises(ValueError, match=rf"ends after 5 batches.*steps_per_epoch={steps}"):
        model.fit(data_set(kind, *arrays), epochs=2, steps_per_epoch=steps, verbose=0)
    assert not model.compiled


@pytest.mark.once
@pytest.mark.parametrize("kind", ["PyDataset", "tf.data", "DataLoader"])
@pytest.mark.parametrize(("steps", "epochs"), [(1, 7), (5, 2), (2, 2), (4, 1)])
def test_data_that_ends_with_an_epoch_or_later_gives_all_steps(kind, steps, epochs, arrays):
    model = small_model()
    model.fit(data_set(kind, *arrays), epochs=epochs, steps_per_epoch=steps, verbose=0)
    assert int(model.optimizer.iterations) == steps * epochs


@pytest.mark.once
def test_data_that_repeats_gives_all_steps(arrays):
    model = small_model()
    model.fit(data_set("tf.data", *arrays).repeat(), epochs=2, steps_per_epoch=7, verbose=0)
    assert int(model.optimizer.iterations) == 14


def short(images, labels):
    for _ in range(5):
        yield images[:16], labels[:16]


def messages(model, *data, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*data, verbose=0, **options)
    return [str(warning.message) for warning in caught]


@pytest.mark.once
def test_steps_that_were_planned_and_not_taken_are_told(arrays):
    given = messages(small_model(), short(*arrays), epochs=2, steps_per_epoch=4)
    assert any("made for 8 steps, and 5 were taken" in message for message in given)


@pytest.mark.once
def test_who_stops_early_is_not_told_of_steps(arrays):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    model = small_model()
    given = messages(model, *arrays, batch_size=16, callbacks=[Stop()])
    assert int(model.optimizer.iterations) == 2
    assert not any("steps" in message for message in given)


@pytest.mark.once
def test_whole_runs_say_nothing_of_steps(arrays):
    assert not any("steps" in m for m in messages(small_model(), *arrays, batch_size=16, epochs=2))


class Kill(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("steps", [None, pytest.param(3, marks=pytest.mark.once)])
def test_a_run_that_keras_restores_sees_the_batches_of_its_epochs(steps, arrays, asked, tmp_path):
    options = dict(batch_size=16, epochs=3, steps_per_epoch=steps, verbose=0)
    whole, killed, resumed = small_model(), small_model(), small_model()
    whole.fit(*arrays, **options)
    expected = asked()
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(*arrays, **options, callbacks=[backup, Kill(2)])
    resumed.fit(*arrays, **options, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])
    last = {place: labels for place, labels in expected.items() if place[0] == 2}
    assert last.items() <= asked().items()
    assert not any(epoch == 1 for epoch, _ in asked())
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # Keras would begin the next run where it restored this one.
    resumed.fit(*arrays, **options)
    assert {epoch for epoch, _ in asked()} == {0, 1, 2}


@pytest.mark.once
def test_a_backup_of_a_run_of_other_steps_is_refused(arrays, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        small_model().fit(
            *arrays, batch_size=16, epochs=3, verbose=0,
            callbacks=[keras.callbacks.BackupAndRestore(tmp_path), Kill(2)],
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"Epoch 3 begins at step 4 .*taken 10"):
        small_model().fit(
            *arrays, batch_size=40, epochs=3, verbose=0,
            callbacks=[keras.callbacks.BackupAndRestore(tmp_path)],
        )  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize("save_freq", [2, False])
def test_backups_within_an_epoch_are_refused(save_freq, arrays, tmp_path):
    backup = keras.callbacks.BackupAndRestore(tmp_path, save_freq=save_freq)
    with pytest.raises(ValueError, match=rf"save_freq='epoch'.*save_freq={save_freq}"):
        small_model().fit(*arrays, callbacks=backup, verbose=0)


@pytest.mark.once
def test_batches_follow_the_epochs_of_a_compiled_model(arrays, tmp_path):
    def fit(batches, **options):
        model = small_model()
        CIFAR.compile(model, 15)
        model.fit(batches, epochs=3, verbose=0, shuffle=False, **options)
        return batches.asked

    expected = fit(Batches(*arrays, 16, seed=3))
    assert {epoch for epoch, _ in expected} == {0, 1, 2}
    batches = PartOfBatches(Batches(*arrays, 16, seed=3), 1, 0)
    with pytest.raises(KeyboardInterrupt):
        model = small_model()
        CIFAR.compile(model, 15)
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        model.fit(batches, epochs=3, verbose=0, shuffle=False, callbacks=[backup, Kill(2)])
    backup = keras.callbacks.BackupAndRestore(tmp_path)
    resumed = fit(Batches(*arrays, 16, seed=3), callbacks=[backup])
    last = {place: labels for place, labels in expected.items() if place[0] == 2}
    assert last.items() <= resumed.items()


@pytest.mark.once
def test_batches_go_on_in_the_next_fit_of_a_compiled_model(arrays):
    batches = Batches(*arrays, 16, seed=3)
    model = small_model()
    CIFAR.compile(model, 10)
    for _ in range(2):
        model.fit(batches, verbose=0, shuffle=False)
    assert batches.asked[0, 0] != batches.asked[1, 0]
    assert {epoch for epoch, _ in batches.asked} <= {0, 1, 2}


class Warmup(keras.callbacks.LearningRateScheduler):
    pass


@pytest.mark.once
@pytest.mark.parametrize(
    "packed", [list, lambda c: c[0], lambda c: [c], keras.callbacks.CallbackList]
)
@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.ReduceLROnPlateau(),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.1),
        Warmup(lambda epoch: 0.1),
        keras.callbacks.SwapEMAWeights(),
    ],
)
def test_callbacks_that_set_what_the_recipe_sets_are_refused(callback, packed, arrays):
    model = small_model()
    name = type(callback).__name__
    with pytest.raises(ValueError, match=rf"recipe.*{name} does not work.*`compile\(\)`"):
        model.fit(*arrays, callbacks=packed([callback]), verbose=0)
    assert not model.compiled


@pytest.mark.once
def test_after_compile_the_learning_rate_may_be_set(arrays):
    model = small_model()
    model.compile(SGD(0.1), SmoothedCrossentropy())
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)
    model.fit(*arrays, callbacks=[callback], verbose=0)
    assert float(model.optimizer.learning_rate) == 0.25


@pytest.mark.once
def test_a_list_of_callbacks_of_its_own_is_taken(arrays):
    losses = []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            losses.append(logs["loss"])

    model = small_model()
    callbacks = keras.callbacks.CallbackList([Record()], add_history=True, model=model, epochs=2)
    history = model.fit(*arrays, batch_size=16, epochs=2, callbacks=callbacks, verbose=0)
    assert history.history["loss"] == losses and len(losses) == 2
    expected = small_model().fit(*arrays, batch_size=16, epochs=2, verbose=0)
    assert expected.history["loss"] == losses


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"`epochs` must be an integer of at least 1.*epochs=0"),
        ({"epochs": -2}, r"`epochs` must be .*epochs=-2"),
        ({"epochs": 2.0}, r"`epochs` must be .*epochs=2\.0"),
        ({"epochs": True}, r"`epochs` must be .*epochs=True"),
        ({"epochs": None}, r"`epochs` must be .*epochs=None"),
        ({"initial_epoch": -1}, r"`initial_epoch` must be .*-1"),
        ({"initial_epoch": 0.5}, r"`initial_epoch` must be .*0\.5"),
        ({"epochs": 2, "initial_epoch": 3}, r"more than `initial_epoch`.*epochs=2, .*=3"),
        ({"steps_per_epoch": 0}, r"`steps_per_epoch` must be .*=0"),
        ({"steps_per_epoch": 1.5}, r"`steps_per_epoch` must be .*=1\.5"),
        ({"batch_size": 0}, r"`batch_size` must be from 1 .*batch_size=0"),
        ({"batch_size": 5000}, r"`batch_size` must be .* 80\. Received: batch_size=5000"),
        ({"batch_size": 8.0}, r"`batch_size` must be .*batch_size=8\.0"),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_name(options, message, arrays):
    model = small_model()
    with pytest.raises(ValueError, match=message):
        model.fit(*arrays, verbose=0, **options)
    assert not model.compiled


@pytest.mark.once
@pytest.mark.parametrize(
    "wrap",
    [
        lambda x, y: ({"images": x},),
        lambda x, y: ({"images": x}, y),
        lambda x, y: ([x], y),
        lambda x, y: ([x, y],),
        lambda x, y: ((x, y),),
        lambda x, y: ("images",),
        lambda x, y: (),
        lambda x, y: (1,),
    ],
)
def test_what_is_no_array_or_data_set_is_refused_by_name(wrap, arrays):
    given = wrap(*arrays)
    kind = type(given[0] if given else None).__name__
    with pytest.raises(ValueError, match=rf"`x` must be .*images.*Received: {kind}"):
        small_model().fit(*given, verbose=0)


@pytest.mark.once
def test_compiled_model_trains_as_any_keras_model(arrays):
    model = small_model()
    optimizer = keras.optimizers.Adam()
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*arrays, batch_size=32, verbose=0)
    assert model.optimizer is optimizer
    assert int(optimizer.iterations) == 3  # Keras keeps the partial batch


def test_second_fit_starts_the_recipe_anew(arrays):
    model = small_model()
    model.fit(*arrays, batch_size=16, verbose=0)
    weights = model.get_weights()
    model.fit(*arrays, batch_size=16, verbose=0)
    assert int(model.optimizer.iterations) == 5
    assert max(np.abs(a - b).max() for a, b in zip(model.get_weights(), weights, strict=True)) > 0


@pytest.fixture
def float32():
    """Keras' default."""


@pytest.fixture
def mixed_float16():
    """Under which Keras wraps the optimizer, also when it loads one."""
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


def test_second_fit_starts_the_recipe_anew_where_keras_scales_the_loss(arrays, mixed_float16):
    model = small_model()
    model.fit(*arrays, batch_size=16, verbose=0)
    weights = model.get_weights()
    model.fit(*arrays, batch_size=16, verbose=0)
    assert type(model.optimizer.inner_optimizer) is SGD
    assert max(np.abs(a - b).max() for a, b in zip(model.get_weights(), weights, strict=True)) > 0


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_saved_model_goes_on_with_its_recipe(precision, request, arrays, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(tmp_path / "half.keras")
            self.model.stop_training = epoch == 0

    request.getfixturevalue(precision)
    whole, half = small_model(), small_model()
    whole.fit(*arrays, batch_size=16, epochs=2, verbose=0)
    half.fit(*arrays, batch_size=16, epochs=2, verbose=0, callbacks=[Stop()])
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    resumed.fit(*arrays, batch_size=16, epochs=2, initial_epoch=1, verbose=0)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("recipe", [SGD90, DEIT])
def test_saved_model_goes_on_with_another_recipe(recipe, arrays, tmp_path):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.save(tmp_path / "half.keras")

    model = small_model()
    model.recipe = recipe
    model.fit(*arrays, batch_size=16, epochs=2, verbose=0, callbacks=[Save()])
    resumed = keras.saving.load_model(tmp_path / "half.keras")
    assert resumed.recipe == recipe
    with pytest.raises(ValueError, match=r"begun for 10 steps.*epochs=3 of 5 steps, 15 in all"):
        resumed.fit(*arrays, batch_size=16, epochs=3, initial_epoch=1, verbose=0)
    resumed.fit(*arrays, batch_size=16, epochs=2, initial_epoch=1, verbose=0)
    for a, b in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.once
def test_run_is_not_continued_for_more_steps_than_it_was_begun_for(arrays):
    model = small_model()
    model.fit(*arrays, batch_size=16, epochs=2, verbose=0)
    with pytest.raises(ValueError, match=r"begun for 10 steps.*epochs=4 of 5 steps, 20 in all"):
        model.fit(*arrays, batch_size=16, epochs=4, initial_epoch=2, verbose=0)


@pytest.mark.once
def test_run_with_a_warm_up_is_continued_for_the_steps_that_it_was_begun_for(arrays):
    model = small_model()
    model.recipe = dataclasses.replace(model.recipe, warmup_epochs=30)
    model.fit(*arrays, batch_size=16, epochs=2, verbose=0)
    model.fit(*arrays, batch_size=16, epochs=2, initial_epoch=2, verbose=0)
    with pytest.raises(ValueError, match=r"begun for 10 steps"):
        model.fit(*arrays, batch_size=16, epochs=4, initial_epoch=2, verbose=0)


@pytest.mark.once
def test_only_epochs_that_are_run_count_for_a_new_run(arrays):
    model = small_model()
    model.fit(*arrays, batch_size=16, epochs=4, initial_epoch=2, verbose=0)
    assert int(model.optimizer.iterations) == 10
    assert float(model.optimizer.learning_rate) < 1e-9


@pytest.mark.once
def test_images_of_any_size_train_where_the_model_takes_them(arrays):
    model = small_model(size=None)
    model.fit(*arrays, batch_size=16, verbose=0)
    assert int(model.optimizer.iterations) == 5
    with pytest.raises(ValueError, match=r"shape \(None, None, None, 3\)\. Received: .*32, 1\)"):
        model.fit(arrays[0][..., :1], arrays[1], verbose=0)


@pytest.mark.once
def test_validation_takes_the_batches_of_training(arrays):
    batches = []

    class Count(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            batches.append(batch)

    given = {"validation_data": arrays, "callbacks": [Count()]}
    small_model().fit(*arrays, batch_size=40, verbose=0, **given)
    assert batches == [0, 1]
    small_model().fit(*arrays, batch_size=40, validation_batch_size=80, verbose=0, **given)
    assert batches == [0, 1, 0]


@pytest.mark.once
def test_lists_of_labels_and_weights_are_taken(arrays):
    images, labels = arrays
    options = {"batch_size": 16, "validation_split": 0.2, "verbose": 0}
    weights = np.linspace(0.5, 1.5, 80)
    expected = small_model().fit(images, labels, sample_weight=weights, **options).history
    given = {"y": labels.tolist(), "sample_weight": weights.tolist()}
    assert small_model().fit(images, **given, **options).history == expected


@pytest.mark.once
@pytest.mark.parametrize("way", ["load", "clone"])
def test_copy_of_a_trained_model_starts_the_recipe_anew(way, arrays, tmp_path):
    model = small_model()
    model.fit(*arrays, batch_size=16, verbose=0)
    if way == "load":
        model.save(tmp_path / "model.keras")
        copy = keras.saving.load_model(tmp_path / "model.keras")
    else:
        copy = keras.models.clone_model(model)
    first = copy.get_layer("classifier").get_weights()[0]
    copy.fit(*arrays, batch_size=16, verbose=0)
    assert np.abs(copy.get_layer("classifier").get_weights()[0] - first).max() > 1e-5


@pytest.mark.once
def test_validation_split_keeps_the_last_images_for_validation(arrays):
    images, labels = arrays
    split = small_model().fit(images, labels, batch_size=16, validation_split=0.2, verbose=0)
    given = small_model().fit(
        images[:64], labels[:64], batch_size=16, verbose=0,
        validation_data=(images[64:], labels[64:]),
    )  # fmt: skip
    assert split.history == given.history and "val_loss" in split.history


def test_sample_weight_of_zero_leaves_an_image_out(arrays):
    images, labels = arrays
    wrong = labels.copy()
    wrong[::2] = (wrong[::2] + 1) % 10
    weight = np.arange(80, dtype="float32") % 2
    results = [
        small_model().fit(images, y, batch_size=16, sample_weight=weight, verbose=0).history["loss"]
        for y in (labels, wrong)
    ]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, :28], y), r"`x` must be images of shape .*\(80, 28, 32, 3\)"),
        (lambda x, y: (list(x), y), r"`x` must be images of shape .*Received: list"),
        (lambda x, y: (x, y[:10]), r"80 images, 10 labels"),
        (lambda x, y: (x[:0], y[:0]), r"at least one"),
        (lambda x, y: (x, y + 1), r"labels from 0 to 9 .*classes=10.*labels from 1 to 10"),
        (lambda x, y: (x, y + 0.5), r"`y` must be integers"),
        (lambda x, y: (x, [f"cat{i}" for i in y]), r"`y` must be integers .*dtype <U4"),
        (lambda x, y: (x,), r"`y` must be given"),
        (lambda x, y: (x, np.eye(7)[y % 7]), r"one-hot `\(n, 10\)`.*shape \(80, 7\)"),
    ],
)
def test_images_or_labels_that_do_not_fit_are_refused_before_training(change, message, arrays):
    with pytest.raises(ValueError, match=message):
        small_model().fit(*change(*arrays), verbose=0)


@pytest.mark.once
@pytest.mark.parametrize("include_preprocessing", [True, False])
def test_images_scaled_to_1_are_warned_of_where_the_model_scales(include_preprocessing, arrays):
    images, labels = arrays
    model = small_model(include_preprocessing=include_preprocessing)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(images / np.float32(255), labels, verbose=0)
    assert any("0 to 255" in str(w.message) for w in caught) == include_preprocessing


@pytest.mark.once
@pytest.mark.parametrize("count", [10, 90])
def test_as_many_weights_as_images_are_needed(count, arrays):
    with pytest.raises(ValueError, match=f"`sample_weight` must be as long as `x`.*: {count}"):
        small_model().fit(*arrays, sample_weight=np.ones(count), verbose=0)


# Written down under TensorFlow; all backends must give the same.
FIRST_LOSSES = [
    2.257673,
    2.246623,
    2.301147,
    2.335455,
    2.312533,
    2.210424,
    2.251546,
    2.280770,
    2.267534,
    2.272638,
]


def test_first_losses_are_the_same_under_every_backend(arrays):
    """Initial weights, filters, batches, crops, flips and the recipe's arithmetic, all at once."""
    losses = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(float(logs["loss"]))

    model = keras_lc.ResNetLC(depth=8, width=4, expansion=2, seed=1)
    model.fit(*arrays, batch_size=16, epochs=2, verbose=0, callbacks=[Record()])
    np.testing.assert_allclose(losses, FIRST_LOSSES, rtol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize("name", ["model.h5", "model.hdf5"])
def test_a_file_that_cannot_be_loaded_is_not_written(name, tmp_path):
    model = keras_lc.CIFARResNet(depth=8, width=4, seed=1)
    (tmp_path / name).write_text("old")
    with pytest.raises(ValueError, match=r"save it as a `.keras` file.*weights\.h5"):
        model.save(tmp_path / name)
    assert (tmp_path / name).read_text() == "old"
    model.save_weights(tmp_path / "model.weights.h5")


def inputs_of(shape, data_format, include_preprocessing=True):
    return image_input(shape, include_preprocessing, None, None, None, 1, data_format)[0]


@pytest.mark.once
@pytest.mark.parametrize(
    "shape",
    [(3, 32, 32), (1, 28, 28), (4, 64, 64), (2, 8, 8), (3, 480, 640), (3, 64, 32), (32, 32, None)],
)
@pytest.mark.parametrize("include_preprocessing", [True, False])
def test_rows_are_not_taken_for_channels(shape, include_preprocessing):
    reversed_shape = shape[::-1]
    for given, data_format, axes in (
        (shape, "channels_last", "height, width, channels"),
        (reversed_shape, "channels_first", "channels, height, width"),
    ):
        message = rf"\({axes}\) with data_format='{data_format}'.*{re.escape(str(given))}"
        with pytest.raises(ValueError, match=message):
            inputs_of(given, data_format, include_preprocessing)


@pytest.mark.once
@pytest.mark.parametrize(
    "shape",
    [
        (32, 32, 16), (None, None, 3), (None, None, 16), (32, 32, 3), (28, 28, 1), (3, 3, 3),
        (1, 128, 16), (1, None, 40), (3, 32, 3), (2, 64, 2), (3, 3, 8), (5, 32, 32),
    ],
)  # fmt: skip
def test_shapes_that_may_be_meant_are_taken(shape):
    assert inputs_of(shape, "channels_last").shape == (None, *shape)
    assert inputs_of(shape[::-1], "channels_first").shape == (None, *shape[::-1])


@pytest.mark.once
def test_an_unknown_data_format_is_refused():
    with pytest.raises(ValueError, match=r"`data_format` must be .*'channels-last'"):
        inputs_of((32, 32, 3), "channels-last")


@pytest.mark.once
@pytest.mark.parametrize("build", [keras_lc.CIFARResNet, keras_lc.ResNet, keras_lc.MobileNetV2])
def test_every_builder_refuses_shapes_of_other_axes(build):
    with pytest.raises(ValueError, match=r"\(height, width, channels\).*\(3, 32, 32\)"):
        build(input_shape=(3, 32, 32), data_format="channels_last")
    with pytest.raises(ValueError, match=r"\(channels, height, width\).*\(32, 32, 1\)"):
        build(input_shape=(32, 32, 1), data_format="channels_first")


def full_size(**arguments):
    return keras_lc.ResNet(18, width=8, input_shape=(32, 32, 3), classes=10, seed=1, **arguments)


@pytest.mark.once
def test_full_size_networks_have_imagenets_recipe_and_small_ones_cifars():
    small = {"input_shape": (32, 32, 3), "classes": 10}
    for build in (keras_lc.MobileNetV2, keras_lc.MobileNetV3Large):
        options = {"width_multiplier": 0.1, **small}
        assert build(**options).recipe is IMAGENET_A2
        assert build(low_resolution=True, **options).recipe is CIFAR
    assert full_size().recipe is IMAGENET_A2
    assert full_size(low_resolution=True).recipe is CIFAR
    assert keras_lc.CIFARResNet(depth=8, width=4).recipe is CIFAR


@pytest.mark.parametrize("one_hot", [False, pytest.param(True, marks=pytest.mark.once)])
def test_imagenets_recipe_sets_optimizer_loss_and_schedule(one_hot, arrays):
    rates = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))

    images, labels = arrays
    model = small_model()
    model.recipe = dataclasses.replace(IMAGENET_A2, warmup_epochs=60)
    y = np.eye(10, dtype="float32")[labels] if one_hot else labels
    history = model.fit(images, y, batch_size=16, epochs=2, verbose=0, callbacks=[Record()])
    assert type(model.optimizer) is LAMB and model.optimizer.weight_decay == 0.02
    assert type(model.loss) is BinarisedCrossentropy and model.loss.threshold == 0.2
    warmup = 5e-3 * np.arange(2) / 2
    cosine = 5e-3 * 0.5 * (1 + np.cos(np.pi * np.arange(8) / 8))
    np.testing.assert_allclose(rates, [*warmup, *cosine], rtol=1e-4)
    assert 0 <= history.history["accuracy"][-1] <= 1
    again = int(model.optimizer.iterations)
    model.fit(images, y, batch_size=16, epochs=1, verbose=0)
    assert (again, int(model.optimizer.iterations)) == (10, 5)


def copied(model, way, path):
    if way == "save":
        model.save(path / "model.keras")
        return keras.saving.load_model(path / "model.keras")
    if way == "pickle":
        return pickle.loads(pickle.dumps(model))
    if way == "clone":
        return keras.models.clone_model(model)
    return type(model).from_config(model.get_config())


@pytest.mark.once
@pytest.mark.parametrize("way", ["save", "pickle", "clone", "config"])
def test_copies_keep_the_recipe_that_was_set(way, tmp_path):
    model = small_model()
    model.recipe = dataclasses.replace(IMAGENET_A2, learning_rate=0.125)
    copy = copied(model, way, tmp_path)
    assert copy.recipe == model.recipe and copy.seed == model.seed
    copy.recipe = CIFAR
    assert model.recipe.learning_rate == 0.125


@pytest.mark.once
@pytest.mark.parametrize("recipe", ["cifar", None, 3])
def test_only_a_recipe_can_be_set(recipe):
    model = small_model()
    with pytest.raises(TypeError, match=r"`recipe` must be a `keras_lc.training.Recipe`"):
        model.recipe = recipe
    assert model.recipe is CIFAR
