"""ResNet-LC as the paper's authors would write it in PyTorch: two convolutions a block."""

import keras
import numpy as np
import torch
from torch import nn


class LCBlock(nn.Sequential):
    def __init__(self, inputs, outputs, expansion, stride=1):
        super().__init__(
            nn.Conv2d(inputs, outputs * expansion, 3, stride, padding=1, bias=False),
            nn.Conv2d(outputs * expansion, outputs, 1, bias=False),
        )
        self[0].weight.requires_grad_(False)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, expansion, stride):
        super().__init__()
        self.conv1 = LCBlock(inputs, outputs, expansion, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = LCBlock(outputs, outputs, expansion)
        self.bn2 = nn.BatchNorm2d(outputs)
        if stride > 1:
            self.shortcut_conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if hasattr(self, "shortcut_conv"):
            x = self.shortcut_bn(self.shortcut_conv(x))
        return torch.relu(x + y)


class ResNetLC(nn.Module):
    def __init__(self, depth, width, expansion, classes=10):
        super().__init__()
        blocks = (depth - 2) // 6
        self.stem_conv = LCBlock(3, width, expansion)
        self.stem_bn = nn.BatchNorm2d(width)
        inputs = width
        self.blocks = []
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                module = BasicBlock(inputs, width * 2**stage, expansion, stride)
                inputs = width * 2**stage
                self.add_module(f"stage{stage + 1}_block{block}", module)
                self.blocks.append(module)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x):
        x = torch.relu(self.stem_bn(self.stem_conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean((2, 3)))

    def copy_weights(self, model):
        """Copies the weights of a Keras model whose layers have the names of this module's."""
        for name, module in self.named_modules():
            keras_name = name.replace(".", "_")
            if isinstance(module, LCBlock):
                layer = model.get_layer(keras_name)
                _set(module[0].weight, _array(layer.basis).transpose(3, 2, 0, 1))
                _set(module[1].weight, _array(layer.combination).T[:, :, None, None])
            elif isinstance(module, nn.Conv2d) and not name.endswith((".0", ".1")):
                _set(
                    module.weight, _array(model.get_layer(keras_name).kernel).transpose(3, 2, 0, 1)
                )
            elif isinstance(module, nn.BatchNorm2d):
                layer = model.get_layer(keras_name)
                _set(module.weight, _array(layer.gamma))
                _set(module.bias, _array(layer.beta))
                _set(module.running_mean, _array(layer.moving_mean))
                _set(module.running_var, _array(layer.moving_variance))
            elif isinstance(module, nn.Linear):
                layer = model.get_layer(keras_name)
                _set(module.weight, _array(layer.kernel).T)
                _set(module.bias, _array(layer.bias))


def _array(variable):
    return keras.ops.convert_to_numpy(variable)


def _set(parameter, values):
    with torch.no_grad():
        assert tuple(parameter.shape) == values.shape
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
