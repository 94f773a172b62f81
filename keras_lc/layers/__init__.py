from keras_lc.layers.accelerated import AveragePooling2D as AveragePooling2D
from keras_lc.layers.accelerated import BatchNormalization as BatchNormalization
from keras_lc.layers.accelerated import Conv1D as Conv1D
from keras_lc.layers.accelerated import Conv1DTranspose as Conv1DTranspose
from keras_lc.layers.accelerated import Conv2D as Conv2D
from keras_lc.layers.accelerated import Conv2DTranspose as Conv2DTranspose
from keras_lc.layers.accelerated import Conv3D as Conv3D
from keras_lc.layers.accelerated import Conv3DTranspose as Conv3DTranspose
from keras_lc.layers.accelerated import DepthwiseConv1D as DepthwiseConv1D
from keras_lc.layers.accelerated import DepthwiseConv2D as DepthwiseConv2D
from keras_lc.layers.accelerated import MaxPooling2D as MaxPooling2D
from keras_lc.layers.frozen_conv import FrozenConv1D as FrozenConv1D
from keras_lc.layers.frozen_conv import FrozenConv1DTranspose as FrozenConv1DTranspose
from keras_lc.layers.frozen_conv import FrozenConv2D as FrozenConv2D
from keras_lc.layers.frozen_conv import FrozenConv2DTranspose as FrozenConv2DTranspose
from keras_lc.layers.frozen_conv import FrozenConv3D as FrozenConv3D
from keras_lc.layers.frozen_conv import FrozenConv3DTranspose as FrozenConv3DTranspose
from keras_lc.layers.frozen_conv import FrozenDepthwiseConv1D as FrozenDepthwiseConv1D
from keras_lc.layers.frozen_conv import FrozenDepthwiseConv2D as FrozenDepthwiseConv2D
from keras_lc.layers.gram_limit_conv2d import GramLimitConv2D as GramLimitConv2D
from keras_lc.layers.initializers import FanInUniform as FanInUniform
from keras_lc.layers.lc_block import LCBlock as LCBlock
from keras_lc.layers.lc_conv1d import LCConv1D as LCConv1D
from keras_lc.layers.lc_conv2d import LCConv2D as LCConv2D
from keras_lc.layers.lc_conv3d import LCConv3D as LCConv3D
from keras_lc.layers.lc_conv_transpose import LCConv1DTranspose as LCConv1DTranspose
from keras_lc.layers.lc_conv_transpose import LCConv2DTranspose as LCConv2DTranspose
from keras_lc.layers.lc_conv_transpose import LCConv3DTranspose as LCConv3DTranspose
from keras_lc.layers.lc_depthwise_conv import LCDepthwiseConv1D as LCDepthwiseConv1D
from keras_lc.layers.lc_depthwise_conv import LCDepthwiseConv2D as LCDepthwiseConv2D
from keras_lc.layers.own_kernel import OwnKernel as OwnKernel
from keras_lc.layers.per_image.random_crop_flip import RandomCropFlip as RandomCropFlip
from keras_lc.layers.per_image.random_resized_crop_flip import (
    RandomResizedCropFlip as RandomResizedCropFlip,
)
from keras_lc.layers.per_image.stochastic_depth import StochasticDepth as StochasticDepth
from keras_lc.layers.position_embedding import PositionEmbedding as PositionEmbedding
from keras_lc.layers.shared_basis import SharedBasis as SharedBasis
