"""Answers of a model. Imports Keras, so choose the backend before."""

import json
import pathlib

import keras

import keras_lc
from keras_lc.data import shown

from ..common import own
from ..common.checks import in_one_line
from ..common.files import check_whole
from ..common.finished import read_run


def predict(arguments) -> list[keras_lc.Answer]:
    """Prints what a model says about pictures, and returns the answers.

    Args:
        arguments: `recipes.predict.command.Arguments`.

    Raises:
        SystemExit: If there is no such model, or a picture cannot be read.
    """
    with in_one_line():
        model = open_model(arguments.model)
        answers = keras_lc.classify(model, arguments.pictures, arguments.top)
        if arguments.json:
            print(json.dumps([_as_json(answer) for answer in answers], indent=1))
        else:
            print("\n".join(map(_line, answers)))
        if arguments.plot is not None:
            keras_lc.analysis.plot_answers(answers, arguments.plot)
    return answers


def open_model(path: pathlib.Path):
    """Returns the model of a run, of a `.keras` file, or of a file of `keras_lc.export`.

    Raises:
        ValueError: If there is none.
        DamagedFile: If the run was changed.
    """
    if (path / "config.json").exists():
        config = read_run(path)
        if config is None:
            raise ValueError(f"The run in {path} is not finished.")
        # What the results of the run describe.
        name = "best.keras" if "best_epoch" in config["results"] else "model.keras"
        check_whole(path / name)
        own.import_modules(config["arguments"])
        return keras.saving.load_model(path / name, compile=False)
    if path.suffix == ".keras":
        return keras.saving.load_model(path, compile=False)
    return keras_lc.open_exported(path)


def _line(answer):
    pairs = zip(answer.names, answer.probabilities, strict=True)
    classes = ", ".join(f"{shown(name)} {probability:.1%}" for name, probability in pairs)
    return f"{shown(answer.picture)}: {classes}"


def _as_json(answer):
    pairs = zip(answer.names, answer.probabilities, strict=True)
    return {
        "picture": answer.picture,
        "classes": [{"name": name, "probability": value} for name, value in pairs],
    }
