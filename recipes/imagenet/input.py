"""Batches for training and evaluation, streamed by tf.data whatever the backend of Keras.

Every random number is a function of the seed, the epoch and the place in it, so a run that is
resumed at an epoch sees the batches that it would have seen, however many threads decode them.
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
# More than an epoch takes.
_PASSES = 2**20


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What happens to training images.

    Args:
        crop: Boolean, whether to take random crops and flips; else the view of the test.
        magnitude: Float from 0 to 1, RandAugment's; `None` leaves it out.
        mixup, cutmix: Floats; see `pictures.mix`.
        repeats: Integer, how often each image comes, augmented anew each time, one after the
            other. An epoch has as many batches as otherwise, of fewer images.
    """

    crop: bool = False
    magnitude: float | None = None
    mixup: float = 0.0
    cutmix: float = 0.0
    repeats: int = 1


#: By name; a2 is that of "ResNet strikes back", Table 2.
AUGMENTATIONS = {
    "a2": Augmentation(crop=True, magnitude=0.7, mixup=0.1, cutmix=1.0, repeats=3),
    "light": Augmentation(crop=True),
    "none": Augmentation(),
}


class Corrupt:
    """Names images that cannot be decoded, up to a limit.

    Args:
        limit: Integer, how many to allow.

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
        """Returns what takes note of a damaged image of a source of so many images.

        It raises `ValueError` beyond the limit, and where no image of the source is left, for
        which one would wait for ever.
        """
        own = set()

        def report(name):
            own.add(name)
            # As Python's functions for files write what is not text.
            name = os.fsdecode(name)
            if name not in self.names:
                self.names.append(name)
                warnings.warn(f"Skipped a damaged image: {shown(name)}", stacklevel=2)
            self._whole_source_is_damaged |= len(own) == images
            self.check()
            return False

        return report

    def check(self) -> None:
        """Raises `ValueError` beyond the limit, or where all images are damaged, with all names."""
        if len(self.names) > self.limit:
            fault = f"{len(self.names)} images are damaged, more than --max-corrupt {self.limit}"
        elif self._whole_source_is_damaged:
            fault = "All images of a split are damaged"
        else:
            return
        raise ValueError("\n  ".join([f"{fault}:", *map(shown, self.names)]))

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raises `check`'s error in place of what tf.data makes of it, which names no image."""
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
        batch_size: Integer, the images of one step, of all processes together.
        crop_ratio: Float, the share of the shorter side that the test sees.
        seed: Integer.
        corrupt: `Corrupt`, told of every damaged image.
        parts, part: Integers: how many processes train together, and which of them this is, whose
            part of each batch the data sets give.
        whole: Boolean, whether evaluation fills up its last batch, as several devices need it.
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
        """Those of numbered samples that are in this process' part of their batch."""
        return samples.filter(lambda place, *_: place // self._own_size % self.parts == self.part)

    def training(
        self, source: Source, augmentation: Augmentation, steps: int, first: int, last: int
    ) -> tf.data.Dataset:
        """Returns the batches of epochs `first` to `last - 1`, one after the other.

        Args:
            source: Where the pictures come from.
            augmentation: `Augmentation`.
            steps: Integer, the batches of an epoch. It takes new passes over the source as long
                as it needs more pictures.
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
        """Returns all images of a source, once and in order; the last batch may be smaller.

        Besides images and classes, as in `training`, it gives weights: 1, and 0 for black images,
        in the place of damaged ones (without which Keras would not know when the data set ends)
        and where `whole` needs them.
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

        # By number, since AUTOTUNE does not see data sets that come from `flat_map`.
        return samples.map(decode, num_parallel_calls=_CORES, deterministic=True)


def _augment(augmentation):
    if not augmentation.crop:
        return lambda _, image, shares, seed: (image, shares)
    rand_augment = None
    if augmentation.magnitude is not None:
        # Here, since keras-cv takes seconds to import.
        from .rand_augment import RandAugment

        rand_augment = RandAugment(augmentation.magnitude)

    def augment(_, image, shares, seed):
        flip, operations = tf.unstack(tf.random.split(seed))
        image = pictures.random_flip(image, flip)
        if rand_augment:
            image = rand_augment(tf.cast(image, tf.float32), operations)
            image = pictures.to_pixels(image)
        return image, shares

    return augment


def _seed(seed, number):
    return tf.stack([tf.constant(seed % 2**63, tf.int64), tf.cast(number, tf.int64)])


def keep_from_gpus() -> None:
    """Keeps TensorFlow from taking the memory of GPUs that another backend trains on."""
    if keras.backend.backend() != "tensorflow":
        tf.config.set_visible_devices([], "GPU")
