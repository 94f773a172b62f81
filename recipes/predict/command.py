"""Tell which classes some pictures belong to.

    python -m recipes.predict runs/pets ~/Pictures/photo.jpg
    python -m recipes.predict model.tflite photos --top 1 --json
    python -m recipes.predict runs/pets photos --plot answers.png

The first argument is the folder of a finished run, a `.keras` file, or a file of
`keras_lc.export`: a SavedModel, `.onnx`, `.tflite` or `.pt2`. The other arguments are pictures, or
folders of pictures. Prints the names of the most probable classes, and their probabilities.
"""

import dataclasses
import os
import pathlib
from typing import Annotated, Literal

import tyro

from ..common import checks
from ..common.command_line import described
from ..common.settings import at_least


@dataclasses.dataclass(frozen=True)
class Arguments:
    """A prediction."""

    model: tyro.conf.Positional[pathlib.Path]
    """Folder of a run, .keras file, SavedModel, .onnx, .tflite or .pt2."""
    pictures: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    """Pictures, or folders of pictures."""
    top: int = 3
    """Number of classes in an answer."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the answers as JSON, for programs."""
    plot: pathlib.Path | None = None
    """Also draw the pictures with their answers, into this PNG."""
    backend: Literal["tensorflow", "jax", "torch"] | None = None
    """Backend for runs and .keras files. Defaults to KERAS_BACKEND, or Keras' own default."""


def main() -> None:
    arguments = tyro.cli(Arguments, description=described(__doc__))
    with checks.in_one_line():
        at_least(1).check("top", arguments.top)
        missing = [path for path in (arguments.model, *arguments.pictures) if not path.exists()]
        if missing or not arguments.pictures:
            raise ValueError(f"There is no {missing[0]}." if missing else "Pass some pictures.")
        checks.check_backend(arguments.backend)
        if arguments.plot is not None:
            checks.check_plots()
            checks.check_writable(arguments.plot.parent, "--plot")
    # Before the first import of keras: a process can use one backend only.
    if arguments.backend is not None:
        os.environ["KERAS_BACKEND"] = arguments.backend
    from .run import predict

    predict(arguments)
