"""`python -m recipes.predict`, on files of every kind that can answer."""

import json
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_lc
from recipes.common.files import write_checked
from recipes.predict.command import main

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a red and a blue picture in a folder."""
    folder = tmp_path_factory.mktemp("predict")
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 50)(keras.layers.GlobalAveragePooling2D()(inputs))
    kernel = keras.initializers.Constant(np.eye(3))
    model = keras_lc.models.classifier.Classifier(
        inputs,
        keras.layers.Dense(3, kernel_initializer=kernel)(x),
        seed=1,
        class_names=["red", "green", "blue\u200b"],
    )
    model.save(folder / "model.keras")
    keras_lc.export(model, folder / "model.tflite", format="litert", verify=False)
    for name, colour in (("1.png", (200, 0, 0)), ("2.png", (0, 0, 200))):
        (folder / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (20, 30), colour).save(folder / "photos" / name)
    return folder


def answered(capsys, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["predict", *map(str, words)])
        main()
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.keras", "model.tflite"])
def test_prints_names_and_probabilities(name, folder, capsys):
    lines = answered(capsys, folder / name, folder / "photos", "--top", 2).splitlines()
    assert lines == [
        f"{folder}/photos/1.png: red 96.5%, green 1.8%",
        rf"{folder}/photos/2.png: 'blue\u200b' 96.5%, red 1.8%",
    ]


def test_json_is_for_programs(folder, capsys):
    out = answered(capsys, folder / "model.keras", folder / "photos/2.png", "--json")
    (answer,) = json.loads(out)
    assert answer["picture"] == f"{folder}/photos/2.png"
    assert [found["name"] for found in answer["classes"]] == ["blue\u200b", "red", "green"]
    assert sum(found["probability"] for found in answer["classes"]) == pytest.approx(1)


def test_plot_writes_a_page(folder, tmp_path, capsys):
    page = tmp_path / "page.png"
    answered(capsys, folder / "model.keras", folder / "photos", "--plot", page)
    with Image.open(page) as image:
        assert image.width > image.height > 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "photos"], r"There is no .*nowhere"),
        (["model.keras", "photos", "none.png"], r"There is no .*none.png"),
        (["model.keras"], r"Pass some pictures"),
        (["model.keras", "model.tflite"], r"model.tflite is truncated or damaged"),
        (["photos", "photos"], r"photos' is a folder, but not a SavedModel"),
        (["photos/1.png", "photos"], r"1.png' is not a file of `keras_lc.export`"),
        (["unfinished", "photos"], r"The run in .*unfinished is not finished"),
        (["damaged", "photos"], r"config.json was changed after it was written"),
    ],
)
def test_bad_input_ends_in_one_line(words, message, folder, capsys):
    (folder / "unfinished").mkdir(exist_ok=True)
    write_checked(folder / "unfinished" / "config.json", {})
    (folder / "damaged").mkdir(exist_ok=True)
    (folder / "damaged" / "config.json").write_text("{}\n")
    with pytest.raises(SystemExit, match=message) as error:
        answered(capsys, *(folder / word for word in words))
    assert "\n" not in str(error.value)
