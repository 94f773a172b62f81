from keras_lc.models.cifar_resnet import CIFARResNet as CIFARResNet
from keras_lc.models.cifar_resnet import ResNetLC as ResNetLC
from keras_lc.models.resnet import ResNet as ResNet
