"""The names of our layers in published PyTorch networks.

A naming is a function. It takes the name of one of our layers and the names of all layers of the
model. It returns the name of the PyTorch module, or `None` if that network has no such module.
"""

import re
from collections.abc import Collection

_BLOCK = re.compile(r"stage(?P<stage>\d+)_block(?P<block>\d+)_(?P<kind>conv|bn)(?P<number>\d)")
_SHORTCUT = re.compile(r"stage(?P<stage>\d+)_block(?P<block>\d+)_shortcut_(?P<kind>conv|bn)")
_TRANSFORMER_BLOCK = re.compile(
    r"stage(?P<stage>\d+)_block(?P<block>\d+)_"
    r"(?P<part>attention|expand|project|norm1|norm2|mlp1|mlp2)"
)
_BETWEEN_STAGES = re.compile(r"stage(?P<stage>\d+)_conv")
_INVERTED = re.compile(r"block(?P<block>\d+)_(?P<kind>conv|bn|squeeze_conv)(?P<number>\d)")


def torchvision_resnet(name: str, names: Collection[str]) -> str | None:
    """torchvision's ResNet, ResNeXt and Wide-ResNet. timm uses the same names for these."""
    if name in _PLAIN:
        return _PLAIN[name]
    if found := _BLOCK.fullmatch(name):
        return "layer{stage}.{block}.{kind}{number}".format(**found.groupdict())
    return _shortcut(name, first=0)


def timm_resnet_d(name: str, names: Collection[str]) -> str | None:
    """timm's ResNet-D. It has a deep stem, and each shortcut starts with a pool (or nothing)."""
    if name.startswith("stem_"):
        return _DEEP_STEM.get(name)
    if _SHORTCUT.fullmatch(name):
        return _shortcut(name, first=1)
    return torchvision_resnet(name, names)


def pflayer_resnet(name: str, names: Collection[str]) -> str | None:
    """R50-max and R50-hybrid as in https://github.com/naver-ai/PfLayer, `resnet_pf.py`."""
    if name in ("stem_conv", "stem_bn"):
        return {"stem_conv": "conv1.0", "stem_bn": "conv1.1"}[name]
    if found := _BLOCK.fullmatch(name):
        part = _PARTS_OF_PFLAYER[found["number"]]
        # In a hybrid, an average-pool comes before the convolution.
        if part == "conv_block" and _hybrid(names):
            part += ".1"
        index = int(found["kind"] == "bn")
        return f"layer{found['stage']}.{found['block']}.{part}.{index}"
    return torchvision_resnet(name, names)


def torchvision_mobilenet(name: str, names: Collection[str]) -> str | None:
    """torchvision's MobileNetV2 and MobileNetV3-Large."""
    is_v3 = "hidden" in names
    if name in ("stem_conv", "stem_bn"):
        return {"stem_conv": "features.0.0", "stem_bn": "features.0.1"}[name]
    if name in ("head_conv", "head_bn"):
        last = 1 + sum(other.startswith("block") and other.endswith("_conv3") for other in names)
        return f"features.{last}.{int(name == 'head_bn')}"
    if name in ("hidden", "classifier"):
        return {"hidden": "classifier.0", "classifier": f"classifier.{3 if is_v3 else 1}"}[name]
    found = _INVERTED.fullmatch(name)
    if not found:
        return None
    block = f"block{found['block']}"
    prefix = f"features.{int(found['block']) + 1}.{'block' if is_v3 else 'conv'}"
    # An optional expansion and an optional squeeze shift the numbers of the modules.
    expands = int(f"{block}_conv1" in names)
    squeezes = int(f"{block}_squeeze_conv1" in names)
    if found["kind"] == "squeeze_conv":
        return f"{prefix}.{expands + 1}.fc{found['number']}"
    index = {"1": 0, "2": expands, "3": expands + 1 + squeezes}[found["number"]]
    is_bn = int(found["kind"] == "bn")
    if found["number"] == "3" and not is_v3:
        # There the last convolution and its normalization do not form a module.
        return f"{prefix}.{index + is_bn}"
    return f"{prefix}.{index}.{is_bn}"


def timm_mobilenet(name: str, names: Collection[str]) -> str | None:
    """timm's MobileNetV2 and MobileNetV3-Large. Its blocks are numbered within stages."""
    is_v3 = "hidden" in names
    # In V3, the convolution before the pooling is a stage, and the hidden layer a convolution.
    head = ("blocks.6.0.conv", "blocks.6.0.bn1") if is_v3 else ("conv_head", "bn2")
    outer = {
        "stem_conv": "conv_stem",
        "stem_bn": "bn1",
        "head_conv": head[0],
        "head_bn": head[1],
        "hidden": "conv_head",
        "classifier": "classifier",
    }
    if name in outer:
        return outer[name]
    found = _INVERTED.fullmatch(name)
    if not found:
        return None
    stage, block = 0, int(found["block"])
    stages = _TIMM_STAGES["v3" if is_v3 else "v2"]
    while stage < len(stages) and block >= stages[stage]:
        block -= stages[stage]
        stage += 1
    if found["kind"] == "squeeze_conv":
        part = "se.conv_reduce" if found["number"] == "1" else "se.conv_expand"
    else:
        # A block without expansion begins with its depthwise convolution.
        expands = f"block{found['block']}_conv1" in names
        parts = ("conv_pw", "conv_dw", "conv_pwl") if expands else ("", "conv_dw", "conv_pw")
        number = int(found["number"])
        part = f"bn{number - (not expands)}" if found["kind"] == "bn" else parts[number - 1]
    return f"blocks.{stage}.{block}.{part}"


