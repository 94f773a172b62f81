"""Convolutions with random filters and trained linear combinations of them, for Keras 3."""

from keras_lc.layers import FrozenConv2D as FrozenConv2D
from keras_lc.layers import LCConv2D as LCConv2D
from keras_lc.layers import RandomCropFlip as RandomCropFlip

__version__ = "0.1.0"
