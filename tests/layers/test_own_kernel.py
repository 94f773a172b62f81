"""`OwnKernel`: what is asked of a layer of one's own, so that it is a convolution everywhere."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_lc
from keras_lc.analysis import count_multiplications, filter_report, lc_rate
from keras_lc.layers import OwnKernel
from tests import oracles


class Symmetric(OwnKernel):
    """A kernel that is equal to its mirror image. The variable is not."""

    @property
    def kernel(self):
        trained = super().kernel
        return (trained + ops.flip(trained, axis=0)) / 2


class SymmetricVariable(OwnKernel):
    """The same where Keras' class has no property for its kernel."""

    @property
    def kernel(self):
        return (self.kernel_variable + ops.flip(self.kernel_variable, axis=0)) / 2

    @kernel.setter
    def kernel(self, variable):
        self.kernel_variable = variable


@keras.saving.register_keras_serializable("tests")
class SymmetricConv1D(Symmetric, keras.layers.Conv1D):
    pass


@keras.saving.register_keras_serializable("tests")
class SymmetricConv2D(Symmetric, keras_lc.layers.Conv2D):
    pass


@keras.saving.register_keras_serializable("tests")
class SymmetricConv3D(Symmetric, keras.layers.Conv3D):
    pass


@keras.saving.register_keras_serializable("tests")
class SymmetricDepthwise(SymmetricVariable, keras_lc.layers.DepthwiseConv2D):
    pass


@keras.saving.register_keras_serializable("tests")
class SymmetricTransposed(SymmetricVariable, keras.layers.Conv2DTranspose):
    pass


