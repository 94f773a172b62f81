from keras_lc.layers.frozen_conv2d import FrozenConv2D as FrozenConv2D
from keras_lc.layers.frozen_depthwise_conv2d import FrozenDepthwiseConv2D as FrozenDepthwiseConv2D
from keras_lc.layers.lc_block import LCBlock as LCBlock
from keras_lc.layers.lc_conv2d import LCConv2D as LCConv2D
from keras_lc.layers.random_basis import FanInUniform as FanInUniform
from keras_lc.layers.random_crop_flip import RandomCropFlip as RandomCropFlip
from keras_lc.layers.shared_basis import SharedBasis as SharedBasis
from keras_lc.layers.stochastic_depth import StochasticDepth as StochasticDepth
