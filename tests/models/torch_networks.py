"""Every published network, in Keras and in PyTorch, and how far apart their logits are.

`python -m tests.models.torch_networks` prints the table at full size.
"""

import contextlib
import dataclasses
import functools
import io
import pathlib
import tarfile
from collections.abc import Callable

import keras
import numpy as np
import torch

import keras_lc
from tests.models import torch_mobilenet, torch_resnet

SAMPLE = pathlib.Path(__file__).parents[3] / "shared/data/imagenet-sample.tar"
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])
BASIC, BOTTLENECK = torch_resnet.BasicBlock, torch_resnet.Bottleneck
R18, R34, R50, R101 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3)


@dataclasses.dataclass(frozen=True)
class Network:
    """A builder of `keras_lc` and its PyTorch twin; both take the same further arguments."""

    build: Callable
    twin: Callable
    parameters: int | None

    @property
    def takes_width(self):
        """Whether a narrow version tests as much: not of ResNeXt, nor of MobileNets."""
        return self.build.func is keras_lc.ResNet and self.build.keywords.get("variant") != "next"


def _resnet(parameters, depth, block, layers, *, twin=None, **keras_arguments):
    return Network(
        functools.partial(keras_lc.ResNet, depth, **keras_arguments),
        functools.partial(torch_resnet.ResNet, block, layers, **(twin or {})),
        parameters,
    )


def _small_resnet(*arguments, twin=None, **keras_arguments):
    shared = {"low_resolution": True, "classes": 10}
    return _resnet(*arguments, twin={**shared, **(twin or {})}, **shared, **keras_arguments)


NETWORKS = {
    "resnet_18": _resnet(11_689_512, 18, BASIC, R18),
    "resnet_34": _resnet(21_797_672, 34, BASIC, R34),
    "resnet_50": _resnet(25_557_032, 50, BOTTLENECK, R50),
    "resnet_101": _resnet(44_549_160, 101, BOTTLENECK, R101),
    "resnext_50_32x4d": _resnet(
        25_028_904, 50, BOTTLENECK, R50, variant="next", twin={"groups": 32, "group_width": 4}
    ),
    "wide_resnet_50_2": _resnet(
        68_883_240, 50, BOTTLENECK, R50, variant="wide", twin={"group_width": 128}
    ),
    "resnet_18d": _resnet(11_708_744, 18, BASIC, R18, variant="d", twin={"deep": True}),
    "resnet_50d": _resnet(25_576_264, 50, BOTTLENECK, R50, variant="d", twin={"deep": True}),
    # Not in the paper to the digit: 14.2 and 17.3 million.
    "resnet_50_max": _resnet(None, 50, BOTTLENECK, R50, spatial="max", twin={"pf": "max"}),
    "resnet_50_hybrid": _resnet(None, 50, BOTTLENECK, R50, spatial="hybrid", twin={"pf": "hybrid"}),
    "mobilenet_v2": Network(
        functools.partial(keras_lc.MobileNetV2), torch_mobilenet.MobileNetV2, 3_504_872
    ),
    "mobilenet_v3_large": Network(
        functools.partial(keras_lc.MobileNetV3Large), torch_mobilenet.MobileNetV3Large, 5_483_032
    ),
    # The same networks with timm's names.
    "mobilenetv2_100": Network(
        functools.partial(keras_lc.MobileNetV2), torch_mobilenet.TimmMobileNetV2, 3_504_872
    ),
    "mobilenetv3_large_100": Network(
        functools.partial(keras_lc.MobileNetV3Large),
        torch_mobilenet.TimmMobileNetV3Large,
        5_483_032,
    ),
}

