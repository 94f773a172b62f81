"""A callback that records how training changes the filters of a layer."""

import io
import json
import os
import socket
import time
from typing import Any

import keras
import numpy as np

from keras_lc.analysis.plots import as_plain_text, filter_mosaic, pyplot
from keras_lc.analysis.report import spatial_layers
from keras_lc.files import whole_file
from keras_lc.listed import how_to_install
from keras_lc.paths import user_path
from keras_lc.surgery.spatial_convolutions import kernel_of

_FRAME_MS, _LAST_FRAME_MS = 350, 2500
_PIXELS = 384


class FilterEvolution(keras.callbacks.Callback):
    """Draws the filters of a layer before training and after its epochs.

    The pictures become an animated GIF and images in TensorBoard. The GIF is rewritten for each
    picture under a temporary name and then renamed, so it is always complete. If `fit` continues
    a run (`initial_epoch`), the earlier pictures are kept.

    Args:
        layer: Path of a spatial convolution, as in `filter_report`, such as `"stem_conv"`. For an
            LC layer, the combined kernel is drawn.
        path: Path of the GIF. `None` writes no GIF.
        log_dir: Path of the folder for TensorBoard's event files, for example the folder of
            `keras.callbacks.TensorBoard`. `None` writes no event files. TensorFlow writes these
            files, so it must be installed under every backend.
        every: Integer, the number of epochs from one picture to the next. There is always a
            picture of the last epoch.
        count: Integer, the largest number of filters.

    Raises:
        ImportError: If matplotlib is not installed, or if `log_dir` is given and TensorFlow is
            not installed.
        ValueError: If an argument is out of its range. At the beginning of training, if the model
            has no such layer.

    Example:

    ```python
    evolution = keras_lc.analysis.FilterEvolution("stem_conv", "stem.gif", log_dir="logs")
    model.fit(x, y, epochs=75, callbacks=[evolution])
    ```
    """

    def __init__(
        self,
        layer: str,
        path: str | os.PathLike | None = None,
        log_dir: str | os.PathLike | None = None,
        every: int = 1,
        count: int = 16,
    ):
        super().__init__()
        if path is None and log_dir is None:
            raise ValueError(
                "One of `path` and `log_dir` must be given. Received: path=None, log_dir=None"
            )
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"`every` must be an integer of at least 1. Received: every={every!r}")
        pyplot()
        self.layer = layer
        self.path = None if path is None else user_path(path)
        self.events = None if log_dir is None else _EventFile(user_path(log_dir))
        self.every = every
        self.count = count
        self._frames = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        layers = spatial_layers(self.model)
        if self.layer not in layers:
            raise ValueError(
                f"`layer` must be one of {list(layers)}. Received: layer={self.layer!r}"
            )
        self._convolution = layers[self.layer]
        self._frames = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._frames is None:
            self._frames = _read_gif(self.path, last=epoch) if epoch and self.path else {}
            if epoch % self.every == 0:
                self._record(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch + 1
        if self._epoch % self.every == 0:
            self._record(self._epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._frames and self._epoch not in self._frames:
            self._record(self._epoch)
        if self.events is not None:
            self.events.close()

    def _record(self, epoch):
        frame = _draw(kernel_of(self._convolution), self.count, f"{self.layer}, epoch {epoch}")
        self._frames[epoch] = None
        if self.path is not None:
            # Only once per frame, because this is the slowest part of writing a GIF.
            self._frames[epoch] = _in_256_colours(frame)
            _write_gif(self._frames, self.path)
        if self.events is not None:
            self.events.write(f"filters/{self.layer}", frame, epoch)


def _draw(kernel, count, title):
    """Returns a picture as an array `(height, width, 3)`. All epochs have the same size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mosaic = filter_mosaic(kernel, count)
    width = 3.2
    figure = Figure(
        figsize=(width, width * mosaic.shape[0] / mosaic.shape[1] + 0.3),
        dpi=_PIXELS / width,
        layout="constrained",
    )
    canvas = FigureCanvasAgg(figure)
    axis = figure.subplots()
    axis.imshow(mosaic, interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(title, fontsize=9)
    as_plain_text(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _in_256_colours(frame):
    from PIL import Image

    return Image.fromarray(frame).quantize(256, method=Image.Quantize.MEDIANCUT)


def _write_gif(frames, path):
    pictures = list(frames.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=[_FRAME_MS] * (len(pictures) - 1) + [_LAST_FRAME_MS],
            loop=0,
            # A resumed run needs the epochs, and a GIF does not number its frames.
            comment=json.dumps({"epochs": list(frames)}).encode(),
        )


def _read_gif(path, last):
    """Returns the pictures up to the epoch `last`, by epoch."""
    from PIL import Image

    if not path.exists():
        return {}
    frames = {}
    with Image.open(path) as gif:
        epochs = json.loads(gif.info.get("comment", b"{}")).get("epochs", [])
        for place, epoch in enumerate(epochs):
            if epoch <= last:
                gif.seek(place)
                frames[epoch] = _in_256_colours(np.array(gif.convert("RGB")))
    return frames


class _EventFile:
    """Writes images for TensorBoard with TensorFlow's record writer.

    `tf.summary` would start TensorFlow's runtime, and the runtime would take the GPU memory that
    another backend needs.
    """

    def __init__(self, folder):
        try:
            import tensorflow
        except ImportError:
            raise ImportError(
                "`log_dir` needs TensorFlow to write TensorBoard's files. Leave out `log_dir`, or "
                f"run: {how_to_install('tensorflow')}"
            ) from None
        self._tensorflow = tensorflow
        self._folder = folder
        self._writer = None

    def write(self, tag, picture, step):
        from PIL import Image

        summary = self._tensorflow.compat.v1.Summary
        encoded = io.BytesIO()
        Image.fromarray(picture).save(encoded, format="PNG")
        height, width, _ = picture.shape
        image = summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=encoded.getvalue()
        )
        self._write_event(step=step, summary=summary(value=[summary.Value(tag=tag, image=image)]))

    def _write_event(self, **content):
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.filters"
            self._writer = self._tensorflow.io.TFRecordWriter(str(self._folder / name))
            self._write_event(file_version="brain.Event:2")
        event = self._tensorflow.compat.v1.Event(wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def close(self):
        if self._writer is not None:
            self._writer.close()
            self._writer = None
