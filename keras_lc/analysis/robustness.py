"""Accuracy under adversarial attacks, in pixel space."""

import math
import numbers
import warnings

import keras
import numpy as np
from keras import ops

from keras_lc.analysis.gradients import input_gradient, last_layer
from keras_lc.images import check_counts, check_images, class_numbers
from keras_lc.types import Array

_ATTACKS = ("fgsm", "pgd")


def robust_accuracy(
    model: keras.Model,
    x: Array,
    y: Array,
    attack: str = "fgsm",
    epsilon: float = 1 / 255,
    pixel_range: tuple[float, float] = (0, 255),
    step_size: float | None = None,
    steps: int = 10,
    restarts: int = 1,
    batch_size: int = 250,
    from_logits: bool | None = None,
    seed: int = 0,
) -> float:
    """Returns the share of images that a model still classifies right after an attack.

    See `adversarial_examples` for the attacks and the arguments. An image counts by its
    prediction after the attack alone, as foolbox and torchattacks count it: one that was wrong
    before and is right by chance afterwards counts as right.

    Returns:
        A number from 0 to 1.

    Example:

    ```python
    data = keras_lc.data.load("cifar10", data_dir="cifar10")
    fgsm = keras_lc.analysis.robust_accuracy(model, data.x_test, data.y_test)
    pgd = keras_lc.analysis.robust_accuracy(
        model, data.x_test, data.y_test, attack="pgd", epsilon=1 / 255, steps=20, restarts=3
    )
    ```

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Figure 4c
    """
    attacked = adversarial_examples(
        model,
        x,
        y,
        attack=attack,
        epsilon=epsilon,
        pixel_range=pixel_range,
        step_size=step_size,
        steps=steps,
        restarts=restarts,
        batch_size=batch_size,
        from_logits=from_logits,
        seed=seed,
    )
    labels = _class_numbers(model, attacked, y)
    return float(np.mean(_predict(model, attacked, batch_size) == labels))


