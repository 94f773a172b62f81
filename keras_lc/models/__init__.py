from keras_lc.models.cifar_resnet import CIFARResNet as CIFARResNet
from keras_lc.models.cifar_resnet import ResNetLC as ResNetLC
from keras_lc.models.mobilenet import MobileNetV2 as MobileNetV2
from keras_lc.models.mobilenet import MobileNetV3Large as MobileNetV3Large
from keras_lc.models.pit import PiT as PiT
from keras_lc.models.resnet import ResNet as ResNet
from keras_lc.models.vit import ViT as ViT
