"""Convolutions with random filters and trained linear combinations of them, for Keras 3."""

from keras_lc import analysis as analysis
from keras_lc import bases as bases
from keras_lc import data as data
from keras_lc import distribution as distribution
from keras_lc import layers as layers
from keras_lc import seeds as seeds
from keras_lc import spatial as spatial
from keras_lc import training as training
from keras_lc.classification import Answer as Answer
from keras_lc.classification import classify as classify
from keras_lc.layers import FrozenConv2D as FrozenConv2D
from keras_lc.layers import LCConv1D as LCConv1D
from keras_lc.layers import LCConv1DTranspose as LCConv1DTranspose
from keras_lc.layers import LCConv2D as LCConv2D
from keras_lc.layers import LCConv2DTranspose as LCConv2DTranspose
from keras_lc.layers import LCConv3D as LCConv3D
from keras_lc.layers import LCConv3DTranspose as LCConv3DTranspose
from keras_lc.layers import LCDepthwiseConv1D as LCDepthwiseConv1D
from keras_lc.layers import LCDepthwiseConv2D as LCDepthwiseConv2D
from keras_lc.layers import RandomCropFlip as RandomCropFlip
from keras_lc.layers import RandomResizedCropFlip as RandomResizedCropFlip
from keras_lc.models import CIFARResNet as CIFARResNet
from keras_lc.models import MobileNetV2 as MobileNetV2
from keras_lc.models import MobileNetV3Large as MobileNetV3Large
from keras_lc.models import PiT as PiT
from keras_lc.models import ResNet as ResNet
from keras_lc.models import ResNetLC as ResNetLC
from keras_lc.models import ViT as ViT
from keras_lc.models import load_torch_weights as load_torch_weights
from keras_lc.surgery import export as export
from keras_lc.surgery import fold as fold
from keras_lc.surgery import freeze_spatial as freeze_spatial
from keras_lc.surgery import open_exported as open_exported
from keras_lc.surgery import to_compact as to_compact
from keras_lc.surgery import to_lc as to_lc

__version__ = "0.1.0"
