"""ResNets written with torch.nn.

Modules and names are torchvision's, timm's, PfLayer's and those of the LC paper's authors.
"""

import torch
from torch import nn


def conv_bn(inputs, outputs, kernel_size=1, stride=1, groups=1):
    conv = nn.Conv2d(
        inputs, outputs, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )
    return conv, nn.BatchNorm2d(outputs)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs, planes, width, stride, groups, downsample):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, planes, 3, stride)
        self.conv2, self.bn2 = conv_bn(planes, planes, 3)
        self.downsample = downsample

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, planes, width, stride, groups, downsample):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, width)
        self.conv2, self.bn2 = conv_bn(width, width, 3, stride, groups)
        self.conv3, self.bn3 = conv_bn(width, 4 * planes)
        self.downsample = downsample

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class PfBottleneck(nn.Module):
    """PfLayer's; `kind` says what its conv_block is: "learned", "max" or "hybrid"."""

    expansion = 4
    kind = None

    def __init__(self, inputs, planes, width, stride, groups, downsample):
        super().__init__()
        self.reduction_block = nn.Sequential(*conv_bn(inputs, width), nn.ReLU())
        if self.kind == "learned":
            self.conv_block = nn.Sequential(*conv_bn(width, width, 3, stride, groups), nn.ReLU())
        elif self.kind == "hybrid" and stride == 2:
            conv = nn.Sequential(*conv_bn(width, width, 3, 1, groups), nn.ReLU())
            self.conv_block = nn.Sequential(nn.AvgPool2d(2, 2), conv)
        else:
            self.conv_block = nn.MaxPool2d(3, stride, padding=1)
        self.expansion_block = nn.Sequential(*conv_bn(width, 4 * planes))
        self.downsample = downsample

    def forward(self, x):
        y = self.expansion_block(self.conv_block(self.reduction_block(x)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """`layers` as torchvision's; `deep` is timm's ResNet-D; `pf` PfLayer's kind of block."""

    def __init__(
        self, block, layers, width=64, group_width=64, groups=1, deep=False, pf=None,
        low_resolution=False, stem_pool=True, classes=1000,
    ):  # fmt: skip
        super().__init__()
        stride = 1 if low_resolution else 2
        self.stem_pool = stem_pool
        if deep:
            self.conv1 = nn.Sequential(
                *conv_bn(3, width // 2, 3, stride),
                nn.ReLU(),
                *conv_bn(width // 2, width // 2, 3),
                nn.ReLU(),
                nn.Conv2d(width // 2, width, 3, padding=1, bias=False),
            )
            self.bn1 = nn.BatchNorm2d(width)
        elif pf:
            self.conv1 = nn.Sequential(*conv_bn(3, width, 7, stride))
            self.bn1 = nn.Identity()
            block = type("PfBlock", (PfBottleneck,), {"kind": pf})
        else:
            self.conv1, self.bn1 = conv_bn(3, width, 3 if low_resolution else 7, stride)
        inputs = width
        for stage, blocks in enumerate(layers):
            planes = width * 2**stage
            modules = []
            for number in range(blocks):
                stride = 2 if stage and not number else 1
                downsample = None
                if stride > 1 or inputs != planes * block.expansion:
                    downsample = self.shortcut(inputs, planes * block.expansion, stride, deep)
                inner = int(planes * (group_width / 64)) * groups
                modules.append(block(inputs, planes, inner, stride, groups, downsample))
                inputs = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*modules))
        self.fc = nn.Linear(inputs, classes)
        self.depth = len(layers)

    def shortcut(self, inputs, outputs, stride, deep):
        if not deep:
            return nn.Sequential(*conv_bn(inputs, outputs, 1, stride))
        pool = nn.Identity()
        if stride > 1:
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
        return nn.Sequential(pool, *conv_bn(inputs, outputs))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        if self.stem_pool:
            x = nn.functional.max_pool2d(x, 3, 2, padding=1)
        for stage in range(self.depth):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.fc(x.mean((2, 3)))


class CIFARBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, outputs, 3, stride)
        self.conv2, self.bn2 = conv_bn(outputs, outputs, 3)
        self.shortcut = nn.Sequential(*(conv_bn(inputs, outputs, 1, 2) if stride > 1 else []))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CIFARResNet(nn.Module):
    """The LC authors' `openlth_resnet`, of any depth."""

    def __init__(self, depth, width=16, classes=10):
        super().__init__()
        self.conv, self.bn = conv_bn(3, width, 3)
        blocks, inputs = [], width
        for stage in range(3):
            for number in range((depth - 2) // 6):
                outputs = width * 2**stage
                blocks.append(CIFARBlock(inputs, outputs, 2 if stage and not number else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        return self.fc(self.blocks(torch.relu(self.bn(self.conv(x)))).mean((2, 3)))
