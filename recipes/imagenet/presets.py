"""Networks and recipes of the papers by name: the settings of `--preset` and `--recipe`."""

import dataclasses

from ..common.settings import operator_name

_SGD90 = {
    "optimizer": "sgd", "schedule": "steps", "loss": "crossentropy", "learning_rate": 0.2,
    "weight_decay": 1e-4, "epochs": 90, "warmup_epochs": 3, "batch_size": 1024,
    "augmentation": "light", "crop_ratio": 0.875,
}  # fmt: skip
_DEIT = {
    "optimizer": "adamw", "loss": "crossentropy", "label_smoothing": 0.1, "learning_rate": 1e-3,
    "final_learning_rate": 1e-5, "weight_decay": 0.05, "batch_size": 1024, "augmentation": "deit",
    "crop_ratio": 0.875, "stochastic_depth": 0.1,
}  # fmt: skip
#: By the value of `--recipe`: what differs from A2, which is the default.
RECIPES = {
    "a2": {},
    "sgd90": _SGD90,
    "sgd90_cutmix": {**_SGD90, "augmentation": "cutmix"},
    "deit": _DEIT,
    "deit_cutmix": {**_DEIT, "augmentation": "cutmix"},
    "deit_light": {**_DEIT, "augmentation": "light"},
}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings of a network, and its published accuracy.

    Args:
        settings: Dict of arguments.
        published: String: ImageNet top-1 / top-5 accuracy in percent, and its source.
        recipe: String, the recipe of the published accuracy, from `RECIPES`.
    """

    settings: dict
    published: str
    recipe: str = "a2"


_FIGURE_1 = "LC paper, Figure 1"
_FREE = "parameter-free paper"
_R50 = {"depth": 50, "stochastic_depth": 0.05}


def _table_2(top1, top5, **settings):
    return Preset(
        {"depth": 18, "variant": "d", **settings}, f"{top1:.2f} / {top5:.2f}, LC paper, Table 2"
    )


def _free_resnet(spatial, top1, top5):
    return Preset({"depth": 50, "spatial": spatial}, f"{top1} / {top5}, {_FREE}", "sgd90")


def _transformer(network, spatial, top1=None):
    published = "no figure" if top1 is None else f"{top1:.1f} / -, {_FREE}"
    return Preset({"network": network, "spatial": spatial}, published, "deit")


PRESETS = {
    "r18d": _table_2(72.60, 90.69, spatial="learned"),
    "r18d-frozen": _table_2(37.85, 61.37, spatial="frozen"),
    "r18d-lcx1": _table_2(61.28, 83.11, expansion=1),
    "r18d-lcx8": _table_2(71.30, 90.03, expansion=8),
    "r18d-lcx64": _table_2(72.46, 90.57, expansion=64),
    "r18d-lcx128": _table_2(72.31, 90.64, expansion=128),
    "r18d-learnable-x1": _table_2(71.82, 90.44, expansion=1, frozen=False),
    "r18d-learnable-x8": _table_2(71.88, 90.40, expansion=8, frozen=False),
    "r18d-learnable-x64": _table_2(71.94, 90.41, expansion=64, frozen=False),
    "r18d-learnable-x128": Preset(
        {"depth": 18, "variant": "d", "expansion": 128, "frozen": False},
        "did not fit in the memory of 4 A100 of 40 GB, LC paper, Table 2",
    ),
    "r50": _free_resnet("learned", 76.2, 93.8),
    "r50-max": _free_resnet("max", 74.3, 92.0),
    "r50-hybrid": _free_resnet("hybrid", 77.1, 93.1),
    "vit-s": _transformer("vit", "learned"),
    "vit-s-max": _transformer("vit", "max", 80.0),
    "pit-s": _transformer("pit", "learned"),
    "pit-s-max": _transformer("pit", "max", 80.8),
    "r18-frozen": Preset({"depth": 18, "spatial": "frozen"}, _FIGURE_1),
    "r50-frozen": Preset({**_R50, "spatial": "frozen"}, _FIGURE_1),
    "r50d-frozen": Preset({**_R50, "variant": "d", "spatial": "frozen"}, _FIGURE_1),
    "resnext50-frozen": Preset({**_R50, "variant": "next", "spatial": "frozen"}, _FIGURE_1),
    "wide-r50-frozen": Preset({**_R50, "variant": "wide", "spatial": "frozen"}, _FIGURE_1),
    "mobilenet-v2-frozen": Preset({"network": "mobilenet_v2", "spatial": "frozen"}, _FIGURE_1),
    "mobilenet-v3-large-frozen": Preset(
        {"network": "mobilenet_v3_large", "spatial": "frozen"}, _FIGURE_1
    ),
}


def preset_operator(name: str) -> tuple[str, int | None]:
    """Returns the name of a preset's spatial operator in results, and its expansion or `None`."""
    settings = PRESETS[name].settings
    spatial = settings.get("spatial", "lc")
    return operator_name(spatial, settings.get("frozen", True)), settings.get("expansion")


def table() -> str:
    """Returns the names with their published accuracy and its recipe, one line each."""
    width = max(map(len, PRESETS))
    return "\n".join(
        f"  {name:{width}}  {preset.published} (--recipe {preset.recipe})"
        for name, preset in PRESETS.items()
    )
