"""The numbers of the papers.

Accuracies are in percent. Those of the LC paper (arXiv 2301.11360v2) have errors if it has them.
"""

from ..common import checks, settings

# Rows and columns have the same names as in the results of `recipes.reproduce`.
OPERATORS = {name: operator.label for name, operator in settings.OPERATORS.items()}
LEARNED, FROZEN = OPERATORS["learned"], OPERATORS["frozen"]
LC_LEARNABLE, LC_FROZEN = OPERATORS["lc_learnable"], OPERATORS["lc_frozen"]

DATASETS = {name: label for name, label in checks.DATASETS.items() if name != "digits"}
BETWEEN = settings.BETWEEN
#: Of Figure 1.
NETWORKS = {name: label for name, label in settings.NETWORKS.items() if name != "resnet26"}
#: Networks of Figure 1 right of its divider: they combine the filters of spatial convolutions.
COMBINING = ("ResNet-50", "ResNet-101", "Wide-ResNet-50x2", "MobileNet v2", "ResNet-50d",
             "ResNeXt-50-32x4d", "MobileNet v3 L")  # fmt: skip
# By the name of the preset of recipes.imagenet with frozen filters.
IMAGENET_NETWORKS = {
    "r18-frozen": "ResNet-18",
    "r50-frozen": "ResNet-50",
    "r50d-frozen": "ResNet-50d",
    "resnext50-frozen": "ResNeXt-50-32x4d",
    "wide-r50-frozen": "Wide-ResNet-50x2",
    "mobilenet-v2-frozen": "MobileNet v2",
    "mobilenet-v3-large-frozen": "MobileNet v3 L",
}

#: ResNet-20-16, expansion 128, 4 runs.
TABLE_1 = {
    ("CIFAR-10", LEARNED): (91.60, 0.23),
    ("CIFAR-10", LC_LEARNABLE): (91.39, 0.29),
    ("CIFAR-10", LC_FROZEN): (91.89, 0.10),
    ("CIFAR-100", LEARNED): (60.84, 0.52),
    ("CIFAR-100", LC_LEARNABLE): (59.44, 0.55),
    ("CIFAR-100", LC_FROZEN): (61.31, 0.74),
    ("Fashion-MNIST", LEARNED): (93.65, 0.18),
    ("Fashion-MNIST", LC_LEARNABLE): (93.44, 0.18),
    ("Fashion-MNIST", LC_FROZEN): (93.65, 0.06),
    ("SVHN", LEARNED): (96.36, 0.04),
    ("SVHN", LC_LEARNABLE): (96.31, 0.08),
    ("SVHN", LC_FROZEN): (96.34, 0.11),
}

_TABLE_2 = {
    "ResNet-18d": ((37.85, 61.37), (72.60, 90.69)),
    "LCx1": ((61.28, 83.11), (71.82, 90.44)),
    "LCx8": ((71.30, 90.03), (71.88, 90.40)),
    "LCx64": ((72.46, 90.57), (71.94, 90.41)),
    "LCx128": ((72.31, 90.64), None),
}
#: The lines of table 2, by the name of the preset of recipes.imagenet.
TABLE_2_NETWORKS = {
    "r18d": "ResNet-18d",
    "r18d-frozen": "ResNet-18d",
    **{
        f"r18d-{kind}{expansion}": f"LCx{expansion}"
        for kind in ("lcx", "learnable-x")
        for expansion in (1, 8, 64, 128)
    },
}

#: ResNet-18d on ImageNet, one run; the learnable LCx128 did not fit into 4 A100.
TABLE_2 = {
    (model, f"{kind}, {top}"): (value, None)
    for model, kinds in _TABLE_2.items()
    for kind, values in zip(("frozen", "learnable"), kinds, strict=True)
    if values is not None
    for top, value in zip(("top-1", "top-5"), values, strict=True)
}

#: ResNet-LC-20-16x64 on CIFAR-10.
TABLE_3 = {
    ("none", LC_FROZEN): (91.71, 0.08),
    ("none", LC_LEARNABLE): (91.18, 0.10),
    ("ReLU", LC_FROZEN): (92.78, 0.31),
    ("ReLU", LC_LEARNABLE): (93.38, 0.15),
    ("BatchNorm", LC_FROZEN): (91.50, 0.15),
    ("BatchNorm", LC_LEARNABLE): (91.06, 0.23),
    ("BatchNorm + ReLU", LC_FROZEN): (93.26, 0.18),
    ("BatchNorm + ReLU", LC_LEARNABLE): (94.72, 0.16),
}

#: Points of Figure 4a that are in the tables: expansion (the plain network has none), operator.
FIGURE_4 = {
    (None, LEARNED): TABLE_1["CIFAR-10", LEARNED],
    **{(64, kind): TABLE_3["none", kind] for kind in (LC_FROZEN, LC_LEARNABLE)},
    **{(128, kind): TABLE_1["CIFAR-10", kind] for kind in (LC_FROZEN, LC_LEARNABLE)},
}

#: Percentage points that freezing costs, Section 3.
FIGURE_1_DROPS = {
    **{("cifar10", network): "at least 16" for network in NETWORKS.values()},
    **{
        ("cifar10", network): "1.6 to 1.9"
        for network in ("ResNet-50", "ResNet-101", "Wide-ResNet-50x2", "MobileNet v2")
    },
    **{("imagenet", network): "3.21 to 8.19" for network in IMAGENET_NETWORKS.values()},
    ("imagenet", "ResNet-18"): "35.34",
}

# --- the parameter-free paper (arXiv 2202.02777), from the README of naver-ai/PfLayer ---

#: The lines of its first table, by the name of the preset of recipes.imagenet.
PF_RESNETS = {"r50": "R50", "r50-max": "R50-max", "r50-hybrid": "R50-hybrid"}
#: Parameters (millions), FLOPs (thousands of millions), milliseconds on a GPU, top-1, top-5.
PF_RESNET = {
    "R50": (25.6, 4.1, 8.7, 76.2, 93.8),
    "R50-max": (14.2, 2.2, 6.8, 74.3, 92.0),
    "R50-hybrid": (17.3, 2.6, 7.3, 77.1, 93.1),
    "R50-max+": (14.2, 2.2, 6.8, 75.5, 92.1),
    "R50-hybrid+": (17.3, 2.6, 7.3, 78.0, 93.5),
}

#: The lines of its second table.
PF_TRANSFORMER_PRESETS = {"r50": "R50", "vit-s-max": "ViT-S-max", "pit-s-max": "PiT-S-max"}
#: Its columns, by the name of the recipe.
PF_RECIPES = {
    "sgd90": "vanilla", "sgd90_cutmix": "+ CutMix", "deit": "+ DeiT",
    "deit_light": "vanilla", "deit_cutmix": "+ CutMix",
}  # fmt: skip
PF_TRANSFORMERS = {
    ("R50", "vanilla"): (76.2, None),
    ("R50", "+ CutMix"): (77.6, None),
    ("R50", "+ DeiT"): (78.8, None),
    ("ViT-S-max", "vanilla"): (74.2, None),
    ("ViT-S-max", "+ CutMix"): (77.3, None),
    ("ViT-S-max", "+ DeiT"): (80.0, None),
    ("PiT-S-max", "vanilla"): (75.7, None),
    ("PiT-S-max", "+ CutMix"): (78.1, None),
    ("PiT-S-max", "+ DeiT"): (80.8, None),
}
#: Images in a second, as the authors write it; they do not name the two machines.
PF_THROUGHPUT = {"R50": "962 / 112", "ViT-S-max": "763 / 96", "PiT-S-max": "1000 / 92"}