def trainer_cifar_resnet(name: str, names: Collection[str]) -> str | None:
    """CIFAR-ResNets as in the LC authors' https://github.com/paulgavrikov/tinytorchtrainer.

    This is its `openlth_resnet_20_16`. Its other ResNets use torchvision's names.
    """
    if name in ("stem_conv", "stem_bn", "classifier"):
        return {"stem_conv": "conv", "stem_bn": "bn", "classifier": "fc"}[name]
    if found := _BLOCK.fullmatch(name):
        return f"{_running_block(found, names)}.{found['kind']}{found['number']}"
    if found := _SHORTCUT.fullmatch(name):
        return f"{_running_block(found, names)}.shortcut.{int(found['kind'] == 'bn')}"
    return None


def trainer_mobilenet(name: str, names: Collection[str]) -> str | None:
    """The LC authors' `lowres_mobilenet_v2`. Only its head differs from torchvision's names."""
    return "fc.1" if name == "classifier" else torchvision_mobilenet(name, names)


def pflayer_transformer(name: str, names: Collection[str]) -> str | None:
    """ViT and PiT as in https://github.com/naver-ai/PfLayer, `vit_pf.py` and `pit_pf.py`."""
    is_pit = "stage2_conv" in names
    if name == "patch_embedding":
        return "patch_embed.conv" if is_pit else "patch_embed.proj"
    if name in _PLAIN_OF_TRANSFORMERS:
        return _PLAIN_OF_TRANSFORMERS[name]
    if found := _BETWEEN_STAGES.fullmatch(name):
        return f"pools.{int(found['stage']) - 2}.conv"
    found = _TRANSFORMER_BLOCK.fullmatch(name)
    if not found:
        return None
    stage = f"transformers.{int(found['stage']) - 1}." if is_pit else ""
    return f"{stage}blocks.{found['block']}.{_PARTS_OF_TRANSFORMERS[found['part']]}"


NAMINGS = {
    "torchvision's ResNet": torchvision_resnet,
    "timm's ResNet-D": timm_resnet_d,
    "PfLayer's ResNet": pflayer_resnet,
    "torchvision's MobileNet": torchvision_mobilenet,
    "timm's MobileNet": timm_mobilenet,
    "tinytorchtrainer's CIFAR-ResNet": trainer_cifar_resnet,
    "tinytorchtrainer's MobileNetV2": trainer_mobilenet,
    "PfLayer's ViT and PiT": pflayer_transformer,
}

#: The epsilon of batch normalization, in networks that have another one than ours.
EPSILONS = {"timm's MobileNet": 1e-5}

# The blocks of each stage.
_TIMM_STAGES = {"v2": (1, 2, 3, 4, 3, 3, 1), "v3": (1, 2, 3, 4, 2, 3)}
_PLAIN = {"stem_conv": "conv1", "stem_bn": "bn1", "classifier": "fc"}
_DEEP_STEM = {
    "stem_conv1": "conv1.0",
    "stem_bn1": "conv1.1",
    "stem_conv2": "conv1.3",
    "stem_bn2": "conv1.4",
    "stem_conv3": "conv1.6",
    "stem_bn3": "bn1",
}
_PLAIN_OF_TRANSFORMERS = {
    "position_embedding": "pos_embed",
    "norm": "norm",
    "classifier": "head",
}
_PARTS_OF_TRANSFORMERS = {
    "attention": "attn",
    "expand": "attn.qkv",
    "project": "attn.proj",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp1": "mlp.fc1",
    "mlp2": "mlp.fc2",
}
_PARTS_OF_PFLAYER = {"1": "reduction_block", "2": "conv_block", "3": "expansion_block"}


def _shortcut(name, first):
    found = _SHORTCUT.fullmatch(name)
    if not found:
        return None
    index = first + (found["kind"] == "bn")
    return f"layer{found['stage']}.{found['block']}.downsample.{index}"


def _hybrid(names):
    return any(name.endswith("_conv2_pool") for name in names)


def _running_block(found, names):
    """Returns the name of a block. Blocks are numbered through all stages."""
    earlier = {
        (other["stage"], other["block"])
        for other in map(_BLOCK.fullmatch, names)
        if other and int(other["stage"]) < int(found["stage"])
    }
    return f"blocks.{len(earlier) + int(found['block'])}"
