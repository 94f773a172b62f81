"""The parts of vision transformers, written once for all of them."""

import dataclasses
import numbers
from collections.abc import Sequence

import keras
import numpy as np

from keras_lc import spatial as spatial_operators
from keras_lc.layers.axes import standardize_data_format
from keras_lc.layers.initializers import FanInUniform
from keras_lc.layers.position_embedding import PositionEmbedding
from keras_lc.models.classifier import Classifier
from keras_lc.models.ends import classifier_head, image_input
from keras_lc.models.residual import Builder, drop_rates_of_stages
from keras_lc.seeds import derive_seed, resolve_seed
from keras_lc.spatial import SpatialOperator
from keras_lc.training.recipe import DEIT
from keras_lc.types import Activation, Shape

_MLP_RATIO = 4
# For the linear layer before a max-pool.
_POOL_RATIO = 3
# With this fan-in, `FanInUniform` has a standard deviation of 1 / √(3 · 833) = 0.02.
_FAN_IN_OF_002 = 833


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks of one width.

    Args:
        width: Integer, the channels of each patch.
        heads: Integer, the heads of self-attention.
        blocks: Integer, the number of blocks.
    """

    width: int
    heads: int
    blocks: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """A network: its patches and its stages. Each side is halved between two stages.

    Args:
        family, size: Strings, the parts of the network's name.
        patch_size, patch_strides: Integers, in pixels.
        stages: The stages.
    """

    family: str
    size: str
    patch_size: int
    patch_strides: int
    stages: Sequence[Stage]


@dataclasses.dataclass(frozen=True)
class TransformerBuilder(Builder):
    """The settings that all layers of one transformer share. Its maps are `channels_last`.

    Args:
        dropout: Number, the rate of dropout.
    """

    dropout: float = 0.0

    def patches(
        self, x: keras.KerasTensor, width: int, size: int, strides: int
    ) -> keras.KerasTensor:
        """Returns a vector for each patch of the images, with the position embedding added."""
        x = self.for_stem(size).spatial_conv(
            x, width, strides, "patch_embedding", padding=0, use_bias=True
        )
        x = PositionEmbedding(
            FanInUniform(derive_seed(self.seed, "position_embedding"), fan_in=_FAN_IN_OF_002),
            name="position_embedding",
        )(x)
        return self.drop_out(x, "position")

    def halve(self, x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
        """Halves each side with a depthwise convolution of stride 2 (PiT, Section 3).

        The convolution makes several output channels from each input channel.
        """
        return self.for_stem(3).spatial_conv(x, width, 2, name, groups=x.shape[-1], use_bias=True)

    def block(
        self,
        x: keras.KerasTensor,
        heads: int,
        name: str,
        pools: bool = False,
        drop_rate: float = 0.0,
    ) -> keras.KerasTensor:
        """Mixes the patches, then applies a perceptron to each. Both have a shortcut.

        Args:
            heads: Integer, the heads of self-attention.
            pools: Boolean, whether the spatial operator replaces self-attention.
        """
        y = self.normalize(x, f"{name}_norm1")
        if pools:
            y = self.pool(y, name)
        else:
            y = self.attend(y, heads, f"{name}_attention")
        x = self.add(self.drop_out(y, f"{name}_mix"), x, f"{name}_mix", drop_rate)
        y = self.normalize(x, f"{name}_norm2")
        y = self.dense(y, _MLP_RATIO * x.shape[-1], f"{name}_mlp1", "gelu")
        y = self.drop_out(y, f"{name}_hidden")
        y = self.dense(y, x.shape[-1], f"{name}_mlp2")
        return self.add(self.drop_out(y, f"{name}_mlp"), x, f"{name}_mlp", drop_rate)

    def attend(self, x: keras.KerasTensor, heads: int, name: str) -> keras.KerasTensor:
        """Self-attention (Vaswani et al., 2017)."""
        height, width, channels = x.shape[1:]
        x = keras.layers.Reshape((height * width, channels), name=f"{name}_tokens")(x)
        layer = keras.layers.MultiHeadAttention(heads, channels // heads, name=name)
        x = layer(x, x)
        # One seed in the layer's config would give queries, keys and values the same numbers.
        for part in ("query", "key", "value", "output"):
            kernel = getattr(layer, f"{part}_dense").kernel
            kernel.assign(self._initializer(f"{name}_{part}")(kernel.shape, kernel.dtype))
        return keras.layers.Reshape((height, width, channels), name=f"{name}_map")(x)

    def pool(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """A pool between two linear layers (Han et al., 2022, Section 5)."""
        channels = x.shape[-1]
        x = self.dense(x, _POOL_RATIO * channels, f"{name}_expand", "gelu")
        x = self.spatial_conv(x, x.shape[-1], 1, name)
        x = keras.layers.Activation("gelu", name=f"{name}_gelu")(x)
        return self.dense(x, channels, f"{name}_project")

    def dense(
        self, x: keras.KerasTensor, units: int, name: str, activation: str | None = None
    ) -> keras.KerasTensor:
        return keras.layers.Dense(
            units, activation=activation, kernel_initializer=self._initializer(name), name=name
        )(x)

    def normalize(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        return keras.layers.LayerNormalization(epsilon=1e-6, name=name)(x)

    def drop_out(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        if not self.dropout:
            return x
        seed = derive_seed(self.seed, f"{name}_dropout") % 2**31
        return keras.layers.Dropout(self.dropout, seed=seed, name=f"{name}_dropout")(x)

    def _initializer(self, name):
        return FanInUniform(derive_seed(self.seed, name), fan_in=_FAN_IN_OF_002)


def build(
    plan: Plan,
    *,
    spatial: str | SpatialOperator,
    input_shape: Shape,
    classes: int,
    include_preprocessing: bool,
    mean: float | Sequence[float] | np.ndarray | None,
    std: float | Sequence[float] | np.ndarray | None,
    augmentation: str | keras.layers.Layer | None,
    dropout: float,
    stochastic_depth: float,
    classifier_activation: Activation,
    data_format: str | None,
    seed: int | None,
    name: str | None,
) -> Classifier:
    """Builds a network from its plan. The other arguments are as in `keras_lc.ViT`."""
    spatial = spatial_operators.get(spatial)
    if isinstance(spatial, spatial_operators.Hybrid):
        raise ValueError(
            "`spatial` must not be 'hybrid' in a transformer. Only networks with bottlenecks "
            "(`keras_lc.ResNet(50)`) have a hybrid of pools and convolutions. Here, pass 'max'. "
            f"Received: spatial={spatial!r}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be at least 0 and below 1. Received: dropout={dropout!r}")
    rates = drop_rates_of_stages(stochastic_depth, [stage.blocks for stage in plan.stages])
    seed = resolve_seed(seed)
    data_format = standardize_data_format(data_format)
    inputs, x = image_input(
        input_shape,
        include_preprocessing,
        mean,
        std,
        augmentation,
        seed,
        data_format,
        low_resolution=False,
    )
    if data_format == "channels_first":
        x = keras.layers.Permute((2, 3, 1), name="channels_last")(x)
    _check_places(plan, x.shape[1:3], input_shape)

    def topology(x, spatial):
        build = TransformerBuilder(spatial, 3, seed, "channels_last", dropout=dropout)
        x = build.patches(x, plan.stages[0].width, plan.patch_size, plan.patch_strides)
        for number, (stage, stage_rates) in enumerate(zip(plan.stages, rates, strict=True), 1):
            if number > 1:
                x = build.halve(x, stage.width, f"stage{number}_conv")
            for block, rate in enumerate(stage_rates):
                # As in the authors' code, the first block of a stage keeps self-attention.
                pools = spatial.only_in_bottlenecks and block % 2 == 1
                x = build.block(x, stage.heads, f"stage{number}_block{block}", pools, rate)
        return build.normalize(x, "norm")

    x = topology(x, spatial.for_network(topology, x, seed))
    outputs = classifier_head(x, classes, classifier_activation, seed, "channels_last")
    name = name or spatial.network_name(plan.family, plan.size)
    return Classifier(inputs, outputs, seed=seed, recipe=DEIT, name=name)


def check_patch_size(patch_size: int, multiple: int = 1) -> None:
    """Raises `ValueError` if the patch size is not allowed."""
    whole = isinstance(patch_size, numbers.Integral) and not isinstance(patch_size, bool)
    if not whole or patch_size < 1 or patch_size % multiple:
        kind = "a positive integer" if multiple == 1 else "a positive even integer"
        raise ValueError(f"`patch_size` must be {kind}. Received: patch_size={patch_size!r}")


def _check_places(plan, size, input_shape):
    if None in size or min(size) < plan.patch_size:
        raise ValueError(
            "`input_shape` must have a known height and width, because each patch has its own "
            f"embedding. They must fit at least one patch of {plan.patch_size} pixels. "
            f"Received: input_shape={tuple(input_shape)}"
        )
