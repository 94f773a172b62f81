"""MobileNets written with torch.nn: modules and names are torchvision's and the LC authors'."""

from torch import nn


def conv_bn(inputs, outputs, kernel_size, stride, groups, activation, epsilon=1e-5):
    modules = [
        nn.Conv2d(
            inputs, outputs, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(outputs, eps=epsilon),
    ]
    return nn.Sequential(*modules, *([] if activation is None else [activation()]))


class InvertedResidualV2(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        width = inputs * expansion
        modules = [] if expansion == 1 else [conv_bn(inputs, width, 1, 1, 1, nn.ReLU6)]
        modules += [
            conv_bn(width, width, 3, stride, width, nn.ReLU6),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*modules)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.conv(x) if self.is_residual else self.conv(x)


class MobileNetV2(nn.Module):
    """The rows of `channels` are those of the paper's Table 2, scaled."""

    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
            (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip

    def __init__(self, low_resolution=False, classes=1000, scaled=lambda channels: channels):
        super().__init__()
        inputs = scaled(32)
        features = [conv_bn(3, inputs, 3, 1 if low_resolution else 2, 1, nn.ReLU6)]
        for row, (expansion, outputs, count, first_stride) in enumerate(self.rows):
            for number in range(count):
                stride = first_stride if number == 0 else 1
                if low_resolution and row == 1:
                    stride = 1
                features.append(InvertedResidualV2(inputs, scaled(outputs), stride, expansion))
                inputs = scaled(outputs)
        features.append(conv_bn(inputs, 1280, 1, 1, 1, nn.ReLU6))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class SmallMobileNetV2(MobileNetV2):
    """The LC authors' `lowres_mobilenet_v2`."""

    def __init__(self, low_resolution=True, classes=10):
        super().__init__(low_resolution, classes)
        self.fc = self.classifier
        del self.classifier

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        scale = nn.functional.relu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * nn.functional.hardsigmoid(self.fc2(scale))


class InvertedResidualV3(nn.Module):
    def __init__(self, inputs, kernel_size, width, outputs, squeezed, activation, stride):
        super().__init__()
        modules = []
        if width != inputs:
            modules.append(conv_bn(inputs, width, 1, 1, 1, activation, 1e-3))
        modules.append(conv_bn(width, width, kernel_size, stride, width, activation, 1e-3))
        if squeezed:
            modules.append(SqueezeExcitation(width, squeezed))
        modules.append(conv_bn(width, outputs, 1, 1, 1, None, 1e-3))
        self.block = nn.Sequential(*modules)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.block(x) if self.is_residual else self.block(x)


class MobileNetV3Large(nn.Module):
    # kernel size, expanded, out, squeeze-and-excitation's inner channels, activation, stride
    rows = (
        (3, 16, 16, 0, nn.ReLU, 1), (3, 64, 24, 0, nn.ReLU, 2), (3, 72, 24, 0, nn.ReLU, 1),
        (5, 72, 40, 24, nn.ReLU, 2), (5, 120, 40, 32, nn.ReLU, 1), (5, 120, 40, 32, nn.ReLU, 1),
        (3, 240, 80, 0, nn.Hardswish, 2), (3, 200, 80, 0, nn.Hardswish, 1),
        (3, 184, 80, 0, nn.Hardswish, 1), (3, 184, 80, 0, nn.Hardswish, 1),
        (3, 480, 112, 120, nn.Hardswish, 1), (3, 672, 112, 168, nn.Hardswish, 1),
        (5, 672, 160, 168, nn.Hardswish, 2), (5, 960, 160, 240, nn.Hardswish, 1),
        (5, 960, 160, 240, nn.Hardswish, 1),
    )  # fmt: skip

    def __init__(self, low_resolution=False, classes=1000):
        super().__init__()
        stride = 1 if low_resolution else 2
        features = [conv_bn(3, 16, 3, stride, 1, nn.Hardswish, 1e-3)]
        inputs = 16
        for number, (*row, stride) in enumerate(self.rows):
            if low_resolution and number == 1:
                stride = 1
            features.append(InvertedResidualV3(inputs, *row, stride))
            inputs = row[2]
        features.append(conv_bn(inputs, 960, 1, 1, 1, nn.Hardswish, 1e-3))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, classes)
        )

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


# --- timm's modules and names ---


class TimmSqueeze(nn.Module):
    def __init__(self, channels, squeezed):
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        scale = nn.functional.relu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * nn.functional.hardsigmoid(self.conv_expand(scale))


class TimmBlock(nn.Module):
    """timm's `DepthwiseSeparableConv` without expansion, its `InvertedResidual` with one."""

    def __init__(self, inputs, kernel_size, width, outputs, squeezed, activation, stride):
        super().__init__()
        self.activation = activation()
        self.expands = width != inputs
        if self.expands:
            self.conv_pw = nn.Conv2d(inputs, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
        self.conv_dw = nn.Conv2d(
            width, width, kernel_size, stride, kernel_size // 2, groups=width, bias=False
        )
        self.add_module("bn2" if self.expands else "bn1", nn.BatchNorm2d(width))
        self.se = TimmSqueeze(width, squeezed) if squeezed else nn.Identity()
        last = nn.Conv2d(width, outputs, 1, bias=False)
        self.add_module("conv_pwl" if self.expands else "conv_pw", last)
        self.add_module("bn3" if self.expands else "bn2", nn.BatchNorm2d(outputs))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x):
        if self.expands:
            y = self.activation(self.bn1(self.conv_pw(x)))
            y = self.se(self.activation(self.bn2(self.conv_dw(y))))
            y = self.bn3(self.conv_pwl(y))
        else:
            y = self.se(self.activation(self.bn1(self.conv_dw(x))))
            y = self.bn2(self.conv_pw(y))
        return x + y if self.is_residual else y


class TimmConvBnAct(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return nn.functional.hardswish(self.bn1(self.conv(x)))


class TimmMobileNetV2(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        stages, inputs = [], 32
        for expansion, outputs, count, first_stride in MobileNetV2.rows:
            blocks = []
            for number in range(count):
                stride = first_stride if number == 0 else 1
                row = (3, inputs * expansion, outputs, 0, nn.ReLU6, stride)
                blocks.append(TimmBlock(inputs, *row))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(inputs, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x):
        x = self.blocks(nn.functional.relu6(self.bn1(self.conv_stem(x))))
        x = nn.functional.relu6(self.bn2(self.conv_head(x)))
        return self.classifier(x.mean((2, 3)))


class TimmMobileNetV3Large(nn.Module):
    def __init__(self, classes=1000):
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        rows, inputs, stages = iter(MobileNetV3Large.rows), 16, []
        for count in (1, 2, 3, 4, 2, 3):
            blocks = []
            for _ in range(count):
                row = next(rows)
                blocks.append(TimmBlock(inputs, *row))
                inputs = row[2]
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages, nn.Sequential(TimmConvBnAct(inputs, 960)))
        self.conv_head = nn.Conv2d(960, 1280, 1)
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x):
        x = self.blocks(nn.functional.hardswish(self.bn1(self.conv_stem(x))))
        x = nn.functional.hardswish(self.conv_head(x.mean((2, 3), keepdim=True)))
        return self.classifier(x.flatten(1))
