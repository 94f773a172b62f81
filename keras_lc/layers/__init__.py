from keras_lc.layers.accelerated import AveragePooling2D as AveragePooling2D
from keras_lc.layers.accelerated import BatchNormalization as BatchNormalization
from keras_lc.layers.accelerated import Conv2D as Conv2D
from keras_lc.layers.accelerated import DepthwiseConv2D as DepthwiseConv2D
from keras_lc.layers.accelerated import MaxPooling2D as MaxPooling2D
from keras_lc.layers.frozen_conv2d import FrozenConv2D as FrozenConv2D
from keras_lc.layers.frozen_depthwise_conv2d import FrozenDepthwiseConv2D as FrozenDepthwiseConv2D
from keras_lc.layers.gram_limit_conv2d import GramLimitConv2D as GramLimitConv2D
from keras_lc.layers.initializers import FanInUniform as FanInUniform
from keras_lc.layers.lc_block import LCBlock as LCBlock
from keras_lc.layers.lc_conv2d import LCConv2D as LCConv2D
from keras_lc.layers.per_image.random_crop_flip import RandomCropFlip as RandomCropFlip
from keras_lc.layers.per_image.random_resized_crop_flip import (
    RandomResizedCropFlip as RandomResizedCropFlip,
)
from keras_lc.layers.per_image.stochastic_depth import StochasticDepth as StochasticDepth
from keras_lc.layers.position_embedding import PositionEmbedding as PositionEmbedding
from keras_lc.layers.shared_basis import SharedBasis as SharedBasis
