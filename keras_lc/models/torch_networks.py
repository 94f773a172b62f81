"""Recognizes published PyTorch networks by the names and shapes of their weights."""

import re
from collections.abc import Mapping
from typing import Any

# Blocks of each stage, and whether they are bottlenecks.
_RESNETS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
# Networks that only they have a weight of this name, beside the ResNets.
_BY_NAME = {
    "features.1.conv.0.0.weight": "MobileNetV2",
    "features.16.0.weight": "MobileNetV3-Large",
    "features.12.0.weight": "MobileNetV3-Small",
    "features.1.0.block.0.0.weight": "an EfficientNet",
    "blocks.6.0.conv_pwl.weight": "timm's MobileNetV2, or a relative",
    "blocks.6.0.conv.weight": "timm's MobileNetV3-Large, or a relative",
    "blocks.5.0.conv.weight": "timm's MobileNetV3-Small, or a relative",
    "features.denseblock1.denselayer1.conv1.weight": "a DenseNet",
    "features.0.weight": "AlexNet or a VGG",
    "Mixed_5b.branch1x1.conv.weight": "Inception-v3",
    "stages.0.blocks.0.conv_dw.weight": "a ConvNeXt",
    "features.1.0.block.0.weight": "a ConvNeXt",
    "layers.0.blocks.0.attn.qkv.weight": "a Swin transformer",
    "blocks.0.attn.qkv.weight": "a ViT",
    "transformers.0.blocks.0.attn.qkv.weight": "a PiT",
    "encoder.layers.encoder_layer_0.ln_1.weight": "a ViT",
    "blocks.0.conv1.weight": "a CIFAR-ResNet of tinytorchtrainer",
}
_HEADS = ("fc", "fc.1", "classifier", "classifier.1", "classifier.3", "classifier.6", "head")


def looks_like(state_dict: Mapping[str, Any]) -> str | None:
    """Returns the name of the network that a state dict seems to be of: `"ResNet-18"`.

    Args:
        state_dict: Mapping from names, without wrappers, to objects with a `shape`.

    Returns:
        A string for an error message. `None` if the network is unknown.
    """
    by_name = (found for key, found in _BY_NAME.items() if key in state_dict)
    return _resnet(state_dict) or next(by_name, None)


def classes_of(state_dict: Mapping[str, Any]) -> int | None:
    """Returns the number of classes of a state dict's head; `None` if it has none."""
    weights = (state_dict.get(f"{name}.weight") for name in _HEADS)
    heads = (weight for weight in weights if weight is not None and len(weight.shape) == 2)
    return next((head.shape[0] for head in heads), None)


def _resnet(state_dict):
    places = {(int(m[1]), int(m[2])) for m in map(_BLOCK.match, state_dict) if m}
    blocks = tuple(sum(stage == of for of, _ in places) for stage in range(1, 5))
    second, third = (state_dict.get(f"layer1.0.conv{number}.weight") for number in (2, 3))
    depth = _RESNETS.get((blocks, third is not None))
    if depth is None or second is None:
        return None
    outputs, inputs = second.shape[:2]
    if depth >= 50 and outputs != inputs:
        return f"ResNeXt-{depth}-{outputs // inputs}x{inputs}d"
    if depth >= 50 and outputs == third.shape[0] // 2:
        return f"Wide-ResNet-{depth}-2"
    return f"ResNet-{depth}" + ("-D" if "conv1.0.weight" in state_dict else "")


_BLOCK = re.compile(r"layer(\d)\.(\d+)\.")
