from keras_lc.models.cifar_resnet import CIFARResNet as CIFARResNet
from keras_lc.models.cifar_resnet import ResNetLC as ResNetLC