def adversarial_examples(
    model: keras.Model,
    x: Array,
    y: Array,
    attack: str = "fgsm",
    epsilon: float = 1 / 255,
    pixel_range: tuple[float, float] = (0, 255),
    step_size: float | None = None,
    steps: int = 10,
    restarts: int = 1,
    batch_size: int = 250,
    from_logits: bool | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Changes images by a little, so that a model misclassifies them.

    No pixel value changes by more than `epsilon` of the pixel range (an ℓ∞ ball), and none leaves
    the range. The model is attacked as it classifies: in inference mode, so with the moving
    statistics of its batch normalization and without augmentation, and through its normalisation,
    so that `x` are the pixels themselves.

    - `"fgsm"` moves each value by all of `epsilon`, in the direction of the sign of the gradient of
      the cross-entropy.
    - `"pgd"` starts at a random point of the ball, takes `steps` such moves of `step_size`, and
      returns to the ball and the range after each. Of several restarts, the first that the model
      misclassifies counts.

    Args:
        model: A Keras model from images to class scores.
        x: Array of images, with values in `pixel_range`, in the layout that the model takes.
        y: Array of integer labels `(n,)` or one-hot labels `(n, classes)`.
        attack: `"fgsm"` or `"pgd"`.
        epsilon: Number from 0 to 1, the radius as a share of the pixel range. The LC paper's
            `1/255` is 1 grey level of images with values in [0, 255], and 1/255 of images with
            values in [0, 1].
        pixel_range: Tuple of 2 numbers, the lowest and the highest pixel value that an image can
            have, before any normalisation.
        step_size: Number, PGD's step as a share of the pixel range. Defaults to
            `2.5 · epsilon / steps`, with which each point of the ball can be reached.
        steps: Integer, PGD's number of steps.
        restarts: Integer, the number of PGD's runs, each from another random point.
        batch_size: Integer.
        from_logits: Boolean, whether the model returns logits, and not probabilities. Defaults to
            `None`: read from its last layer.
        seed: Integer of PGD's random points, which are the same under every backend:
            `numpy.random.default_rng((seed, restart))` draws them from U(-1, 1) in float32, times
            the radius.

    Returns:
        A float32 array of the shape of `x`.

    Raises:
        ValueError: If an argument is out of its range, images and labels do not match, or the
            model's outputs are neither logits nor probabilities.

    Reference:

    - FGSM: [Explaining and Harnessing Adversarial Examples](https://arxiv.org/abs/1412.6572)
    - PGD: [Towards Deep Learning Models Resistant to Adversarial
      Attacks](https://arxiv.org/abs/1706.06083)
    """
    if attack not in _ATTACKS:
        raise ValueError(f"`attack` must be one of {_ATTACKS}. Received: attack={attack!r}")
    _check_whole_numbers(steps=steps, restarts=restarts, batch_size=batch_size)
    low, high = _check_range(pixel_range)
    if step_size is None:
        step_size = min(1.0, 2.5 * epsilon / steps)
    _check_share("epsilon", epsilon)
    _check_share("step_size", step_size)
    images = _check_images(x, low, high)
    labels = _class_numbers(model, images, y)
    gradient = input_gradient(model, _margin(_returns_logits(model, from_logits)))
    radius, step = (np.float32(share * (high - low)) for share in (epsilon, step_size))

    def ascend(x, y, start, step, steps):
        """Moves from `start` within the ball around `x`."""
        lowest, highest = np.maximum(x - radius, low), np.minimum(x + radius, high)
        x = np.clip(start, lowest, highest)
        for _ in range(steps):
            x = np.clip(x + step * np.sign(gradient(x, y)), lowest, highest)
        return x

    generators = [np.random.default_rng((seed, restart)) for restart in range(restarts)]
    attacked = np.empty_like(images)
    for begin in range(0, len(images), batch_size):
        batch = slice(begin, begin + batch_size)
        x, y = images[batch], labels[batch]
        if attack == "fgsm":
            attacked[batch] = ascend(x, y, x, radius, 1)
            continue
        fooled = np.zeros(len(x), bool)
        for restart, generator in enumerate(generators):
            noise = radius * (2 * generator.random(x.shape, "float32") - 1)
            candidates = ascend(x, y, x + noise, step, steps)
            attacked[batch][~fooled] = candidates[~fooled]
            if restart < restarts - 1:
                fooled |= _predict(model, candidates, batch_size) != y
    return attacked


def _margin(from_logits):
    """Returns a loss whose gradient is the cross-entropy's divided by `1 - p`, for each image.

    With the probability `p` of the right class it is `log((1 - p) / p)`. The gradient's signs are
    the same, and it does not vanish where the model is sure: the cross-entropy's, of size
    `1 - p`, underflows there, in float16 at once, and the model would seem robust.
    """

    def loss(outputs, labels):
        outputs = ops.cast(outputs, "float32")
        right = ops.one_hot(labels, outputs.shape[-1], dtype="float32")
        if from_logits:
            others = ops.logsumexp(outputs - 1e30 * right, axis=-1)
            margins = others - ops.sum(right * outputs, axis=-1)
        else:
            tiny = float(np.finfo("float32").tiny)
            others = ops.sum((1 - right) * outputs, axis=-1)
            margins = ops.log(ops.maximum(others, tiny)) - ops.log(
                ops.maximum(ops.sum(right * outputs, axis=-1), tiny)
            )
        # The sum, so that an image's gradient does not depend on the size of the batch.
        return ops.sum(margins)

    return loss


def _predict(model, images, batch_size):
    return np.argmax(model.predict(images, batch_size=batch_size, verbose=0), axis=-1)


# --- What the arguments must be ---


def _returns_logits(model, from_logits):
    if from_logits is not None:
        return bool(from_logits)
    last = last_layer(model)
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax:
        return False
    known = isinstance(last, keras.layers.Layer) and not isinstance(last, keras.Model)
    if known and activation in (None, keras.activations.linear):
        return True
    raise ValueError(
        "Whether the model returns logits or probabilities cannot be read from its last layer, "
        f"'{last.name}' ({type(last).__name__}"
        + (f", activation {activation.__name__}" if activation else "")
        + "). Pass `from_logits=True` or `from_logits=False`."
    )


def _check_whole_numbers(**arguments):
    for name, value in arguments.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(
                f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"
            )


def _check_share(name, value):
    if not 0 <= value <= 1:
        raise ValueError(
            f"`{name}` must be a share of the pixel range, from 0 to 1, such as 1/255. "
            f"Received: {name}={value}"
        )


def _check_range(pixel_range):
    low, high = (float(value) for value in pixel_range)
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            "`pixel_range` must be the lowest and the highest pixel value. "
            f"Received: pixel_range={pixel_range}"
        )
    return low, high


def _check_images(x, low, high):
    x = ops.convert_to_numpy(x)
    if x.size == 0 or not low <= x.min() <= x.max() <= high:
        got = f"values from {x.min():g} to {x.max():g}" if x.size else f"shape {x.shape}"
        raise ValueError(
            f"`x` must be images with values in pixel_range=({low:g}, {high:g}). Received: {got}"
        )
    if np.issubdtype(x.dtype, np.floating) and x.max() <= 1 < high:
        warnings.warn(
            f"The images have values up to 1, and `pixel_range` says that they reach {high:g}. "
            "Pass `pixel_range=(0, 1)` if they are scaled: `epsilon` is a share of it.",
            stacklevel=3,
        )
    return x.astype("float32")


def _class_numbers(model, x, y):
    classes = _count_classes(model, x)
    check_counts(x, y)
    return class_numbers(y, classes)


def _count_classes(model, x):
    for images in (getattr(model, "inputs", None) or [])[:1]:
        # Keras itself would let a single channel pass for three.
        check_images(x, images.shape[1:])
        if not keras.backend.is_float_dtype(images.dtype):
            raise ValueError(
                f"Model '{model.name}' takes images of dtype {images.dtype}, by which nothing has "
                "a gradient. Its input must have a floating dtype."
            )
    scores = model.compute_output_spec(keras.KerasTensor((None, *x.shape[1:])))
    if not isinstance(scores, keras.KerasTensor) or len(scores.shape) != 2:
        raise ValueError(
            f"Model '{model.name}' must have one output of shape (batch, classes). "
            f"Received: {scores}"
        )
    return scores.shape[-1]
