"""Vision transformers written with torch.nn: modules and names are PfLayer's."""

import itertools

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        images, places, width = x.shape
        split = self.qkv(x).reshape(images, places, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        shares = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1)
        return self.proj((shares @ v).transpose(1, 2).reshape(images, places, width))


class Pool(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(3 * width, width)

    def forward(self, x, size):
        x = nn.functional.gelu(self.qkv(x))
        maps = x.transpose(1, 2).unflatten(2, size)
        x = nn.functional.max_pool2d(maps, 3, 1, padding=1).flatten(2).transpose(1, 2)
        return self.proj(nn.functional.gelu(x))


class Block(nn.Module):
    def __init__(self, width, heads, pools):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Pool(width) if pools else Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, size):
        y = self.norm1(x)
        x = x + (self.attn(y, size) if isinstance(self.attn, Pool) else self.attn(y))
        return x + self.mlp.fc2(nn.functional.gelu(self.mlp.fc1(self.norm2(x))))


def blocks(width, heads, count, pools):
    return nn.ModuleList(Block(width, heads, pools and i % 2 == 1) for i in range(count))


class ViT(nn.Module):
    """`stages` has one triple: width, heads, number of blocks."""

    def __init__(self, stages, patch_size, strides, places, pools, classes):
        super().__init__()
        ((width, heads, count),) = stages
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch_size, strides)
        self.pos_embed = nn.Parameter(torch.zeros(1, places[0] * places[1], width))
        self.blocks = blocks(width, heads, count, pools)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        maps = self.patch_embed.proj(x)
        x = maps.flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x, maps.shape[2:])
        return self.head(self.norm(x).mean(1))


class PiT(nn.Module):
    def __init__(self, stages, patch_size, strides, places, pools, classes):
        super().__init__()
        widths = [width for width, _, _ in stages]
        self.patch_embed = nn.Module()
        self.patch_embed.conv = nn.Conv2d(3, widths[0], patch_size, strides)
        self.pos_embed = nn.Parameter(torch.zeros(1, widths[0], *places))
        self.transformers = nn.ModuleList()
        for width, heads, count in stages:
            self.transformers.append(nn.Module())
            self.transformers[-1].blocks = blocks(width, heads, count, pools)
        self.pools = nn.ModuleList()
        for before, after in itertools.pairwise(widths):
            self.pools.append(nn.Module())
            self.pools[-1].conv = nn.Conv2d(before, after, 3, 2, padding=1, groups=before)
        self.norm = nn.LayerNorm(widths[-1], eps=1e-6)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x):
        maps = self.patch_embed.conv(x)
        if maps.shape[2:] != self.pos_embed.shape[2:]:
            maps = maps + nn.functional.interpolate(self.pos_embed, maps.shape[2:], mode="bicubic")
        else:
            maps = maps + self.pos_embed
        for stage, transformer in enumerate(self.transformers):
            if stage:
                maps = self.pools[stage - 1].conv(maps)
            x, size = maps.flatten(2).transpose(1, 2), maps.shape[2:]
            for block in transformer.blocks:
                x = block(x, size)
            maps = x.transpose(1, 2).unflatten(2, size)
        return self.head(self.norm(x).mean(1))


def as_trained(module):
    """Gives it weights that are far from the initial ones, so that no part is without effect."""
    generator = torch.Generator().manual_seed(0)
    for name, value in module.named_parameters():
        inputs = value[0].numel() if value.ndim > 1 and name != "pos_embed" else 1
        torch.nn.init.normal_(value, std=inputs**-0.5 / 2, generator=generator)
        if "norm" in name and name.endswith("weight"):
            value.data.add_(1)
    return module.eval()
