"""Measures accuracy under adversarial attacks on the pixels."""

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
    """Returns the share of images that a model classifies correctly after an attack.

    See `adversarial_examples` for the attacks and the arguments. Only the prediction after the
    attack counts, as in foolbox and torchattacks. So an image counts as correct if its prediction
    was wrong before the attack and is correct after it.

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
    """Changes images slightly, so that a model misclassifies them.

    Each pixel value changes by at most `epsilon` times the pixel range (an ℓ∞ ball) and stays in
    the range. The model is attacked in inference mode: with the moving statistics of its batch
    normalization and without augmentation. The attack includes the model's preprocessing, so `x`
    contains pixel values.

    - `"fgsm"` moves each value by `epsilon`, in the direction of the sign of the cross-entropy's
      gradient.
    - `"pgd"` starts at a random point of the ball and takes `steps` such moves of size
      `step_size`. After each move, it returns to the ball and the range. With several restarts,
      the first one that the model misclassifies counts.

    Args:
        model: A Keras model from images to class scores.
        x: Array of images with values in `pixel_range`, in the model's layout.
        y: Array of integer labels `(n,)` or one-hot labels `(n, classes)`.
        attack: `"fgsm"` or `"pgd"`.
        epsilon: Number from 0 to 1, the radius as a share of the pixel range. The LC paper's
            `1/255` is 1 grey level for images with values in [0, 255], and 1/255 for images with
            values in [0, 1].
        pixel_range: Tuple of 2 numbers, the lowest and the highest possible pixel value, before
            any normalization.
        step_size: Number, PGD's step as a share of the pixel range. Defaults to
            `2.5 · epsilon / steps`, so that PGD can reach each point of the ball.
        steps: Integer, PGD's number of steps.
        restarts: Integer, the number of PGD's runs. Each starts at another random point.
        batch_size: Integer.
        from_logits: Boolean, whether the model returns logits (and not probabilities). Defaults
            to `None`: the last layer of the model decides.
        seed: Integer, the seed of PGD's random points. They are the same under every backend:
            `numpy.random.default_rng((seed, restart))` draws from U(-1, 1) in float32, and the
            numbers are multiplied by the radius.

    Returns:
        A float32 array with the shape of `x`.

    Raises:
        ValueError: If an argument is out of its range, or if images and labels do not match. If
            the last layer does not show whether the model returns logits or probabilities.

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
    """Returns the loss `log((1 - p) / p)` with the probability `p` of the correct class.

    Its gradient is the cross-entropy's gradient divided by `1 - p`, so the signs are the same.
    If the model is sure, the cross-entropy's gradient has the size `1 - p` and underflows (soon in
    float16), and the model would seem robust. The gradient of this loss does not underflow.
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
        # Not the mean: an image's gradient must not depend on the batch size.
        return ops.sum(margins)

    return loss


def _predict(model, images, batch_size):
    return np.argmax(model.predict(images, batch_size=batch_size, verbose=0), axis=-1)


# --- Checks of the arguments ---


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
        "`from_logits` must be given, because the last layer does not show whether the model "
        f"returns logits or probabilities: '{last.name}' ({type(last).__name__}"
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
            f"The images have values up to 1, but `pixel_range` reaches {high:g}. "
            "Pass `pixel_range=(0, 1)` if they are scaled: `epsilon` is a share of the range.",
            stacklevel=3,
        )
    return x.astype("float32")


def _class_numbers(model, x, y):
    classes = _count_classes(model, x)
    check_counts(x, y)
    return class_numbers(y, classes)


def _count_classes(model, x):
    for images in (getattr(model, "inputs", None) or [])[:1]:
        # Keras itself would accept one channel instead of three.
        check_images(x, images.shape[1:])
        if not keras.backend.is_float_dtype(images.dtype):
            raise ValueError(
                f"Model '{model.name}' takes images of dtype {images.dtype}, so there is no "
                "gradient for them. Build the model with an input of a floating dtype."
            )
    scores = model.compute_output_spec(keras.KerasTensor((None, *x.shape[1:])))
    if not isinstance(scores, keras.KerasTensor) or len(scores.shape) != 2:
        raise ValueError(
            f"Model '{model.name}' must have one output of shape (batch, classes). "
            f"Received: {scores}"
        )
    return scores.shape[-1]
