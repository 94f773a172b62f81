"""A file written under one backend is read, and trained on, under another."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np

import keras_lc
from keras_lc import FrozenConv2D, RandomCropFlip
from keras_lc.layers import LCBlock, SharedBasis
from tests import oracles

ROOT = pathlib.Path(__file__).parents[2]
# The other way round than in `test_lc_conv2d`: runs under all three cover all six directions.
READER = {"tensorflow": "torch", "torch": "jax", "jax": "tensorflow"}

READ = """
import keras, keras_lc, numpy as np
model = keras.saving.load_model("model.keras")
x = np.load("x.npy")
numpy = keras.ops.convert_to_numpy
crops = numpy(model.layers[0](x, training=True))
bases = [numpy(layer.basis) for layer in model.layers if hasattr(layer, "basis")]
np.savez("y.npz", *bases, crops=crops, outputs=numpy(model(x)))
"""


def test_other_layers_compute_and_draw_the_same(tmp_path):
    crop = RandomCropFlip(2, seed=3)
    model = keras.Sequential(
        [
            keras.Input((8, 7, 3)),
            crop,
            FrozenConv2D(4, 3, seed=1),
            LCBlock(5, 3, "bn_relu", expansion=2, seed=2),
            keras_lc.LCDepthwiseConv2D(2, expansion=8, compact=True, seed=4),
            keras_lc.LCConv2DTranspose(4, 3, strides=2, expansion=2, seed=5),
            keras.layers.Reshape((7, 5, 4, 1)),
            keras_lc.LCConv3D(2, 2, basis_initializer=keras_lc.bases.Gabor(), seed=6),
            keras.layers.Reshape((72, 2)),
            keras_lc.LCConv1D(3, 5, padding="causal", shared_basis=SharedBasis(30, seed=7)),
        ]
    )
    x = oracles.images(6, 8, 7, 3)
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    backend = READER[keras.backend.backend()]
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", READ], cwd=tmp_path, env=environment, check=True)
    read = np.load(tmp_path / "y.npz")
    np.testing.assert_array_equal(read["crops"], oracles.numpy(crop(x, training=True)))
    oracles.assert_close(read["outputs"], model(x))
    bases = [layer.basis for layer in model.layers if hasattr(layer, "basis")]
    assert len(bases) == 5
    for number, basis in enumerate(bases):
        np.testing.assert_array_equal(read[f"arr_{number}"], oracles.numpy(basis))
