"""Image classification data as arrays in memory, from wherever it lies."""

from keras_lc.data.dataset import Dataset as Dataset
from keras_lc.data.load import load as load
