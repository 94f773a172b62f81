"""The papers' training hyper-parameters, as data."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import keras

from keras_lc.training.adamw import AdamW
from keras_lc.training.lamb import LAMB
from keras_lc.training.loss import BinarisedCrossentropy, SmoothedCrossentropy
from keras_lc.training.schedules import StepDecay
from keras_lc.training.sgd import SGD

# A pattern of names. TensorFlow's variables have a suffix and can have a prefix.
_VECTORS = r"(^|/)(bias|gamma|beta|embedding)(:\d+)?$"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a training run, for any number of steps.

    Args:
        learning_rate: Float, the highest learning rate.
        momentum: Float, Nesterov momentum for SGD, `beta_1` for LAMB and AdamW.
        weight_decay: Float, as `keras_lc.training.SGD`, `LAMB` or `AdamW` defines it.
        batch_size: Integer, the images of one step.
        label_smoothing: Float, the part of the target that is spread over all classes. Only for
            the cross-entropy over all classes.
        algorithm: `"sgd"`, `"lamb"` or `"adamw"`.
        epochs: Integer, the length of the run.
        warmup_epochs: Number of epochs in which the learning rate rises linearly from 0. A longer
            or shorter run has the same share of warmup.
        target_threshold: Float. If it is given, the loss is a binary cross-entropy for each
            class, and a class is present in a mixed image if its share is above this threshold.
            `None` trains with the cross-entropy over all classes.
        schedule: `"cosine"`: the learning rate falls along a cosine. `"steps"`: it falls to a
            tenth after every `drop_epochs`.
        drop_epochs: Number of epochs between two drops, only for `"steps"`. They are counted from
            the start of the run. A longer or shorter run has drops at the same shares.
        final_learning_rate: Float, the learning rate at the end of the cosine.
        decay_vectors: Boolean, whether the weight decay also acts on biases, normalization and
            position embeddings. LAMB never decays variables with one axis.

    Example:

    >>> recipe = dataclasses.replace(keras_lc.training.CIFAR, learning_rate=0.1)
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    label_smoothing: float
    algorithm: Literal["sgd", "lamb", "adamw"] = "sgd"
    epochs: int = 1
    warmup_epochs: float = 0.0
    target_threshold: float | None = None
    schedule: Literal["cosine", "steps"] = "cosine"
    drop_epochs: float | None = None
    final_learning_rate: float = 0.0
    decay_vectors: bool = True

    def __post_init__(self):
        if self.algorithm not in _OPTIMIZERS:
            raise ValueError(
                "`algorithm` must be 'sgd', 'lamb' or 'adamw'. "
                f"Received: algorithm={self.algorithm!r}"
            )
        if self.schedule not in ("cosine", "steps"):
            raise ValueError(
                f"`schedule` must be 'cosine' or 'steps'. Received: schedule={self.schedule!r}"
            )
        if (self.schedule == "steps") != (self.drop_epochs is not None) or (
            self.drop_epochs is not None and not self.drop_epochs > 0
        ):
            raise ValueError(
                "`drop_epochs` must be a number above 0 with `schedule='steps'`, and None with "
                f"`schedule='cosine'`. Received: drop_epochs={self.drop_epochs!r}, "
                f"schedule={self.schedule!r}"
            )
        highest = 0 if self.schedule == "steps" else self.learning_rate
        if not 0 <= self.final_learning_rate <= highest:
            raise ValueError(
                "`final_learning_rate` must be from 0 to `learning_rate` with "
                "`schedule='cosine'`, and 0 with `schedule='steps'`. Received: "
                f"final_learning_rate={self.final_learning_rate}, schedule={self.schedule!r}"
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
            "no_decay_names": () if self.decay_vectors else [_VECTORS],
            "name": name or self.algorithm,
            "rate_factors": rate_factors,
        }
        return _OPTIMIZERS[self.algorithm](self.momentum, options)

    def _schedule(self, steps):
        warmup = round(steps * self.warmup_epochs / self.epochs)
        if self.schedule == "steps":
            return StepDecay(
                self.learning_rate,
                total_steps=steps,
                drop_share=self.drop_epochs / self.epochs,
                warmup_steps=warmup,
            )
        falling = {
            "decay_steps": max(1, steps - warmup),
            "alpha": self.final_learning_rate / (self.learning_rate or 1),
        }
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(self.learning_rate, **falling)
        return keras.optimizers.schedules.CosineDecay(
            0.0, warmup_target=self.learning_rate, warmup_steps=warmup, **falling
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


_OPTIMIZERS = {
    "sgd": lambda momentum, options: SGD(momentum=momentum, nesterov=True, **options),
    "lamb": lambda momentum, options: LAMB(beta_1=momentum, **options),
    "adamw": lambda momentum, options: AdamW(beta_1=momentum, **options),
}

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
    decay_vectors=False,
)

#: ImageNet, random crops and flips: the ResNets of "Learning Features with Parameter-Free Layers"
#: (Han et al., 2022), as their public command for timm has them: `--opt sgd` has Nesterov momentum,
#: and timm does not decay vectors.
SGD90 = Recipe(
    learning_rate=0.2,
    momentum=0.9,
    weight_decay=1e-4,
    batch_size=1024,
    label_smoothing=0.0,
    epochs=90,
    warmup_epochs=3,
    schedule="steps",
    drop_epochs=30,
    decay_vectors=False,
)

#: ImageNet: the transformers of the same paper. This is the recipe of "Training data-efficient
#: image transformers" (Touvron et al., 2021), Table 9, with the end of its public code.
DEIT = Recipe(
    algorithm="adamw",
    learning_rate=1e-3,
    momentum=0.9,
    weight_decay=0.05,
    batch_size=1024,
    label_smoothing=0.1,
    epochs=300,
    warmup_epochs=5,
    final_learning_rate=1e-5,
    decay_vectors=False,
)
