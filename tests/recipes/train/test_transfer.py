"""`recipes.train --weights`: what is loaded, what is trained, and when."""

import dataclasses
import pathlib

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.models.torch_names import trainer_cifar_resnet
from recipes.common.callbacks import TrainingTime
from recipes.common.settings import Settings, check
from recipes.train.checks import check_transfer
from recipes.train.networks import build
from recipes.train.run import run
from recipes.train.transfer import Phase, compile_phase, phases
from tests import oracles

HEAD = "classifier"


def settings(**changes):
    small = {"depth": 8, "width": 8, "spatial": "learned", "augmentation": "none"}
    return Settings(**{**small, "batch_size": 16, **changes})


@pytest.fixture(scope="module")
def data():
    """Ten images of digits of each of three classes, in colour."""
    digits = keras_lc.data.load("digits", progress=False)
    chosen = np.concatenate([np.flatnonzero(digits.y_train == label)[:10] for label in range(3)])
    x, y = np.repeat(digits.x_train[chosen], 3, axis=-1), digits.y_train[chosen]
    return dataclasses.replace(
        digits, x_train=x, y_train=y, x_test=x, y_test=y, class_names=("0", "1", "2")
    )


@pytest.fixture
def here(data, monkeypatch):
    monkeypatch.setattr(keras_lc.data, "load", lambda *args, **kwargs: data)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A model for other classes, with statistics that are not the initial ones."""
    model = keras_lc.CIFARResNet(
        8, 8, "learned", input_shape=(32, 32, 3), classes=7, mean=(9, 8, 7), std=(3, 4, 5), seed=5
    )
    for i, variable in enumerate(model.variables):
        if "moving" in variable.name:
            variable.assign(0.5 + 0.1 * oracles.images(*variable.shape, seed=i) ** 2)
    path = tmp_path_factory.mktemp("weights") / "other.keras"
    model.save(path)
    return path


def body_of(model):
    return {
        f"{layer.name}/{variable.name}": oracles.numpy(variable)
        for layer in model.layers
        for variable in layer.weights
        if layer.name != HEAD
    }


def assert_same_body(model, other):
    ours, theirs = body_of(model), body_of(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


# --- What is loaded ---


def test_the_body_and_the_statistics_of_images_are_a_keras_files(data, file):
    model, source = build(settings(weights=file), data), keras.saving.load_model(file)
    assert_same_body(model, source)
    assert model.output_shape == (None, 3)
    x = data.x_train[:2]
    body = [keras.Model(m.input, m.get_layer("pool").output) for m in (model, source)]
    oracles.assert_close(body[0](x), oracles.numpy(body[1](x)))


@pytest.mark.once
def test_pytorchs_files_bring_the_statistics_of_their_images(data, file, tmp_path):
    import torch

    source = keras.saving.load_model(file)
    names = {layer.name for layer in source.layers}
    own = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
           "moving_variance": "running_var", "kernel": "weight", "bias": "bias"}  # fmt: skip
    state = {}
    for layer in source.layers:
        for variable in layer.weights:
            values = oracles.numpy(variable)
            axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[values.ndim]
            name = f"{trainer_cifar_resnet(layer.name, names)}.{own[variable.name]}"
            state[name] = torch.from_numpy(values.transpose(axes).copy())
    torch.save(state, tmp_path / "other.pth")
    model = build(settings(weights=tmp_path / "other.pth"), data)
    assert_same_body(model, source)
    mean = keras_lc.CIFARResNet(8, 8, "learned", input_shape=(32, 32, 3)).get_layer("normalization")
    assert model.get_layer("normalization").get_config()["mean"] == mean.get_config()["mean"]


@pytest.mark.once
@pytest.mark.parametrize(
    ("settings_of_network", "is_low"),
    [
        ({}, True),
        ({"image_size": 96}, False),
        ({"weights": "photos.pth"}, False),
        ({"weights": "photos.pth", "resolution": "low"}, True),
        ({"weights": "run.keras"}, True),
        ({"resolution": "full"}, False),
    ],
)
def test_the_version_for_large_images_is_chosen_for_weights_of_imagenet(
    settings_of_network, is_low, data, monkeypatch
):
    if "weights" in settings_of_network:
        settings_of_network = settings_of_network | {
            "weights": pathlib.Path(settings_of_network["weights"])
        }
    monkeypatch.setattr("recipes.train.networks.statistics", lambda *_: {"mean": 127, "std": 64})
    monkeypatch.setattr("recipes.train.networks.start_from", lambda model, *_: model)
    arguments = settings(network="mobilenet_v2", width_multiplier=0.1, **settings_of_network)
    model = build(arguments, data)
    assert model.get_layer("pool").input.shape[1] == (4 if is_low else 1)


@pytest.mark.once
@pytest.mark.parametrize(
    "network", ["resnet18d", "resnet50d", "resnext50_32x4d", "mobilenet_v3_large"]
)
def test_networks_that_are_not_the_papers_can_be_named(network, data):
    named = {
        "resnet18d": "resnet_18d", "resnet50d": "resnet_50d",
        "resnext50_32x4d": "resnext_50_32x4d", "mobilenet_v3_large": "mobilenet_v3_large",
    }  # fmt: skip
    model = build(settings(network=network, resolution="full"), data)
    assert model.name == named[network]


# --- What is trained, and when ---


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "planned"),
    [
        ({}, [(0, 5, True)]),
        ({"head_epochs": 2}, [(0, 2, False), (2, 5, True)]),
        ({"train": "combinations", "head_epochs": 2}, [(0, 2, False), (2, 5, True)]),
        ({"train": "head"}, [(0, 5, False)]),
    ],
)
def test_the_head_is_trained_alone_first(changes, planned):
    assert phases(settings(epochs=5, **changes)) == [Phase(*phase) for phase in planned]


@pytest.mark.once
def test_the_body_gets_a_lower_rate_than_the_head(data, file):
    for changes, rate in (({}, 0.1), ({"body_rate": 0.5}, 0.5)):
        arguments = settings(weights=file, epochs=2, **changes)
        model = build(arguments, data)
        compile_phase(model, Phase(0, 2, body=True), 3, arguments)
        factors = model.optimizer.get_config()["rate_factors"]
        head = {variable.path for variable in model.get_layer(HEAD).variables}
        trained = {variable.path for variable in model.trainable_variables}
        assert factors == dict.fromkeys(trained - head, rate)
    scratch = settings(epochs=2)
    compile_phase(model, Phase(0, 2, body=True), 3, scratch)
    assert "rate_factors" not in model.optimizer.get_config()


def test_a_frozen_body_keeps_its_filters_and_statistics(here, data, file, tmp_path):
    output = tmp_path / "run"
    results = run(settings(weights=file, train="head", epochs=1, output=output))
    trained, source = (keras.saving.load_model(p) for p in (output / "model.keras", file))
    assert_same_body(trained, source)
    head = trained.get_layer(HEAD)
    fresh = build(settings(weights=file), data).get_layer(HEAD)
    assert (oracles.numpy(head.bias) != oracles.numpy(fresh.bias)).all()
    assert results["trained_parameters"] == 32 * 3 + 3
    statistics = sum(v.size for n, v in body_of(source).items() if "moving" in n)
    total = sum(value.size for value in body_of(source).values())
    assert results["frozen_parameters"] == total - statistics


def stop_before(epoch, monkeypatch):
    begin = TrainingTime.on_epoch_begin

    def stop(self, now, logs=None):
        if now == epoch:
            raise KeyboardInterrupt
        begin(self, now, logs)

    monkeypatch.setattr(TrainingTime, "on_epoch_begin", stop)


@pytest.mark.once
def test_a_run_stopped_between_or_within_phases_ends_like_an_uninterrupted_one(
    here, file, tmp_path, monkeypatch
):
    arguments = settings(weights=file, head_epochs=1, epochs=3, train="combinations")
    run(dataclasses.replace(arguments, output=tmp_path / "whole"))
    stopped = dataclasses.replace(arguments, output=tmp_path / "stopped")
    for epoch in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            stop_before(epoch, patch)
            run(dataclasses.replace(stopped, resume=epoch > 1))
    run(dataclasses.replace(stopped, resume=True))
    whole, resumed = (
        keras.saving.load_model(tmp_path / name / "model.keras") for name in ("whole", "stopped")
    )
    for a, b in zip(whole.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(oracles.numpy(a), oracles.numpy(b))
    kernel = oracles.numpy(keras.saving.load_model(file).get_layer("stem_conv").kernel)
    layer = whole.get_layer("stem_conv")
    np.testing.assert_array_equal(oracles.numpy(layer.basis), kernel)
    assert (oracles.numpy(layer.kernel) != kernel).any()
    assert (oracles.numpy(whole.get_layer("stem_bn").gamma) != 1).all()


# --- Bad input ---


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "head"}, r"^--train head needs --weights\.$"),
        ({"head_epochs": 2}, r"^--head-epochs 2 needs --weights\.$"),
        ({"body_rate": 0.5}, r"^--body-rate 0\.5 needs --weights\.$"),
        ({"body_rate": 0.0, "weights": True}, "--body-rate must be above 0"),
        ({"weights": "gone.pth"}, "--weights: gone.pth is not a file"),
        ({"head_epochs": 5, "weights": True}, "must be less than --epochs"),
        ({"head_epochs": 1, "train": "head", "weights": True}, "takes no --head-epochs"),
        ({"train": "combinations", "spatial": "lc", "weights": True}, "needs --spatial learned"),
        ({"spatial": "lc", "weights": "a.pth"}, "Pass --spatial learned"),
        ({"resolution": "full"}, "cifar_resnet has only a version for small images"),
    ],
)
def test_settings_that_do_not_go_together_are_named(changes, message, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pth").touch()
    if "weights" in changes:
        name = changes["weights"]
        path = file if name is True else pathlib.Path(name)
        changes = changes | {"weights": path}
    arguments = settings(epochs=5, **changes)
    with pytest.raises(ValueError, match=message):
        check(arguments)
        check_transfer(arguments)


@pytest.mark.once
@pytest.mark.parametrize("change", [{"width": 4}, {"depth": 14}, {"spatial": "lc"}])
def test_a_file_of_another_network_is_named_with_what_differs(change, data, file):
    with pytest.raises(
        ValueError, match=r"other\.keras holds .*, which differs from .* layers, such as "
    ):
        build(settings(weights=file, **change), data)
