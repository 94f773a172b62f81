"""The network and the recipe for the scripts in raw PyTorch, JAX and TensorFlow."""

import dataclasses

from keras_lc.models import CIFAR10_MEAN as MEAN
from keras_lc.models import CIFAR10_STD as STD

__all__ = ["LEARNING_RATE", "MEAN", "MOMENTUM", "PADDING", "SMOOTHING", "STD", "WEIGHT_DECAY"]

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, SMOOTHING = 1e-2, 0.9, 1e-2, 0.1
PADDING = 4


@dataclasses.dataclass(frozen=True)
class Block:
    """A basic block: channels in and out, stride of its first convolution."""

    inputs: int
    outputs: int
    stride: int

    @property
    def has_convolution_in_shortcut(self):
        return self.stride > 1


def blocks(depth: int, width: int) -> list[Block]:
    """Returns the blocks of ResNet-{depth}-{width} for small images."""
    found, inputs = [], width
    for stage in range(3):
        for block in range((depth - 2) // 6):
            outputs = width * 2**stage
            found.append(Block(inputs, outputs, 2 if stage and not block else 1))
            inputs = outputs
    return found
