"""Batches for training and evaluation, streamed by tf.data under every backend of Keras.

Every random number is a function of the seed, the epoch and the position in it. So a resumed run
sees the same batches as a run without interruption. The number of threads does not matter.
"""

import contextlib
import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from keras_lc.data import shown
from keras_lc.seeds import derive_seed

from . import pictures
from .sources import Source, try_or

_CORES = os.cpu_count()
_PREFETCHED = 2
# Passes over the images; an epoch needs fewer.
_PASSES = 2**20


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The augmentation of training images.

    Args:
        crop: Boolean, whether to use random crops and flips. If not, crop as in the test.
        magnitude: Float from 0 to 1, the magnitude of RandAugment; `None` for no RandAugment.
        mixup, cutmix: Floats; see `pictures.mix`.
        erasing: Float from 0 to 1, the share of images in which noise covers a random box.
        repeats: Integer, how often each image comes in a row, with a new augmentation each time.
            An epoch has the same number of batches, with fewer different images.
    """

    crop: bool = False
    magnitude: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0
    repeats: int = 1


#: By name. "ResNet strikes back" defines a2 in Table 2, and "Training data-efficient image
#: transformers" deit in Table 9.
AUGMENTATIONS = {
    "a2": Augmentation(crop=True, magnitude=0.7, mixup=0.1, cutmix=1.0, repeats=3),
    "deit": Augmentation(crop=True, magnitude=0.9, mixup=0.8, cutmix=1.0, erasing=0.25, repeats=3),
    "cutmix": Augmentation(crop=True, cutmix=1.0),
    "light": Augmentation(crop=True),
    "none": Augmentation(),
}


class Corrupt:
    """Collects the names of damaged images, up to a limit.

    Args:
        limit: Integer, the allowed number.

    Attributes:
        names: List of the names, each once.
    """

    def __init__(self, limit: int):
        if limit < 0:
            raise ValueError(f"`limit` must be at least 0. Received: limit={limit}")
        self.limit = limit
        self.names: list[str] = []
        self._whole_source_is_damaged = False

    def counting(self, images: int) -> Callable[[bytes], bool]:
        """Returns a function that notes a damaged image of a source with this number of images.

        The function raises `ValueError` beyond the limit, and if all images of the source are
        damaged, because training would wait for an image forever.
        """
        own = set()

        def report(name):
            own.add(name)
            # Python's own functions treat file names that are not text like this.
            name = os.fsdecode(name)
            if name not in self.names:
                self.names.append(name)
                warnings.warn(f"Skipped a damaged image: {shown(name)}", stacklevel=2)
            self._whole_source_is_damaged |= len(own) == images
            self.check()
            return False

        return report

    def check(self) -> None:
        """Raises `ValueError` with all names beyond the limit, or if all images are damaged."""
        if len(self.names) > self.limit:
            fault = f"{len(self.names)} images are damaged, more than --max-corrupt {self.limit}"
        elif self._whole_source_is_damaged:
            fault = "All images of a split are damaged"
        else:
            return
        raise ValueError("\n  ".join([f"{fault}:", *map(shown, self.names)]))

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raises the error of `check` instead of the error of tf.data, which names no image."""
        try:
            yield
        except tf.errors.OpError:
            self.check()
            raise


