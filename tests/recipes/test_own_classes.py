"""A basis and an operator in files outside the repository, in every command and back as Keras'."""

import csv
import os
import sys

import keras
import numpy as np
import pytest

import keras_lc
from recipes.evaluate.run import evaluate
from recipes.evaluate.settings import Evaluation
from recipes.predict.run import open_model
from recipes.report.command import write_report
from recipes.sweep import command as sweep
from recipes.train import command as train
from tests import oracles

pytestmark = pytest.mark.once

OPERATOR = '''
"""Trained filters that equal their mirror images."""
import dataclasses
import keras
import keras_lc

@keras.saving.register_keras_serializable("mirrored")
class MirroredConv2D(keras_lc.layers.OwnKernel, keras_lc.layers.Conv2D):
    @property
    def kernel(self):
        trained = super().kernel
        return (trained + keras.ops.flip(trained, axis=1)) / 2

@dataclasses.dataclass(frozen=True)
class Mirrored(keras_lc.spatial.SpatialOperator):
    gain: float = 1.0

    def layer(self, filters, seed, use_bias=False, **geometry):
        start = keras.initializers.RandomUniform(-self.gain, self.gain, seed % 1000)
        return MirroredConv2D(filters, use_bias=use_bias, kernel_initializer=start, **geometry)
'''
BASIS = '''
"""Filters with the same random number in each row."""
import dataclasses
import keras
import numpy as np
import keras_lc

@keras.saving.register_keras_serializable("stripes")
@dataclasses.dataclass(frozen=True)
class Stripes(keras_lc.bases.Basis):
    width: int = 1

    def draw(self, seed, shape):
        numbers = keras_lc.bases.Uniform().draw(seed, shape)
        rows = np.arange(shape[0]) // self.width * self.width
        return np.repeat(numbers[rows][:, :1], shape[1], axis=1)
'''
SETTINGS = {
    "dataset": "digits", "depth": 8, "width": 8, "subset": 60, "batch-size": 30, "epochs": 1,
}  # fmt: skip
OWN = {
    "operator": ("--spatial", "mirrored:Mirrored,gain=0.2"),
    "basis": ("--basis", "stripes:Stripes,width=2"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The current folder, with the two files."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mirrored.py").write_text(OPERATOR)
    (folder / "stripes.py").write_text(BASIS)
    before, path = os.getcwd(), [*sys.path]
    os.chdir(folder)
    yield folder
    os.chdir(before)
    sys.path[:] = path


def call(monkeypatch, command, *words):
    monkeypatch.setattr(sys, "argv", ["command", *words])
    command.main()


def forget():
    """Forgets the two classes, as a new process would not know them."""
    for name in ("mirrored", "stripes"):
        sys.modules.pop(name, None)
        known = keras.saving.get_custom_objects()
        for key in [key for key in known if key.startswith(f"{name}>")]:
            del known[key]


def returned_to_keras(model, folder):
    """Folds the model, exports it, and returns the folded model from its file."""
    # It compares the outputs of the file with the model's.
    assert keras_lc.export(model, folder / "model.onnx", format="onnx").exists()
    folded = keras_lc.fold(model, batch_norm=True)
    folded.save(folder / "folded.keras")
    return keras.saving.load_model(folder / "folded.keras")


def mirrored(model):
    """The operator is in the name of the model, and its layers do what it says."""
    assert model.name == "resnet_8_8_mirrored_gain_0_2"
    kernel = oracles.numpy(model.get_layer("stem_conv").kernel)
    np.testing.assert_array_equal(kernel, kernel[:, ::-1])
    for layers in (keras_lc.analysis.filter_report(model), keras_lc.analysis.lc_rate(model).layers):
        assert {layer["type"] for layer in layers} == {"MirroredConv2D"}


def striped(model):
    assert model.name == "resnet_lc_stripes_width_2_8_8x16"
    layer = model.get_layer("stage1_block0_conv1")
    assert layer.is_factored and layer.has_seeded_basis()
    filters = layer.random_filters()
    np.testing.assert_array_equal(filters[0], filters[1])
    np.testing.assert_array_equal(filters[:, 0], filters[:, 1])


@pytest.mark.parametrize(("kind", "is_itself"), [("operator", mirrored), ("basis", striped)])
def test_it_is_trained_evaluated_and_reported_and_becomes_plain(
    kind, is_itself, folder, monkeypatch, capfd
):
    output = folder / kind
    words = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    words += ["--expansion", "16", "--compact", *OWN[kind], "--output", str(output)]
    call(monkeypatch, train, *words)
    # Only what is missing is made: nothing.
    call(monkeypatch, train, *words, "--resume")
    assert f"The run in {output} is finished" in capfd.readouterr().out
    option, own = OWN[kind]
    with pytest.raises(SystemExit, match=f"{option}: {own} then, {own}1 now"):
        call(monkeypatch, train, *words, option, f"{own}1", "--resume")

    forget()
    assert evaluate(output, Evaluation(attack_images=10))["full_parameters"] > 0
    forget()
    assert own in write_report(output).read_text()
    forget()
    model = open_model(output)
    is_itself(model)

    plain = returned_to_keras(model, folder)
    assert all(type(layer).__module__.startswith("keras.") for layer in plain.layers)
    images = np.random.default_rng(0).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    expected = oracles.numpy(model(images, training=False))
    np.testing.assert_allclose(oracles.numpy(plain(images)), expected, rtol=0, atol=1e-4)


@pytest.mark.long
def test_sweeps_run_them_in_processes_of_their_own(folder, monkeypatch, capfd):
    output = folder / "sweep"
    words = [word for name, value in SETTINGS.items() for word in (f"--{name}s", str(value))]
    words[words.index("--epochss")] = "--epochs"
    words += ["--seeds", "0", "--attack-images", "10", "--output", str(output)]
    words += ["--operators", OWN["operator"][1], "lc_frozen", "--bases", OWN["basis"][1]]
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, sweep, *words)
    assert ended.value.code == 0 and "2 done, 0 failed" in capfd.readouterr().out
    rows = csv.DictReader((output / "results.csv").read_text().splitlines())
    assert [(row["run"], row["operator"], row["basis"]) for row in rows] == [
        ("digits-resnet8_8-mirrored.Mirrored,gain=0.2-n60-b30-e1-s0", OWN["operator"][1], ""),
        (
            "digits-resnet8_8x1-lc_frozen-stripes.Stripes,width=2-n60-b30-e1-s0",
            "lc_frozen",
            OWN["basis"][1],
        ),
    ]
