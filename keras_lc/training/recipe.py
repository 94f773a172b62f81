"""The papers' training hyper-parameters, as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import keras

from keras_lc.training.lamb import LAMB
from keras_lc.training.loss import BinarisedCrossentropy, SmoothedCrossentropy
from keras_lc.training.sgd import SGD


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a training run, for any number of steps.

    Args:
        learning_rate: Float, the highest learning rate. It falls to 0 along a cosine.
        momentum: Float, Nesterov momentum for SGD, `beta_1` for LAMB.
        weight_decay: Float, as `keras_lc.training.SGD` or `LAMB` defines it.
        batch_size: Integer, the images of one step.
        label_smoothing: Float, the part of the target that is spread over all classes. Only for
            the cross-entropy over all classes.
        algorithm: `"sgd"` or `"lamb"`.
        epochs: Integer, the length of the run.
        warmup_epochs: Number of epochs before the cosine. In them, the learning rate rises
            linearly from 0. A longer or shorter run has the same share of warmup.
        target_threshold: Float. If it is given, the loss is a binary cross-entropy for each
            class, and a class is present in a mixed image if its share is above this threshold.
            `None` trains with the cross-entropy over all classes.

    Example:

    >>> recipe = dataclasses.replace(keras_lc.training.CIFAR, learning_rate=0.1)
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    label_smoothing: float
    algorithm: Literal["sgd", "lamb"] = "sgd"
    epochs: int = 1
    warmup_epochs: float = 0.0
    target_threshold: float | None = None

    def __post_init__(self):
        if self.algorithm not in ("sgd", "lamb"):
            raise ValueError(
                f"`algorithm` must be 'sgd' or 'lamb'. Received: algorithm={self.algorithm!r}"
            )
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                "`warmup_epochs` must be at least 0 and below `epochs`. "
                f"Received: warmup_epochs={self.warmup_epochs}, epochs={self.epochs}"
            )
        if self.label_smoothing and self.target_threshold is not None:
            raise ValueError(
                "`label_smoothing` and `target_threshold` belong to different losses. Set "
                "`label_smoothing` to 0 or `target_threshold` to None. Received: "
                f"label_smoothing={self.label_smoothing}, "
                f"target_threshold={self.target_threshold}"
            )

    def optimizer(
        self,
        steps: int,
        name: str | None = None,
        rate_factors: Mapping[str, float] | None = None,
    ) -> keras.optimizers.Optimizer:
        """Returns the optimizer for a run of `steps` steps. Its name defaults to `algorithm`.

        `rate_factors` maps paths of variables to factors of their learning rate; see
        `keras_lc.training.SGD`.
        """
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
        options = {
            "learning_rate": self._schedule(steps),
            "weight_decay": self.weight_decay,
            "name": name or self.algorithm,
            "rate_factors": rate_factors,
        }
        if self.algorithm == "lamb":
            return LAMB(beta_1=self.momentum, **options)
        return SGD(momentum=self.momentum, nesterov=True, **options)

    def _schedule(self, steps):
        warmup = round(steps * self.warmup_epochs / self.epochs)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(self.learning_rate, decay_steps=steps)
        return keras.optimizers.schedules.CosineDecay(
            0.0,
            decay_steps=max(1, steps - warmup),
            warmup_target=self.learning_rate,
            warmup_steps=warmup,
        )

    def loss(self, from_logits: bool = True) -> keras.losses.Loss:
        """Returns the loss."""
        if self.target_threshold is not None:
            return BinarisedCrossentropy(self.target_threshold, from_logits=from_logits)
        return SmoothedCrossentropy(self.label_smoothing, from_logits=from_logits)

    def compile(
        self,
        model: keras.Model,
        steps: int,
        from_logits: bool = True,
        optimizer_name: str | None = None,
        rate_factors: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Compiles a classifier for a run with this recipe.

        Args:
            model: A `keras.Model` whose output is `(batch, classes)`.
            steps: Integer, the number of steps of the whole run.
            from_logits: Boolean, whether the outputs are logits.
            optimizer_name: String.
            rate_factors: Dict from paths of variables to factors of their learning rate, for
                example a lower rate for pretrained layers:
                `{variable.path: 0.1 for variable in layer.trainable_variables}`.
            **kwargs: Other arguments of `keras.Model.compile`, such as `jit_compile`. The metric
                defaults to the accuracy; pass `metrics` or `weighted_metrics` to change it.
        """
        if "weighted_metrics" not in kwargs:
            kwargs.setdefault("metrics", ["accuracy"])
        model.compile(
            optimizer=self.optimizer(steps, optimizer_name, rate_factors),
            loss=self.loss(from_logits),
            **kwargs,
        )


#: Low-resolution data: LC paper, Appendix A.
CIFAR = Recipe(
    learning_rate=1e-2,
    momentum=0.9,
    weight_decay=1e-2,
    batch_size=256,
    label_smoothing=0.1,
    epochs=75,
)

#: ImageNet: LC paper, Appendix A. This is recipe A2 of "ResNet strikes back" (Wightman et al.,
#: 2021). That paper's text counts every class of a mixed image as present. Its runs with timm
#: used a threshold of 0.2, so a class with a small share (often left by Mixup) does not count.
IMAGENET_A2 = Recipe(
    algorithm="lamb",
    learning_rate=5e-3,
    momentum=0.9,
    weight_decay=0.02,
    batch_size=2048,
    label_smoothing=0.0,
    epochs=300,
    warmup_epochs=5,
    target_threshold=0.2,
)