@dataclasses.dataclass(frozen=True)
class Batches:
    """Makes the data sets of a run.

    Args:
        classes: Integer.
        image_size: Integer, in pixels, of training and test images.
        batch_size: Integer, the images of one step, over all processes.
        crop_ratio: Float, the share of the shorter side that a test image shows.
        seed: Integer.
        corrupt: `Corrupt`, which collects the names of damaged images.
        parts, part: Integers, the number of processes, and the number of this process. The data
            sets give this process its part of each batch.
        whole: Boolean, whether to fill up the last batch of an evaluation. Several devices need
            this.
    """

    classes: int
    image_size: int
    batch_size: int
    crop_ratio: float
    seed: int
    corrupt: Corrupt
    parts: int = 1
    part: int = 0
    whole: bool = False

    @property
    def _own_size(self):
        return self.batch_size // self.parts

    def _own_part(self, samples):
        """Returns the numbered samples that belong to this process' part of their batch."""
        return samples.filter(lambda place, *_: place // self._own_size % self.parts == self.part)

    def training(
        self, source: Source, augmentation: Augmentation, steps: int, first: int, last: int
    ) -> tf.data.Dataset:
        """Returns the batches of epochs `first` to `last - 1`, in order.

        Args:
            source: The source of the images.
            augmentation: `Augmentation`.
            steps: Integer, the batches in one epoch. An epoch passes over the source again if it
                needs more images.
            first, last: Integers.

        Returns:
            A data set of uint8 images `(batch, size, size, 3)` and float32 shares of the classes
            `(batch, classes)`.
        """
        augment = _augment(augmentation)

        def epoch(number):
            passes = tf.data.Dataset.range(_PASSES)
            samples = passes.flat_map(lambda n: source.shuffled(number * _PASSES + n))
            if augmentation.repeats > 1:
                samples = samples.flat_map(
                    lambda *one: tf.data.Dataset.from_tensors(one).repeat(augmentation.repeats)
                )
            own = _seed(derive_seed(self.seed, "images"), number)
            samples = self._own_part(samples.enumerate()).map(
                lambda place, one: (*one, tf.random.fold_in(own, place))
            )
            samples = self._decoded(
                samples, self._crop if augmentation.crop else self._view, source
            )
            samples = samples.filter(lambda whole, *_: whole)
            samples = samples.map(augment, num_parallel_calls=_CORES, deterministic=True)
            return samples.take(steps * self._own_size)

        data = tf.data.Dataset.range(first, last).flat_map(epoch)
        data = data.batch(self._own_size, drop_remainder=True)
        if augmentation.mixup or augmentation.cutmix:
            mixed = derive_seed(self.seed, "mix")
            data = data.enumerate(first * steps).map(
                lambda place, batch: pictures.mix(
                    *batch, augmentation.mixup, augmentation.cutmix, _seed(mixed, place)
                ),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
        return data.prefetch(_PREFETCHED)

    def evaluation(self, source: Source) -> tf.data.Dataset:
        """Returns all images of a source, once and in order. The last batch may be smaller.

        It also gives weights, besides images and classes as in `training`. The weight is 1, or 0
        for black images. Black images replace damaged images, so that the number of batches stays
        known to Keras. They also fill up the last batch if `whole` is true.
        """
        samples = self._own_part(source.in_order().enumerate())
        samples = samples.map(lambda _, one: (*one, _seed(0, 0)))
        samples = self._decoded(samples, self._view, source).map(
            lambda whole, image, shares, _: (image, shares, tf.cast(whole, tf.float32))
        )
        number = math.ceil(len(source) / self.batch_size)
        if self.whole:
            size = [self.image_size, self.image_size, 3]
            nothing = (tf.zeros(size, tf.uint8), tf.zeros([self.classes]), 0.0)
            filling = tf.data.Dataset.from_tensors(nothing).repeat()
            samples = samples.concatenate(filling).take(number * self._own_size)
        batches = samples.batch(self._own_size).prefetch(_PREFETCHED)
        return batches.apply(tf.data.experimental.assert_cardinality(number))

    def _crop(self, encoded, seed):
        return pictures.random_resized_crop(encoded, self.image_size, seed)

    def _view(self, encoded, seed):
        return pictures.central_crop(encoded, self.image_size, self.crop_ratio)

    def _decoded(self, samples, load, source):
        shape = [self.image_size, self.image_size, 3]
        damaged = self.corrupt.counting(len(source))

        def decode(name, encoded, label, seed):
            crop, rest = tf.unstack(tf.random.split(seed))
            black = (False, tf.zeros(shape, tf.uint8))
            whole, image = try_or(
                lambda: (True, tf.ensure_shape(load(encoded, crop), shape)), black
            )
            whole = tf.cond(
                whole, lambda: True, lambda: tf.numpy_function(damaged, [name], tf.bool)
            )
            return tf.ensure_shape(whole, []), image, tf.one_hot(label, self.classes), rest

        # A fixed number, because AUTOTUNE does not see data sets that come from `flat_map`.
        return samples.map(decode, num_parallel_calls=_CORES, deterministic=True)


def _augment(augmentation):
    if not augmentation.crop:
        return lambda _, image, shares, seed: (image, shares)
    rand_augment = None
    if augmentation.magnitude is not None:
        # Imported here, because the import of keras-cv takes seconds.
        from .rand_augment import RandAugment

        rand_augment = RandAugment(augmentation.magnitude)

    def augment(_, image, shares, seed):
        flip, operations = tf.unstack(tf.random.split(seed))
        image = pictures.random_flip(image, flip)
        if rand_augment:
            image = rand_augment(tf.cast(image, tf.float32), operations)
            image = pictures.to_pixels(image)
        if augmentation.erasing:
            image = pictures.random_erasing(image, augmentation.erasing, tf.random.fold_in(seed, 1))
        return image, shares

    return augment


def _seed(seed, number):
    return tf.stack([tf.constant(seed % 2**63, tf.int64), tf.cast(number, tf.int64)])


def keep_from_gpus() -> None:
    """Keeps TensorFlow off the GPUs if another backend trains on them."""
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")
