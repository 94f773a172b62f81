"""Loads image classification data from several sources into arrays."""

from keras_lc.data import image_folder as image_folder
from keras_lc.data import picture as picture
from keras_lc.data import tfds_source as tfds_source
from keras_lc.data.dataset import Dataset as Dataset
from keras_lc.data.load import load as load
from keras_lc.data.optional import require as require
from keras_lc.listed import shown as shown
