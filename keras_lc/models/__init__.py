"""The networks, each with any spatial operator.

All of them take

- `input_shape`: Tuple of 3 integers or None, without the batch.
- `classes`: Integer.
- `include_preprocessing`: Boolean, whether the network normalises its images. With `False`, it
  takes them as they are.
- `mean`, `std`: Number or one for each channel, in pixel values (0 to 255). Default, for three
  channels, to the statistics of the images that the network is made for, CIFAR-10's or (for
  full-size networks) ImageNet's; else to 127.5.
- `augmentation`: What training does to its images: `"crop_flip"` (pad 4, random crop, random
  horizontal flip; CIFAR's), `None`, or a Keras layer. Keras numbers the states of its own random
  layers through the process: a PyTorch `state_dict` with one fits no other instance, files do.
- `classifier_activation`: Activation of the outputs. Defaults to `None`: logits.
- `data_format`: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
- `seed`: Integer that determines all initial weights and frozen filters, all that training draws
  and the order of the images in `fit`: the same under every backend. `None` draws one.
- `name`: String. Defaults to the paper's name of the network.
"""

from keras_lc.models.cifar_resnet import CIFARResNet as CIFARResNet
from keras_lc.models.cifar_resnet import ResNetLC as ResNetLC
from keras_lc.models.classifier import CIFAR10_MEAN as CIFAR10_MEAN
from keras_lc.models.classifier import CIFAR10_STD as CIFAR10_STD
from keras_lc.models.classifier import IMAGENET_MEAN as IMAGENET_MEAN
from keras_lc.models.classifier import IMAGENET_STD as IMAGENET_STD
from keras_lc.models.mobilenet import MobileNetV2 as MobileNetV2
from keras_lc.models.mobilenet import MobileNetV3Large as MobileNetV3Large
from keras_lc.models.pit import PiT as PiT
from keras_lc.models.resnet import ResNet as ResNet
from keras_lc.models.torch_weights import load_torch_weights as load_torch_weights
from keras_lc.models.vit import ViT as ViT