# Those for small images of the LC paper's authors, by the names in their trainer, with the
# parameters counted there.
SMALL_NETWORKS = {
    "lowres_resnet14": _small_resnet(2_777_674, 14, BASIC, (2, 2, 2)),
    "lowres_resnet18": _small_resnet(11_173_962, 18, BASIC, R18),
    "lowres_resnet34": _small_resnet(21_282_122, 34, BASIC, R34),
    "lowres_resnet50": _small_resnet(23_520_842, 50, BOTTLENECK, R50),
    "lowres_resnet101": _small_resnet(42_512_970, 101, BOTTLENECK, R101),
    "lowres_wide_resnet50_2": _small_resnet(
        66_847_050, 50, BOTTLENECK, R50, variant="wide", twin={"group_width": 128}
    ),
    "openlth_resnet_20_16": Network(
        functools.partial(keras_lc.CIFARResNet, 20),
        functools.partial(torch_resnet.CIFARResNet, 20),
        272_474,
    ),
    "lowres_mobilenet_v2": Network(
        functools.partial(keras_lc.MobileNetV2, low_resolution=True, classes=10),
        torch_mobilenet.SmallMobileNetV2,
        2_236_682,
    ),
}


@contextlib.contextmanager
def in_float64():
    """Builds and computes in float64, so that the comparison shows the smallest difference."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def as_trained(twin, images):
    """Gives a network weights and statistics as training leaves them, and logits of up to 1."""
    generator = torch.Generator().manual_seed(0)
    for module in twin.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.2, 1.0, generator=generator)
            torch.nn.init.normal_(module.bias, std=0.2, generator=generator)
            module.momentum = 1.0
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.1, generator=generator)
    twin.train()
    with torch.no_grad():
        twin(to_torch(images))
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            factor = torch.empty_like(module.running_var).uniform_(0.8, 1.25, generator=generator)
            # No channel that varies hardly at all, whose rounding would be scaled up.
            module.running_var.mul_(factor).add_(module.running_var.mean())
    twin.eval()
    classifier = [m for m in twin.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        largest = twin(to_torch(images)).abs().max()
        classifier.weight.div_(largest)
        classifier.bias.div_(largest)
    return twin


def to_torch(images):
    """What PyTorch's networks see: channels first, normalised by ImageNet's statistics."""
    x = (images / 255 - IMAGENET_MEAN) / IMAGENET_STD
    return torch.from_numpy(x.transpose(0, 3, 1, 2).astype("float32"))


def pictures(count, size):
    """Centre crops of ImageNet's sample, or of two photographs where it is not there."""
    from PIL import Image

    if SAMPLE.exists():
        with tarfile.open(SAMPLE) as tar:
            names = sorted(name for name in tar.getnames() if name.endswith(".JPEG"))[:count]
            opened = [Image.open(io.BytesIO(tar.extractfile(name).read())) for name in names]
    else:
        from sklearn.datasets import load_sample_image

        photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
        opened = [Image.fromarray(photos[i % 2][30 * i :]) for i in range(count)]
    squares = []
    for image in opened:
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, top, left + side, top + side)).resize((size, size))
        squares.append(np.asarray(square))
    return np.stack(squares)


def compare(network, images, **arguments):
    """Builds both, loads the PyTorch one's weights, and returns the Keras one and all logits.

    Those of the model, of PyTorch in float64 and of PyTorch in float32.
    """
    shared = ("width", "classes", "low_resolution", "stem_pool")
    twin = network.twin(**{key: arguments[key] for key in shared if key in arguments})
    as_trained(twin, images)
    model = network.build(
        input_shape=images.shape[1:],
        data_format="channels_last",
        mean=tuple(255 * IMAGENET_MEAN),
        std=tuple(255 * IMAGENET_STD),
        **arguments,
    )
    keras_lc.load_torch_weights(model, twin.state_dict())
    logits = keras.ops.convert_to_numpy(model(images, training=False))
    x = to_torch(images)
    with torch.no_grad():
        single, double = twin(x).numpy(), twin.double()(x.double()).numpy()
    return model, logits, double, single


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def main():
    images = pictures(4, 128)
    print("Logits of up to 1; differences to PyTorch in float64")
    print("model, parameters, expected, largest difference, PyTorch's own in float32")
    for name, network in {**NETWORKS, **SMALL_NETWORKS}.items():
        model, logits, exact, single = compare(network, images)
        parameters = count(model.trainable_variables)
        differences = [f"{np.abs(other - exact).max():.1e}" for other in (logits, single)]
        print(name, parameters, network.parameters, *differences, flush=True)
        keras.utils.clear_session()


if __name__ == "__main__":
    main()
