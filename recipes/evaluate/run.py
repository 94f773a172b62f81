"""The evaluation of a finished run. Imports Keras, so choose the backend before."""

import dataclasses
import math
import pathlib
import statistics
import tempfile

import keras
import numpy as np

import keras_lc

from ..common import images, own
from ..common.checks import in_one_line
from ..common.environment import environment
from ..common.files import write_checked
from ..common.finished import read_run
from .settings import Evaluation

_BATCH = 250


def evaluate(
    run: pathlib.Path, evaluation: Evaluation, data_dir: pathlib.Path | None = None
) -> dict:
    """Evaluates the model of a finished run and writes `evaluation.json` beside it.

    Args:
        run: Path of the folder of a run of `recipes.train`.
        evaluation: The `Evaluation`.
        data_dir: Path of the data. Defaults to the path at the time of training.

    Returns:
        The results, as in `evaluation.json`.

    Raises:
        SystemExit: If the run is unfinished or damaged, or was trained on other images.
    """
    config = read_run(run)
    if config is None:
        raise SystemExit(f"{run} is not a finished run.")
    if "dataset" not in config["arguments"]:
        raise SystemExit(
            f"{run} is a run of recipes.imagenet: its images are not loaded into memory. In "
            "Python, use keras_lc.analysis.robust_accuracy and filter_report instead."
        )
    with in_one_line():
        own.import_modules(config["arguments"])
        dataset, data = _load(config, data_dir)
    model = keras.saving.load_model(run / "model.keras")
    right = _right(model, dataset.x_test, dataset.y_test)
    layers = keras_lc.analysis.filter_report(model)
    results = {
        **_accuracies(model, dataset, right),
        **_attack(model, dataset, right, evaluation),
        **_filters(layers),
        "full_parameters": full_parameters(model),
        "file_bytes": file_bytes(run / "model.keras"),
    }
    write_checked(
        run / "evaluation.json",
        {
            "run": config["run"],
            "settings": dataclasses.asdict(evaluation),
            "results": results,
            "layers": layers,
            "spatial_variance": _spatial_variance(model),
            "data": data,
            **environment(),
        },
    )
    return results


def _load(config, data_dir):
    arguments = config["arguments"]
    data_dir = data_dir or arguments["data_dir"]
    dataset = keras_lc.data.load(
        arguments["dataset"],
        data_dir=data_dir,
        download=arguments["download"],
        data_format="channels_last",
        image_size=arguments["image_size"],
        test_share=arguments["test_share"],
        seed=arguments["seed"],
    )
    found = images.describe(dataset, data_dir)
    then = config["data"]
    if found["fingerprint"] != then["fingerprint"]:
        raise SystemExit(
            f"The run was trained on other images: {then} then, {found} now. Pass the --data-dir "
            "with the images of the run."
        )
    if arguments["subset"] is not None:
        dataset = images.take_subset(dataset, arguments["subset"])
    return dataset, found


def _right(model, x, y):
    return (
        np.argmax(
            model.predict(x, batch_size=images.evaluation_batch(x, _BATCH), verbose=0), axis=-1
        )
        == y
    )


def _accuracies(model, dataset, right):
    test = float(np.mean(right))
    # A model that predicts does not augment.
    train = float(np.mean(_right(model, dataset.x_train, dataset.y_train)))
    return {"test_accuracy": test, "train_accuracy": train, "train_test_gap": train - test}


def _attack(model, dataset, right, evaluation):
    count = evaluation.attack_images or len(dataset.x_test)
    if count > len(dataset.x_test):
        raise SystemExit(
            f"--attack-images must be at most {len(dataset.x_test)}, the number of test images. "
            f"Received: {count}"
        )
    places = images.balanced(dataset.y_test, count)
    x, y = dataset.x_test[places], dataset.y_test[places]

    def accuracy(**attack):
        return keras_lc.analysis.robust_accuracy(
            model,
            x,
            y,
            epsilon=evaluation.epsilon / 255,
            batch_size=images.evaluation_batch(x, _BATCH),
            **attack,
        )

    results = {
        # On the same images, before the attack.
        "clean_accuracy": float(np.mean(right[places])),
        "robust_accuracy": accuracy(attack="fgsm"),
    }
    if evaluation.pgd_steps:
        results["pgd_accuracy"] = accuracy(
            attack="pgd", steps=evaluation.pgd_steps, restarts=evaluation.pgd_restarts
        )
    return results


def _filters(layers):
    """Means over the layers, and the first and the last layer's entropy (Figures 5, 11, 12)."""
    results = {}
    for name in ("variance_entropy", "variance_entropy_normalized", "sparsity"):
        values = [layer[name] for layer in layers]
        known = [value for value in values if value is not None]
        results[name] = statistics.fmean(known) if known else None
        if name != "sparsity":
            results[f"{name}_first"] = values[0] if values else None
            results[f"{name}_last"] = values[-1] if values else None
    return results


def _spatial_variance(model):
    """The heatmaps of the layers of each kernel size."""
    by_size = {}
    for kernel in keras_lc.analysis.spatial_kernels(model).values():
        by_size.setdefault("x".join(map(str, kernel.shape[:2])), []).append(kernel)
    return {
        size: keras_lc.analysis.spatial_variance(kernels).tolist()
        for size, kernels in by_size.items()
    }


def full_parameters(model: keras.Model) -> int:
    """Returns the number of trained parameters of the same network without the compact form.

    The paper counts so: a combination has one parameter for each random filter and output channel.
    """
    count = sum(math.prod(v.shape) for v in model.trainable_variables)
    for layer in model.layers:
        if getattr(layer, "is_factored", False):
            count += layer.basis_filters // layer.groups * layer.filters
            count -= math.prod(layer.combination.shape)
    return count


def file_bytes(path: pathlib.Path) -> int:
    """Returns the bytes of a run's model as one gives it away: without the optimizer."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "model.keras"
        keras.saving.load_model(path, compile=False).save(copy)
        return copy.stat().st_size
