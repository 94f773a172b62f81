"""The papers' training hyper-parameters, as data."""

import dataclasses

import keras

from keras_lc.training.loss import SmoothedCrossentropy
from keras_lc.training.sgd import SGD


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a training run, for any number of steps.

    Args:
        learning_rate: Float, at the first step; comes down to 0 along a cosine over all steps.
        momentum: Float, Nesterov's.
        weight_decay: Float, added to the gradient as `weight_decay · w` on every trainable
            variable.
        batch_size: Integer, the images of one step.
        label_smoothing: Float, the share of the target that is spread over all classes.

    Example:

    >>> recipe = dataclasses.replace(keras_lc.training.CIFAR, learning_rate=0.1)
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    label_smoothing: float

    def optimizer(self, steps: int, name: str = "sgd") -> SGD:
        """Returns the optimizer of a run of `steps` steps."""
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
        return SGD(
            keras.optimizers.schedules.CosineDecay(self.learning_rate, decay_steps=steps),
            momentum=self.momentum,
            nesterov=True,
            weight_decay=self.weight_decay,
            name=name,
        )

    def compile(
        self,
        model: keras.Model,
        steps: int,
        from_logits: bool = True,
        optimizer_name: str = "sgd",
        **kwargs,
    ) -> None:
        """Compiles a classifier for a run of this recipe.

        Args:
            model: A `keras.Model` whose output is `(batch, classes)`.
            steps: Integer, the number of steps of the whole run.
            from_logits: Boolean, whether the outputs are logits.
            optimizer_name: String.
            **kwargs: Further arguments of `keras.Model.compile`, such as `jit_compile`. The metric
                is the accuracy, unless `metrics` or `weighted_metrics` say otherwise.
        """
        if "weighted_metrics" not in kwargs:
            kwargs.setdefault("metrics", ["accuracy"])
        model.compile(
            optimizer=self.optimizer(steps, optimizer_name),
            loss=SmoothedCrossentropy(self.label_smoothing, from_logits=from_logits),
            **kwargs,
        )


#: Low-resolution data: LC paper, Appendix A. 75 epochs there.
CIFAR = Recipe(
    learning_rate=1e-2,
    momentum=0.9,
    weight_decay=1e-2,
    batch_size=256,
    label_smoothing=0.1,
)
