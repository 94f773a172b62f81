"""Bases: from a seed and a shape to the filters that are never trained."""

from keras_lc.bases.basis import Basis as Basis
from keras_lc.bases.basis import IndependentNumbers as IndependentNumbers
from keras_lc.bases.included import DCT as DCT
from keras_lc.bases.included import Gabor as Gabor
from keras_lc.bases.included import Normal as Normal
from keras_lc.bases.included import Orthogonal as Orthogonal
from keras_lc.bases.included import Sparse as Sparse
from keras_lc.bases.included import Uniform as Uniform
from keras_lc.bases.included import get as get
