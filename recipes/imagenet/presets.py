"""Networks of the papers by name: the settings of each `--preset`."""

import dataclasses

from ..common.settings import operator_name


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings of a network, and its published accuracy.

    Args:
        settings: Dict of arguments.
        published: String: ImageNet top-1 / top-5 accuracy in percent, and its source.
    """

    settings: dict
    published: str


_FIGURE_1 = "LC paper, Figure 1"
_FREE = "parameter-free paper, 90 epochs"
_R50 = {"depth": 50, "stochastic_depth": 0.05}


def _table_2(top1, top5, **settings):
    return Preset(
        {"depth": 18, "variant": "d", **settings}, f"{top1:.2f} / {top5:.2f}, LC paper, Table 2"
    )


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
    "r50": Preset({**_R50, "spatial": "learned"}, f"76.2 / 93.8, {_FREE}"),
    "r50-max": Preset({**_R50, "spatial": "max"}, f"74.3 / 92.0, {_FREE}"),
    "r50-hybrid": Preset({**_R50, "spatial": "hybrid"}, f"77.1 / 93.1, {_FREE}"),
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
    """Returns the names with their published accuracy, one line each."""
    width = max(map(len, PRESETS))
    return "\n".join(f"  {name:{width}}  {preset.published}" for name, preset in PRESETS.items())
