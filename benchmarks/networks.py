"""The networks that the benchmarks compare. Each has a name, so that a child can build it."""

import dataclasses
import re

import keras

import keras_lc

_NAME = re.compile(
    r"(plain|full|compact|learnable|two-layer|two-layer-learnable|folded|folded\+bn)(?:-x(\d+))?"
)


def make(
    name: str,
    depth: int = 20,
    width: int = 16,
    image_size: int = 32,
    network: str = "cifar",
    variant: str | None = None,
) -> keras.Model:
    """Returns a network.

    Args:
        name: `"plain"`; `"full-x128"`, `"compact-x128"` and `"learnable-x128"`, the forms of an
            LC network with an expansion; `"two-layer-x8"` and `"two-layer-learnable-x8"`, the same
            with stock layers; `"folded-x128"` and `"folded+bn-x128"`.
        depth, width: Integers.
        image_size: Integer, in pixels.
        network: `"cifar"`, or `"resnet"` for ImageNet.
        variant: String or `None`, the variant of the ResNet for ImageNet.
    """
    match = _NAME.fullmatch(name)
    if match is None or (match[1] == "plain") != (match[2] is None):
        raise ValueError(f"`name` must be 'plain' or like 'full-x128'. Received: name={name!r}")
    form, expansion = match[1], int(match[2] or 1)
    spatial = {
        "plain": keras_lc.spatial.Learned(),
        "two-layer": _TwoLayers(expansion),
        "two-layer-learnable": _TwoLayers(expansion, frozen=False),
    }.get(form)
    if spatial is None:
        spatial = keras_lc.spatial.LC(
            expansion=expansion, compact=form == "compact", frozen=form != "learnable"
        )
    size = dict(depth=depth, width=width, input_shape=(image_size, image_size, 3), seed=0)
    if network == "resnet":
        model = keras_lc.ResNet(variant=variant, spatial=spatial, **size)
    else:
        model = keras_lc.CIFARResNet(spatial=spatial, **size)
    if form.startswith("folded"):
        return keras_lc.fold(model, batch_norm=form == "folded+bn")
    return model


@dataclasses.dataclass(frozen=True)
class _TwoLayers(keras_lc.spatial.SpatialOperator):
    """A wide convolution, then a 1×1 convolution. Feature maps are `expansion` times as large."""

    expansion: int
    frozen: bool = True

    def layer(self, filters, seed, **geometry):
        name = geometry.pop("name")
        basis = keras.layers.Conv2D(
            filters * self.expansion,
            use_bias=False,
            trainable=not self.frozen,
            name=f"{name}_basis",
            **geometry,
        )
        combination = keras.layers.Conv2D(filters, 1, use_bias=False, name=name)
        return lambda x: combination(basis(x))
