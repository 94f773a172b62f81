"""The network and its recipe in plain PyTorch, as experts write it: eager or compiled."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.raw import network

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class BasicBlock(nn.Module):
    def __init__(self, block):
        super().__init__()
        inputs, outputs, stride = block.inputs, block.outputs, block.stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if block.has_convolution_in_shortcut:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        blocks = network.blocks(depth, width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)
        )
        self.blocks = nn.Sequential(*map(BasicBlock, blocks))
        self.classifier = nn.Linear(blocks[-1].outputs, 10)
        self.register_buffer("mean", torch.tensor(network.MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(network.STD).reshape(1, 3, 1, 1))

    def forward(self, images):
        """`images`: `(batch, height, width, 3)`, uint8."""
        x = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.classifier(self.blocks(self.stem(x)).mean((2, 3)))


def crop_and_flip(images):
    """Pads with zeros, crops each image at its own random position, and flips it at random."""
    batch, height, width, _ = images.shape
    padded = F.pad(images, (0, 0, *[network.PADDING] * 4))
    top, left = torch.randint(0, 2 * network.PADDING + 1, (2, batch, 1), device=images.device)
    flip = torch.rand(batch, 1, device=images.device) < 0.5
    columns = torch.arange(width, device=images.device)
    columns = left + torch.where(flip, width - 1 - columns, columns)
    rows = top + torch.arange(height, device=images.device)
    every = torch.arange(batch, device=images.device)[:, None, None]
    return padded[every, rows[:, :, None], columns[:, None, :]]


def steps(depth, width, images, labels, compiled=False, mixed=False):
    """Returns a training step and an inference step as functions without arguments."""
    model = ResNet(depth, width).to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        network.LEARNING_RATE,
        momentum=network.MOMENTUM,
        nesterov=True,
        weight_decay=network.WEIGHT_DECAY,
    )
    forward = torch.compile(model) if compiled else model

    def autocast():
        return torch.autocast(DEVICE, torch.bfloat16, enabled=mixed)

    def train():
        model.train()
        x = crop_and_flip(torch.from_numpy(images).to(DEVICE))
        y = torch.from_numpy(labels.astype(np.int64)).to(DEVICE)
        with autocast():
            loss = F.cross_entropy(forward(x), y, label_smoothing=network.SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def infer():
        model.eval()
        with autocast():
            return forward(torch.from_numpy(images).to(DEVICE)).float().cpu().numpy()

    return train, infer
