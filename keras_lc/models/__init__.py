"""The networks. Each works with any spatial operator.

All networks take these arguments:

- `input_shape`: Tuple of 3 integers or None, without the batch.
- `classes`: Integer, the number of classes.
- `include_preprocessing`: Boolean, whether the network normalizes its images. If `False`, the
  images must already be normalized.
- `mean`, `std`: Number, or one number for each channel, in pixel values (0 to 255). For three
  channels, they default to the statistics of CIFAR-10 (small images) or ImageNet (full-size
  networks). Otherwise they default to 127.5.
- `augmentation`: Augmentation of the training images: `"crop_flip"` (pad 4, random crop, random
  horizontal flip, as usual for CIFAR), `"resized_crop_flip"` (enlarge a random part, random
  horizontal flip, as usual for photos), `None`, or a Keras layer. If it is one of Keras' own
  random layers, a PyTorch `state_dict` of the model does not load into another instance, because
  Keras numbers the states of these layers per process. Files load.
- `classifier_activation`: Activation of the outputs. Defaults to `None`: the outputs are logits.
- `data_format`: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
- `seed`: Integer. It determines the initial weights, the frozen filters, the random numbers of
  training, and the order of the images in `fit`, equally under every backend. `None` draws a
  seed.
- `name`: String. Defaults to the network's name in the paper.
"""

from keras_lc.models.cifar_resnet import CIFARResNet as CIFARResNet
from keras_lc.models.cifar_resnet import ResNetLC as ResNetLC
from keras_lc.models.ends import CIFAR10_MEAN as CIFAR10_MEAN
from keras_lc.models.ends import CIFAR10_STD as CIFAR10_STD
from keras_lc.models.ends import HEAD_LAYERS as HEAD_LAYERS
from keras_lc.models.ends import IMAGENET_MEAN as IMAGENET_MEAN
from keras_lc.models.ends import IMAGENET_STD as IMAGENET_STD
from keras_lc.models.mobilenet import MobileNetV2 as MobileNetV2
from keras_lc.models.mobilenet import MobileNetV3Large as MobileNetV3Large
from keras_lc.models.pit import PiT as PiT
from keras_lc.models.resnet import ResNet as ResNet
from keras_lc.models.torch_weights import load_torch_weights as load_torch_weights
from keras_lc.models.vit import ViT as ViT
