"""`python -m recipes.evaluate`: what finished runs are worth."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.analysis import filter_report, robust_accuracy, spatial_variance
from recipes.common.files import read_json
from recipes.common.images import balanced, take_subset
from recipes.common.settings import Settings as Arguments
from recipes.evaluate.run import evaluate, full_parameters
from recipes.evaluate.settings import Evaluation
from recipes.sweep.grid import Cell
from recipes.sweep.jobs import ROOT
from recipes.train.run import run
from tests.recipes.fake_runs import change, write_run

pytestmark = pytest.mark.once

SETTINGS = Evaluation(attack_images=40, epsilon=8.0, pgd_steps=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "out"
    # Enough to be right more often than by chance.
    small = {"depth": 8, "width": 8, "expansion": 4, "epochs": 5, "batch_size": 32}
    run(Arguments(dataset="digits", output=output, subset=640, **small))
    return output, evaluate(output, SETTINGS)


@pytest.fixture(scope="module")
def model(finished):
    return keras.saving.load_model(finished[0] / "model.keras")


def test_accuracy_is_that_of_the_training_command(finished):
    trained = read_json(finished[0] / "config.json")["results"]
    assert finished[1]["test_accuracy"] == trained["test_accuracy"] > 0.2


def test_training_accuracy_is_that_of_the_images_it_was_trained_on(finished, model):
    data = take_subset(keras_lc.data.load("digits"), 640)
    predicted = np.argmax(model.predict(data.x_train, verbose=0), axis=-1)
    results = finished[1]
    assert results["train_accuracy"] == np.mean(predicted == data.y_train)
    assert results["train_test_gap"] == results["train_accuracy"] - results["test_accuracy"]


def test_file_is_measured_as_it_is_given_away(finished, model, tmp_path):
    # What is compiled is stored with an optimizer.
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    bare.save(tmp_path / "bare.keras")
    measured = finished[1]["file_bytes"]
    assert measured == pytest.approx((tmp_path / "bare.keras").stat().st_size, rel=0.01)
    assert measured < 0.8 * (finished[0] / "model.keras").stat().st_size


def test_attacks_are_those_of_the_library_on_the_first_images_of_each_class(finished, model):
    data = keras_lc.data.load("digits")
    places = balanced(data.y_test, 40)
    x, y = data.x_test[places], data.y_test[places]
    results = finished[1]
    fgsm = robust_accuracy(model, x, y, epsilon=8 / 255)
    pgd = robust_accuracy(model, x, y, attack="pgd", epsilon=8 / 255, steps=2)
    assert (results["robust_accuracy"], results["pgd_accuracy"]) == (fgsm, pgd)
    predicted = np.argmax(model.predict(x, verbose=0), axis=-1)
    assert results["clean_accuracy"] == np.mean(predicted == y) > fgsm


def test_filters_are_those_of_the_report(finished, model):
    layers = filter_report(model)
    written = read_json(finished[0] / "evaluation.json")
    assert [layer["layer"] for layer in written["layers"]] == [layer["layer"] for layer in layers]
    results = finished[1]
    for name in ("variance_entropy", "variance_entropy_normalized"):
        assert results[f"{name}_first"] == pytest.approx(layers[0][name])
        assert results[f"{name}_last"] == pytest.approx(layers[-1][name])
        assert results[name] == pytest.approx(np.mean([layer[name] for layer in layers]))
    heatmap = spatial_variance(keras_lc.analysis.spatial_kernels(model).values())
    np.testing.assert_allclose(written["spatial_variance"]["3x3"], heatmap, rtol=1e-6)


def test_evaluation_says_how_it_was_made(finished):
    written = read_json(finished[0] / "evaluation.json")
    assert written["settings"] == dataclasses.asdict(SETTINGS)
    assert written["backend"] == keras.backend.backend()
    assert written["results"] == finished[1]
    assert {"versions", "device", "git_commit"} <= written.keys()


@pytest.mark.parametrize("expansion", [1, 20])
def test_parameters_are_those_of_the_paper_in_the_compact_form_too(expansion):
    forms = [
        keras_lc.ResNetLC(depth=8, width=4, expansion=expansion, compact=compact, seed=0)
        for compact in (False, True)
    ]
    full, compact = ([int(np.prod(v.shape)) for v in m.trainable_variables] for m in forms)
    assert full_parameters(forms[0]) == full_parameters(forms[1]) == sum(full)
    assert (sum(compact) < sum(full)) == (expansion > 1)


def test_plain_parameters_are_the_trained_ones():
    model = keras_lc.CIFARResNet(depth=8, width=4)
    assert full_parameters(model) == sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "recipes.evaluate", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"KERAS_BACKEND": "none"},
    )  # fmt: skip


def test_run_that_is_evaluated_is_skipped_before_keras_is_loaded(finished):
    done = command(finished[0], *SETTINGS.arguments())
    assert (done.returncode, done.stdout) == (0, f"{finished[0]} is already evaluated.\n")
    # Such a backend does not exist: that Keras was loaded is seen.
    again = command(finished[0], *SETTINGS.arguments(), "--again")
    assert again.returncode != 0
    assert command(finished[0], *Evaluation().arguments()).returncode != 0


def test_unfinished_runs_are_named(tmp_path):
    done = command(tmp_path / "a")
    assert done.returncode == 1 and f"not finished runs: {tmp_path / 'a'}" in done.stderr


def test_other_images_are_refused(finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    data = read_json(run / "config.json")["data"]
    change(run / "config.json", data={**data, "fingerprint": "0" * 12})
    with pytest.raises(SystemExit, match="trained on other images"):
        evaluate(run, SETTINGS)


def test_a_damaged_model_is_named_and_others_are_evaluated(finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    whole = (run / "model.keras").read_bytes()
    for content in (whole[: len(whole) // 2], whole[:2000] + b"x" + whole[2001:], b""):
        (run / "model.keras").write_bytes(content)
        done = command(run, finished[0], *SETTINGS.arguments())
        assert done.returncode == 1 and done.stdout == f"{finished[0]} is already evaluated.\n"
        assert re.fullmatch(rf"{run}/model\.keras is damaged \(.*\)\.\n", done.stderr)


def test_another_model_is_not_evaluated(finished, tmp_path):
    run = shutil.copytree(finished[0], tmp_path / "run")
    keras_lc.CIFARResNet(depth=8, width=4).save(run / "model.keras")
    done = command(run, *SETTINGS.arguments())
    assert done.returncode == 1 and "was not written by a run" in done.stderr


def test_more_images_than_there_are_cannot_be_attacked(finished):
    images = read_json(finished[0] / "config.json")["data"]["test_images"]
    with pytest.raises(SystemExit, match=f"--attack-images must be at most {images}"):
        evaluate(finished[0], Evaluation(attack_images=images + 1))


def test_run_on_imagenet_is_refused(tmp_path):
    run = write_run(tmp_path, Cell(), 0.5)
    change(run / "config.json", arguments={"preset": "r18d"})
    with pytest.raises(SystemExit, match=r"of recipes\.imagenet: its images are not loaded into"):
        evaluate(run, SETTINGS)