@keras.saving.register_keras_serializable("tests")
class TwoBranches(keras.layers.Layer):
    """The sum of a 3×3 and a 1×1 convolution, which is one of 3×3. It derives from neither."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.wide = keras.layers.Conv2D(filters, 3, padding="same", name="wide")
        self.narrow = keras.layers.Conv2D(filters, 1, use_bias=False, name="narrow")

    def build(self, input_shape):
        self.wide.build(input_shape)
        self.narrow.build(input_shape)

    def call(self, x):
        return self.wide(x) + self.narrow(x)

    @property
    def kernel(self):
        return self.wide.kernel + ops.pad(self.narrow.kernel, [(1, 1), (1, 1), (0, 0), (0, 0)])

    @property
    def bias(self):
        return self.wide.bias

    def plain_layer(self):
        return keras.layers.Conv2D(self.wide.filters, 3, padding="same", name=self.name)

    def get_config(self):
        return {**super().get_config(), "filters": self.wide.filters}


def model_of(layer, shape=(6, 6, 4)):
    model = keras.Sequential([keras.Input(shape), layer])
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return model


def outputs(model):
    images = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:]))
    return oracles.numpy(model(images.astype("float32")))


FIRST = dict(data_format="channels_first")
CONVOLUTIONS = {
    "Conv1D": (lambda **k: SymmetricConv1D(6, 3, **k), (8, 4)),
    "Conv1D, causal": (lambda **k: SymmetricConv1D(6, 3, padding="causal", **k), (8, 4)),
    "Conv2D": (lambda **k: SymmetricConv2D(6, (3, 2), strides=2, **k), (6, 6, 4)),
    "Conv2D, groups": (lambda **k: SymmetricConv2D(6, 3, groups=2, **k), (6, 6, 4)),
    "Conv2D, no bias": (lambda **k: SymmetricConv2D(6, 3, use_bias=False, **k), (6, 6, 4)),
    "Conv3D": (lambda **k: SymmetricConv3D(6, 3, activation="relu", **k), (4, 4, 4, 2)),
    "DepthwiseConv2D": (lambda **k: SymmetricDepthwise(3, depth_multiplier=2, **k), (6, 6, 4)),
    "Conv2DTranspose": (lambda **k: SymmetricTransposed(6, 3, strides=2, **k), (4, 4, 3)),
    "no convolution of Keras": (lambda **k: TwoBranches(6, **k), (6, 6, 4)),
    "Conv2D, channels_first": (lambda **k: SymmetricConv2D(6, 3, **FIRST, **k), (4, 6, 6)),
}
each = pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)


@each
def test_fold_makes_it_the_layer_of_keras_with_its_kernel(layer, shape):
    model = model_of(layer(name="conv"), shape)
    folded = keras_lc.fold(model)
    plain = folded.get_layer("conv")
    assert type(plain).__module__.startswith("keras.")
    np.testing.assert_allclose(outputs(folded), outputs(model), rtol=0, atol=2e-5)
    np.testing.assert_array_equal(
        oracles.numpy(plain.kernel), oracles.numpy(model.get_layer("conv").kernel)
    )


@pytest.mark.once
@each
def test_its_file_holds_its_variables_and_not_the_kernel(layer, shape, tmp_path):
    model = model_of(layer(name="conv"), shape)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for variable, stored in zip(loaded.variables, model.variables, strict=True):
        np.testing.assert_array_equal(oracles.numpy(variable), oracles.numpy(stored))


@pytest.mark.once
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_the_folded_layer_computes_in_its_precision(dtype):
    model = model_of(SymmetricConv2D(6, 3, dtype=dtype, name="conv"))
    folded = keras_lc.fold(model)
    assert folded.get_layer("conv").dtype_policy.name == dtype
    np.testing.assert_allclose(
        outputs(folded).astype("float32"), outputs(model).astype("float32"), rtol=0, atol=0.1
    )


@pytest.mark.once
@pytest.mark.parametrize(
    "name",
    ["Conv2D", "Conv2D, groups", "DepthwiseConv2D", "Conv2DTranspose", "no convolution of Keras"],
)
def test_the_reports_are_those_of_the_folded_model(name):
    layer, shape = CONVOLUTIONS[name]
    model = model_of(layer(name="conv"), shape)
    folded = keras_lc.fold(model)
    assert count_multiplications(model) == count_multiplications(folded)
    for report in (filter_report, lambda model: lc_rate(model).layers):
        (own,), (plain,) = report(model), report(folded)
        assert own.pop("type") == type(model.get_layer("conv")).__name__
        del plain["type"]
        assert own == plain


@pytest.mark.once
class TestSubclassThatOverridesCall:
    """It may compute something else, so what its base class says of it does not count."""

    @keras.saving.register_keras_serializable("tests")
    class Doubled(SymmetricConv2D):
        def call(self, inputs):
            return 2 * super().call(inputs)

    @keras.saving.register_keras_serializable("tests")
    class Renamed(SymmetricConv2D):
        def call(self, inputs):
            return super().call(inputs)

        def plain_layer(self):
            return super().plain_layer()

    def test_it_is_refused(self):
        with pytest.raises(ValueError, match=r"conv \(Doubled: .*define `plain_layer`"):
            keras_lc.fold(model_of(self.Doubled(6, 3, name="conv")))

    def test_it_folds_if_it_says_itself_what_it_equals(self):
        model = model_of(self.Renamed(6, 3))
        np.testing.assert_allclose(outputs(keras_lc.fold(model)), outputs(model), atol=2e-5)


@pytest.mark.once
def test_one_without_a_convolution_of_keras_must_say_what_it_equals():
    class Other(OwnKernel, keras.layers.Layer):
        pass

    with pytest.raises(NotImplementedError, match=r"Other \(layer 'own'\) .*define `plain_layer`"):
        Other(name="own").plain_layer()


@pytest.mark.once
def test_weights_of_torch_are_refused_for_a_kernel_that_is_no_variable():
    class Operator(keras_lc.spatial.SpatialOperator):
        def layer(self, filters, seed, **geometry):
            return SymmetricConv2D(filters, use_bias=False, **geometry)

    model = keras_lc.CIFARResNet(8, width=4, spatial=Operator(), input_shape=(8, 8, 3))
    with pytest.raises(ValueError, match=r"layers whose kernels are products.* has: stem_conv"):
        keras_lc.load_torch_weights(model, {})
