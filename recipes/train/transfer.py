"""Training from pretrained weights: what is loaded, what is trained, and when. Imports Keras."""

import dataclasses
import pathlib

import keras
import numpy as np

import keras_lc
from keras_lc.models import HEAD_LAYERS
from keras_lc.surgery import copy_stored

_BODY_RATE = 0.1
# Layers with equal variables can differ in these.
_GEOMETRY = ("strides", "padding", "dilation_rate", "groups")


@dataclasses.dataclass(frozen=True)
class Phase:
    """Epochs in which the same layers are trained, with a learning rate that falls to 0.

    Args:
        first: Integer, the first epoch.
        last: Integer, the epoch after the last.
        body: Boolean, whether the layers before the head are trained too.
    """

    first: int
    last: int
    body: bool


def phases(arguments) -> list[Phase]:
    """Returns the phases of a run of `recipes.train`."""
    if arguments.train == "head":
        return [Phase(0, arguments.epochs, body=False)]
    borders = (0, arguments.head_epochs, arguments.epochs)
    both = (Phase(*borders[:2], body=False), Phase(*borders[1:], body=True))
    return [phase for phase in both if phase.first < phase.last]


def compile_phase(model: keras.Model, phase: Phase, steps: int, arguments) -> None:
    """Compiles a model for a phase.

    A body that is not trained computes as at inference: the statistics of its normalization
    neither change nor depend on the batch.

    Args:
        model: The `keras.Model`.
        phase: `Phase`.
        steps: Integer, the steps of an epoch.
        arguments: `recipes.common.settings.Settings`.
    """
    for layer in _body(model):
        layer.trainable = phase.body
    rate = arguments.body_rate
    if rate is None:
        rate = 1.0 if arguments.weights is None else _BODY_RATE
    scaled = [v for layer in _body(model) for v in layer.trainable_variables if rate != 1]
    keras_lc.training.CIFAR.compile(
        model,
        (phase.last - phase.first) * steps,
        rate_factors={variable.path: rate for variable in scaled},
        # Weighted, because the images that fill up the last batch have the weight 0.
        weighted_metrics=["accuracy"],
    )


def statistics(weights: pathlib.Path | None, dataset: keras_lc.data.Dataset) -> dict:
    """Returns the `mean` and `std` for the builder: those that the weights were trained with."""
    if weights is None:
        return {"mean": dataset.mean, "std": dataset.std}
    if not is_ours(weights):
        # ImageNet's, or CIFAR-10's for networks for small images.
        return {"mean": None, "std": None}
    for layer in _read(weights).layers:
        if isinstance(layer, keras.layers.Normalization):
            config = layer.get_config()
            return {"mean": config["mean"], "std": np.sqrt(config["variance"]).tolist()}
    return {"mean": dataset.mean, "std": dataset.std}


def is_ours(weights: pathlib.Path) -> bool:
    """Returns whether a file of weights is a model of this library, not of PyTorch."""
    return weights.suffix == ".keras"


def start_from(model: keras.Model, weights: pathlib.Path, train: str) -> keras.Model:
    """Returns a new model with pretrained weights in all layers but the head.

    Args:
        model: The `keras.Model` with its initial weights.
        weights: Path of the file.
        train: String, the value of `--train`.

    Raises:
        ValueError: If the file is damaged, or holds the weights of another network.
    """
    if is_ours(weights):
        _load(model, weights)
    else:
        keras_lc.load_torch_weights(model, weights, head=False)
    return keras_lc.to_lc(model, basis="kernels") if train == "combinations" else model


def _body(model):
    return [layer for layer in model.layers if layer.weights and layer.name not in HEAD_LAYERS]


def _read(weights):
    return keras.saving.load_model(weights.expanduser())


def _load(model, weights):
    source = _read(weights)
    theirs = {layer.name: layer for layer in _body(source)}
    ours = {layer.name: layer for layer in _body(model)}
    others = [
        name
        for name in {**ours, **theirs}
        if name not in ours or name not in theirs or _form(ours[name]) != _form(theirs[name])
    ]
    if others:
        raise ValueError(
            f"--weights: {weights} holds {source.name}, which differs from {model.name} in "
            f"{len(others)} layers, such as {others[0]}. Pass the --network, --spatial and "
            "--resolution of the file."
        )
    for name, layer in ours.items():
        copy_stored(theirs[name], layer)


def _form(layer):
    config = layer.get_config()
    return (
        [(variable.name, tuple(variable.shape)) for variable in layer.weights],
        [config.get(name) for name in _GEOMETRY],
    )
