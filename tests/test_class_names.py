"""The names of the classes: which are allowed, and what keeps them."""

import os
import pickle
import sys

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.class_names import class_names_of
from keras_lc.models.classifier import Classifier
from keras_lc.surgery.replace import replace

pytestmark = pytest.mark.once

NAMES = ("cat", "guinea pig", "Zürich, Löwe\n2", os.fsdecode(b"z\xfcrich"), "cat")


def built(cls, conv):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(conv(inputs))
    x = keras.layers.Dense(5)(keras.layers.GlobalMaxPooling2D()(x))
    return cls(inputs, x, name="network")


def classifier():
    model = built(Classifier, keras_lc.LCConv2D(4, 3, expansion=8, seed=1, name="conv"))
    model.class_names = NAMES
    return model


def plain():
    model = built(keras.Model, keras.layers.Conv2D(4, 3, name="conv"))
    model.class_names = list(NAMES)
    return model


def saved(model, path):
    model.save(path / "model.keras")
    return keras.saving.load_model(path / "model.keras")


def test_a_model_has_no_names_unless_it_gets_them(tmp_path):
    model = built(Classifier, keras.layers.Conv2D(4, 3))
    assert model.class_names is None
    assert model.get_config()["class_names"] is None
    assert saved(model, tmp_path).class_names is None
    folded = keras_lc.fold(model)
    assert type(folded) is type(keras.Model(model.input, model.output))


def test_the_constructor_takes_them():
    model = classifier()
    copy = type(model)(model.inputs, model.outputs, class_names=list(NAMES))
    assert copy.class_names == NAMES


@pytest.mark.parametrize(
    "way",
    [
        saved,
        lambda model, _: pickle.loads(pickle.dumps(model)),
        lambda model, _: keras.models.clone_model(model),
        lambda model, _: type(model).from_config(model.get_config()),
        lambda model, _: keras.models.model_from_json(model.to_json()),
    ],
    ids=["save", "pickle", "clone", "config", "json"],
)
@pytest.mark.parametrize("folded", [False, True])
def test_copies_keep_them(way, folded, tmp_path):
    model = classifier()
    copy = way(keras_lc.fold(model) if folded else model, tmp_path)
    assert copy.class_names == NAMES
    copy.class_names = None
    assert model.class_names == NAMES


@pytest.mark.parametrize(
    ("surgery", "build"),
    [
        (lambda model: replace(model, lambda layer: None), classifier),
        (keras_lc.fold, classifier),
        (lambda model: keras_lc.fold(model, batch_norm=True), classifier),
        (keras_lc.to_compact, classifier),
        (keras_lc.to_lc, plain),
        (keras_lc.freeze_spatial, plain),
    ],
    ids=["replace", "fold", "fold batch_norm", "to_compact", "to_lc", "freeze_spatial"],
)
def test_surgery_keeps_them_and_so_do_its_files(surgery, build, tmp_path):
    copy = surgery(build())
    assert copy.class_names == NAMES
    assert saved(copy, tmp_path).class_names == NAMES


def test_a_nested_model_and_a_sequential_keep_them():
    inner = classifier()
    outer = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Softmax()])
    outer.class_names = NAMES
    copy = keras_lc.fold(outer)
    assert tuple(copy.class_names) == NAMES
    assert copy.layers[0].class_names == NAMES


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_folded_file_with_names_loads_as_keras_own_model_without_keras_lc(
    suffix, tmp_path, monkeypatch
):
    folded = keras_lc.fold(classifier())
    folded.save(tmp_path / f"folded.{suffix}")
    registered = keras.saving.get_custom_objects()
    for name in [name for name in registered if name.startswith("keras_lc>")]:
        monkeypatch.delitem(registered, name)
    monkeypatch.setitem(sys.modules, "keras_lc", None)
    model = keras.saving.load_model(tmp_path / f"folded.{suffix}", compile=False)
    assert type(model) is type(plain())
    x = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
    expected = folded.predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-6)


def test_names_that_do_not_fit_are_refused():
    model = classifier()
    for names, error, message in (
        (NAMES[:4], ValueError, r"one name for each.*Received: 4 names for.*\(None, 5\)"),
        ("catty", TypeError, r"`class_names` must be a sequence of strings.*'catty'"),
        (5, TypeError, r"`class_names` must be a sequence of strings.*=5"),
        ((1, 2, 3, 4, 5), TypeError, r"only strings, none of them empty. Received: 1"),
        (("a", "b", "", "d", "e"), TypeError, r"only strings, none of them empty. Received: ''"),
    ):
        with pytest.raises(error, match=message):
            model.class_names = names
        assert model.class_names == NAMES


def test_names_that_a_plain_model_got_are_checked_where_they_are_used():
    model = plain()
    model.class_names = ["cat"]
    with pytest.raises(ValueError, match=r"Received: 1 names"):
        keras_lc.fold(model)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert class_names_of(model) is None
