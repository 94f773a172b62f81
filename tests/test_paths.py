"""`~` is the home folder in each path that a public function takes."""

import numpy as np
import pytest

import keras_lc
from keras_lc.paths import user_path

pytestmark = pytest.mark.once


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_home_folder_is_expanded_and_all_else_stays(home):
    assert user_path("~/a/b.png") == home / "a" / "b.png"
    assert str(user_path("a/~b.png")) == "a/~b.png"


def test_plots_are_written_to_the_home_folder(home):
    pytest.importorskip("matplotlib")
    kernels = {"conv": np.random.default_rng(0).normal(size=(3, 3, 2, 4))}
    path = keras_lc.analysis.plot_kernels(kernels, "~/filters.png")
    assert path == home / "filters.png" and path.is_file()


def test_checkpoints_and_the_best_model_go_there(home):
    assert keras_lc.training.ResumableRun("~/run").folder == home / "run"
    assert keras_lc.training.BestModel("~/best.keras").path == home / "best.keras"


def test_data_is_read_from_the_home_folder(home):
    with pytest.raises((ValueError, FileNotFoundError), match=str(home / "nowhere")):
        keras_lc.data.load("mine", data_dir="~/nowhere")
