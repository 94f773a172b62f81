"""`LCConv2D` is Conv2D with the basis followed by a 1×1 convolution with the combination."""

import contextlib
import copy
import json
import os
import pathlib
import subprocess
import sys
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
from absl.testing import parameterized
from keras import ops

import keras_lc
from keras_lc import LCConv2D
from tests import oracles
from tests.layer_test_case import LayerTestCase

ROOT = pathlib.Path(__file__).parents[2]
BACKEND = keras.backend.backend()
SHAPE = (2, 9, 8, 4)

GEOMETRIES = {
    "plain": {},
    "expansion": {"expansion": 8},
    "same": {"expansion": 2, "padding": "same"},
    "strides": {"expansion": 2, "strides": 2},
    "same, strides": {"expansion": 2, "strides": (2, 1), "padding": "same"},
    "dilation": {"expansion": 2, "dilation_rate": 2, "padding": "same"},
    "groups": {"expansion": 3, "groups": 2},
    "groups, same, strides": {"expansion": 2, "groups": 2, "strides": 2, "padding": "same"},
    "depthwise": {"expansion": 3, "groups": 4, "filters": 8},
    "depthwise, dilation": {"expansion": 2, "groups": 4, "filters": 4, "dilation_rate": 2},
    "depthwise, strides": {"expansion": 2, "groups": 4, "filters": 4, "strides": (2, 1)},
    "rectangle": {"expansion": 2, "kernel_size": (2, 5)},
    "pointwise": {"expansion": 2, "kernel_size": 1},
    "learned": {"expansion": 2, "frozen": False},
    "no bias": {"expansion": 2, "use_bias": False},
}
geometries = pytest.mark.parametrize("arguments", GEOMETRIES.values(), ids=GEOMETRIES)


def make(dtype=None, **arguments):
    layer = LCConv2D(**{"filters": 6, "kernel_size": 3, "seed": 1, "dtype": dtype, **arguments})
    layer.build(SHAPE)
    if layer.use_bias:
        layer.bias.assign(oracles.images(layer.filters, seed=9))
    return layer


def expected_by_numpy(layer, x):
    return oracles.lc_conv2d(
        x,
        oracles.numpy(layer.basis),
        oracles.numpy(layer.combination),
        oracles.numpy(layer.bias) if layer.use_bias else 0.0,
        groups=layer.groups,
        strides=layer.strides,
        padding=layer.padding,
        dilation=layer.dilation_rate,
    )


class TestValues:
    @geometries
    def test_equal_two_convolutions_in_numpy(self, arguments):
        layer, x = make(**arguments), oracles.images(*SHAPE)
        oracles.assert_close(layer(x), expected_by_numpy(layer, x))

    @pytest.mark.parametrize("arguments", [{"expansion": 2}, {"expansion": 3, "groups": 2}])
    def test_equal_two_convolutions_in_float64(self, arguments):
        with oracles.float64_allowed():
            layer, x = make("float64", **arguments), oracles.images(*SHAPE)  # float32 input
            oracles.assert_close(layer(x), expected_by_numpy(layer, x), "float64")

    @pytest.mark.once
    @geometries
    def test_kernel_is_what_the_input_is_convolved_with(self, arguments):
        layer, x = make(**arguments), oracles.images(*SHAPE)
        conv = keras.layers.Conv2D(
            layer.filters, layer.kernel_size, strides=layer.strides, padding=layer.padding,
            dilation_rate=layer.dilation_rate, groups=layer.groups,
        )  # fmt: skip
        conv.build(SHAPE)
        conv.kernel.assign(oracles.numpy(layer.kernel))
        if layer.use_bias:
            conv.bias.assign(oracles.numpy(layer.bias))
        oracles.assert_close(layer(x), conv(x))

    def test_bias_and_activation_follow_the_combination(self):
        layer, x = make(expansion=2, activation="relu"), oracles.images(*SHAPE)
        oracles.assert_close(layer(x), np.maximum(expected_by_numpy(layer, x), 0))

    def test_follow_the_combination(self):
        layer, x = make(expansion=2), oracles.images(*SHAPE)
        layer(x)  # a kernel kept from this call would be stale
        layer.combination.assign(oracles.images(*layer.combination.shape, seed=3))
        oracles.assert_close(layer(x), expected_by_numpy(layer, x))

    def test_stateless_call_takes_the_variables_it_is_given(self):
        layer, x = make(expansion=2), oracles.images(*SHAPE)
        trainable = [ops.multiply(v.value, 2.0) for v in layer.trainable_variables]
        frozen = [v.value for v in layer.non_trainable_variables]
        outputs, _ = layer.stateless_call(trainable, frozen, x)
        oracles.assert_close(outputs, 2 * expected_by_numpy(layer, x))

    @pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's compiler")
    def test_torch_compile_traces_the_layer(self):
        import torch

        layer, x = make(expansion=2, groups=2), torch.from_numpy(oracles.images(*SHAPE))
        # `fullgraph` refuses what cannot be traced; code generation is not ours to test.
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        oracles.assert_close(compiled(x), expected_by_numpy(layer, x.numpy()))

    def test_equal_torchs_own_layers(self):
        import torch

        layer, x = make(expansion=3, strides=2), oracles.images(*SHAPE)
        basis = torch.from_numpy(oracles.numpy(layer.basis).transpose(3, 2, 0, 1).copy())
        combination = torch.from_numpy(oracles.numpy(layer.combination).T.copy())[..., None, None]
        images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
        bias = torch.from_numpy(oracles.numpy(layer.bias))
        features = torch.nn.functional.conv2d(images, basis, stride=2)
        expected = torch.nn.functional.conv2d(features, combination, bias)
        oracles.assert_close(layer(x), expected.numpy().transpose(0, 2, 3, 1))


class TestGradients:
    @geometries
    def test_equal_those_of_two_stock_layers(self, arguments):
        layer, x = make(**arguments), oracles.images(*SHAPE)
        first, second = oracles.two_layers(layer, SHAPE)
        weights = oracles.images(*layer.compute_output_shape(SHAPE), seed=5)
        ours = [layer.combination]
        theirs = [second.kernel]
        if not layer.frozen:
            ours.append(layer.basis)
            theirs.append(first.kernel)
        if layer.use_bias:
            ours.append(layer.bias)
            theirs.append(second.bias)
        got_x, got = oracles.gradients(lambda x: ops.sum(ops.multiply(layer(x), weights)), x, ours)
        want_x, want = oracles.gradients(
            lambda x: ops.sum(ops.multiply(second(first(x)), weights)), x, theirs
        )
        oracles.assert_close(got_x, want_x)
        for actual, expected in zip(got, want, strict=True):
            oracles.assert_close(actual, expected.reshape(actual.shape))

    def test_combination_gradient_is_the_finite_difference(self):
        layer, x = make(expansion=2, use_bias=False), oracles.images(*SHAPE)
        weights = oracles.images(*layer.compute_output_shape(SHAPE), seed=5)
        _, (gradient,) = oracles.gradients(
            lambda x: ops.sum(ops.multiply(layer(x), weights)), x, [layer.combination]
        )
        basis = oracles.numpy(layer.basis)
        direction = oracles.images(*layer.combination.shape, seed=6)
        start = oracles.numpy(layer.combination).astype("float64")

        def value(step):
            return np.sum(oracles.lc_conv2d(x, basis, start + step * direction) * weights)

        difference = (value(1e-3) - value(-1e-3)) / 2e-3
        np.testing.assert_allclose(np.sum(gradient * direction), difference, rtol=1e-4)


# Values and gradients of every geometry are compared above.
EXTREMES = ("groups, same, strides", "depthwise", "learned")


def cases(names):
    return parameterized.named_parameters(
        (name.replace(", ", "_").replace(" ", "_"), GEOMETRIES[name]) for name in names
    )


class LCConv2DLayerTest(LayerTestCase):
    @cases(EXTREMES)
    def test_keras_contract(self, arguments):
        self.check_contract(arguments)

    # absl's decorator outside: it hands the mark on.
    @cases(name for name in GEOMETRIES if name not in EXTREMES)
    @pytest.mark.once
    def test_keras_contract_of_other_geometries(self, arguments):
        self.check_contract(arguments)

    def check_contract(self, arguments):
        init = {"filters": 6, "kernel_size": 3, "seed": 1, **arguments}
        frozen = init.get("frozen", True)
        bias = init.get("use_bias", True)
        # No output is as wide as it has channels: Keras' TensorFlow backend then adds the bias of
        # channels_first along the width, also in its own Conv2D.
        self.run_layer_test(
            LCConv2D,
            init,
            input_shape=(2, 10, 9, 4),
            expected_output_shape=tuple(LCConv2D(**init).compute_output_shape((2, 10, 9, 4))),
            expected_num_trainable_weights=1 + (not frozen) + bias,
            expected_num_non_trainable_weights=int(frozen),
        )

    def test_regularizers_give_losses(self):
        self.run_layer_test(
            LCConv2D,
            {
                "filters": 5, "kernel_size": 3, "seed": 1, "combination_regularizer": "l2",
                "bias_regularizer": "l2", "activity_regularizer": "l2",
            },
            input_shape=(2, 6, 7, 4),
            expected_output_shape=(2, 4, 5, 5),
            expected_num_trainable_weights=2,
            expected_num_non_trainable_weights=1,
            expected_num_losses=3,
        )  # fmt: skip

    def test_dtype_policies(self):
        init = {"filters": 5, "kernel_size": 3, "expansion": 2, "seed": 1}
        self.run_dtype_policy_test(LCConv2D, init, input_shape=(2, 6, 7, 4))

    def test_eager_graph_and_compiled_steps_agree(self):
        init = {"filters": 5, "kernel_size": 3, "expansion": 2, "seed": 1}
        self.run_execution_test(LCConv2D, init, input_shape=(2, 6, 7, 4))


class TestHalfPrecision:
    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_kernel_is_computed_in_float32_and_rounded_once(self, policy):
        layer, x = make(policy, expansion=8, use_bias=False), oracles.images(*SHAPE)
        assert keras.backend.standardize_dtype(layer.kernel.dtype) == "float32"
        conv = keras.layers.Conv2D(6, 3, use_bias=False, dtype=policy)
        conv.build(SHAPE)
        conv.kernel.assign(oracles.numpy(layer.kernel))  # the same numbers, cast by Keras
        ours, stock = (ops.convert_to_numpy(ops.cast(net(x), "float32")) for net in (layer, conv))
        np.testing.assert_array_equal(ours, stock)


def fitted(layer, optimizer, steps=3):
    model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
    model.compile(optimizer, "mse")
    x = oracles.images(*SHAPE)
    for _ in range(steps):
        model.train_on_batch(x, np.ones(model.compute_output_shape(SHAPE), "float32"))
    return model


class TestFrozenBasis:
    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
            lambda: keras.optimizers.Adam(0.1),
            lambda: keras_lc.training.SGD(0.1, momentum=0.9, weight_decay=0.1),
        ],
        ids=["SGD", "Adam", "training.SGD"],
    )
    def test_stays_bit_for_bit_and_all_else_moves(self, optimizer):
        layer = make(expansion=2)
        layer.trainable = False
        layer.trainable = True  # must not thaw it
        before = [oracles.numpy(v).copy() for v in (layer.basis, layer.combination, layer.bias)]
        model = fitted(layer, optimizer())
        model.trainable = True
        fitted(layer, optimizer())
        basis, combination, bias = layer.basis, layer.combination, layer.bias
        np.testing.assert_array_equal(oracles.numpy(basis), before[0])
        assert np.abs(oracles.numpy(combination) - before[1]).min() > 0
        assert np.abs(oracles.numpy(bias) - before[2]).min() > 0

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_stays_bit_for_bit_in_mixed_precision(self, policy):
        layer = make(policy, expansion=2)
        before = oracles.numpy(layer.basis).copy()
        fitted(layer, keras.optimizers.SGD(0.1, weight_decay=0.1))
        np.testing.assert_array_equal(oracles.numpy(layer.basis), before)

    def test_has_no_slot_in_the_optimizer(self):
        model = fitted(make(expansion=2), keras.optimizers.Adam())
        shapes = {tuple(v.shape) for v in model.optimizer.variables}
        assert (3, 3, 4, 12) not in shapes and (12, 6) in shapes

    def test_learns_where_asked_to(self):
        layer = make(expansion=2, frozen=False)
        before = oracles.numpy(layer.basis).copy()
        fitted(layer, keras.optimizers.SGD(0.1))
        assert np.abs(oracles.numpy(layer.basis) - before).min() > 0

    def test_constraint_holds_after_a_step(self):
        layer = make(expansion=2, combination_constraint="non_neg")
        fitted(layer, keras.optimizers.SGD(0.5))
        assert oracles.numpy(layer.combination).min() == 0


class TestInitialisation:
    def test_follows_pytorchs_default_for_both_parts(self):
        layer = LCConv2D(32, 3, expansion=16, groups=2, seed=0)
        layer.build((None, 8, 8, 12))
        for variable, fan_in in ((layer.basis, 9 * 6), (layer.combination, 32 * 16 // 2)):
            values, bound = oracles.numpy(variable), 1 / np.sqrt(fan_in)
            assert 0.99 * bound < np.abs(values).max() <= bound
            np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.02)

    def test_seed_determines_basis_and_combination(self):
        first, same, other = make(seed=4), make(seed=4), make(seed=5)
        for name in ("basis", "combination"):
            a, b, c = (oracles.numpy(getattr(layer, name)) for layer in (first, same, other))
            np.testing.assert_array_equal(a, b)
            assert (a != c).all()

    @pytest.mark.once
    def test_drawn_seeds_follow_keras_and_are_in_the_config(self):
        keras.utils.set_random_seed(3)
        first, second = LCConv2D(2, 3), LCConv2D(2, 3)
        keras.utils.set_random_seed(3)
        again = LCConv2D(2, 3)
        assert first.seed == again.seed != second.seed
        assert LCConv2D.from_config(first.get_config()).seed == first.seed

    def test_own_initializers_are_used(self):
        layer = make(basis_initializer="ones", combination_initializer="zeros")
        assert (oracles.numpy(layer.basis) == 1).all()
        assert (oracles.numpy(layer.combination) == 0).all()

    def test_basis_has_the_same_bits_everywhere(self):
        layer = make(expansion=2, seed=2024)
        assert f"{keras_lc.seeds.fingerprint(oracles.numpy(layer.basis)):016x}" == (
            "e57ce55a6f603e21"
        )


def refused(**arguments):
    return lambda: LCConv2D(**{"filters": 4, "kernel_size": 3, **arguments})


@pytest.mark.once
class TestRefused:
    @pytest.mark.parametrize(
        ("make_layer", "error", "message"),
        [
            (refused(kernel_initializer="ones"), ValueError,
             r"no `kernel_initializer`.*`combination_initializer`.*kernel_initializer='ones'"),
            (refused(kernel_regularizer="l2"), ValueError, r"no `kernel_regularizer`"),
            (refused(kernel_constraint="non_neg"), ValueError, r"no `kernel_constraint`"),
            (refused(lora_rank=2), ValueError, r"no `lora_rank`"),
            (refused(expansion=0), ValueError, r"`expansion` must be .*Received: expansion=0"),
            (refused(expansion=1.5), ValueError, r"`expansion` must be .*expansion=1.5"),
            (refused(expansion=True), ValueError, r"`expansion` must be .*expansion=True"),
            (refused(groups=3), ValueError, r"evenly divisible.*groups=3"),
            (refused(seed=-1), ValueError, r"`seed` must be at least 0 and below 2\*\*63.*-1"),
            (refused(seed=2**63), ValueError, r"`seed` must be at least 0 and below 2\*\*63"),
            (refused(seed=0.5), TypeError, r"`seed` must be an integer or None.*0\.5"),
        ],
    )  # fmt: skip
    def test_arguments_are_named(self, make_layer, error, message):
        with pytest.raises(error, match=message):
            make_layer()

    def test_channels_must_divide_by_groups(self):
        with pytest.raises(ValueError, match=r"divisible by `groups`.*groups=2.*5 channels"):
            LCConv2D(4, 3, groups=2).build((None, 8, 8, 5))

    def test_kernel_of_an_unbuilt_layer(self):
        with pytest.raises(AttributeError):
            _ = LCConv2D(4, 3).kernel

    def test_lora_says_what_to_use(self):
        with pytest.raises(NotImplementedError, match=r"LoRA.*keras_lc\.fold"):
            make().enable_lora(2)

    def test_quantize_says_what_to_use(self):
        with (
            pytest.warns(UserWarning, match="keras_lc.fold"),
            pytest.raises(NotImplementedError, match="quantization='int8'"),
        ):
            make().quantize("int8")

    def test_quantizing_a_model_warns_and_leaves_the_layer(self):
        layer = make()
        model = keras.Sequential([keras.Input(SHAPE[1:]), layer])
        x = oracles.images(*SHAPE)
        before = oracles.numpy(model(x))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.quantize("int8")
        assert any("keras_lc.fold" in str(warning.message) for warning in caught)
        np.testing.assert_array_equal(oracles.numpy(model(x)), before)


def one_layer_model(**arguments):
    model = keras.Sequential(
        [keras.Input(SHAPE[1:]), LCConv2D(6, 3, name="lc", **{"seed": 1, **arguments})]
    )
    return model, model.layers[0]


def stored_names(path):
    """Names of the arrays of the layer in a .keras or .weights.h5 file."""
    with contextlib.ExitStack() as stack:
        if path.suffix == ".keras":
            archive = stack.enter_context(zipfile.ZipFile(path))
            path = stack.enter_context(archive.open("model.weights.h5"))
        file = stack.enter_context(h5py.File(path))
        names = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
    return {name.rsplit("/", 1)[1] for name in names if "lc" in name}


class TestFiles:
    @pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
    def test_hold_seed_and_fingerprint_in_place_of_the_basis(self, name, tmp_path):
        model, _ = one_layer_model(expansion=4)
        path = tmp_path / name
        model.save(path) if name.endswith(".keras") else model.save_weights(path)
        assert stored_names(path) == {"combination", "bias", "seed", "basis_fingerprint"}

    @pytest.mark.once
    @pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
    def test_of_model_checkpoint_hold_the_seed_too(self, name, tmp_path):
        model, _ = one_layer_model(expansion=4)
        model.compile("sgd", "mse")
        callback = keras.callbacks.ModelCheckpoint(
            tmp_path / name, save_weights_only=name.endswith("h5")
        )
        model.fit(oracles.images(*SHAPE), np.zeros((2, 7, 6, 6)), callbacks=[callback], verbose=0)
        names = stored_names(tmp_path / name)
        assert "basis_fingerprint" in names and "basis" not in names

    def test_of_backup_and_restore_bring_the_basis_back(self, tmp_path):
        def fit(seed, *callbacks):
            model, layer = one_layer_model(seed=seed, expansion=4)
            model.compile("sgd", "mse")
            backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
            data = oracles.images(*SHAPE), np.zeros((2, 7, 6, 6))
            callbacks = [backup, *callbacks]
            # In order: the sum over a batch rounds as its images are ordered.
            model.fit(*data, epochs=3, callbacks=callbacks, shuffle=False, verbose=0)
            return layer

        def stop(epoch, logs):
            if epoch == 1:
                raise KeyboardInterrupt

        whole = fit(3)
        for path in tmp_path.iterdir():
            path.unlink()
        with pytest.raises(KeyboardInterrupt):
            fit(3, keras.callbacks.LambdaCallback(on_epoch_end=stop))
        resumed = fit(4)
        assert resumed.seed == 3
        np.testing.assert_array_equal(oracles.numpy(resumed.kernel), oracles.numpy(whole.kernel))

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_in_half_precision_hold_the_seed_too(self, dtype, tmp_path):
        model, layer = one_layer_model(expansion=2, dtype=dtype)
        model.save(tmp_path / "model.keras")
        assert "basis" not in stored_names(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras").layers[0]
        for actual, expected in zip(loaded.weights, layer.weights, strict=True):
            np.testing.assert_array_equal(oracles.numpy(actual), oracles.numpy(expected))

    @pytest.mark.parametrize("seed", [0, 2**53 + 1, 2**63 - 1])
    def test_weights_bring_their_seed_into_a_layer_of_another(self, seed, tmp_path):
        model, layer = one_layer_model(seed=seed, expansion=2)
        layer.combination.assign(oracles.images(12, 6))
        model.save_weights(tmp_path / "model.weights.h5")
        other, other_layer = one_layer_model(seed=77, expansion=2)
        other.load_weights(tmp_path / "model.weights.h5")
        assert other_layer.seed == seed
        x = oracles.images(*SHAPE)
        np.testing.assert_array_equal(oracles.numpy(other(x)), oracles.numpy(model(x)))

    @pytest.mark.parametrize(
        "change",
        ["set by hand", "learned", "own initializer"],
    )
    def test_hold_a_basis_that_the_seed_does_not_give(self, change, tmp_path):
        arguments = {
            "set by hand": {},
            "learned": {"frozen": False},
            "own initializer": {"basis_initializer": "he_normal"},
        }[change]
        model, layer = one_layer_model(expansion=2, **arguments)
        if change == "set by hand":
            layer.basis.assign(oracles.images(3, 3, 4, 12))
        elif change == "learned":
            fitted(layer, keras.optimizers.SGD(0.1))
        model.save(tmp_path / "model.keras")
        assert "basis" in stored_names(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(
            oracles.numpy(loaded.layers[0].basis), oracles.numpy(layer.basis)
        )

    @pytest.mark.once
    def test_of_other_filters_are_refused_with_the_layers_name(self, tmp_path):
        model, _ = one_layer_model(expansion=2)
        model.save_weights(tmp_path / "model.weights.h5")
        other, _ = one_layer_model(expansion=4)
        with pytest.raises(ValueError, match=r"basis of layer 'lc' cannot be regenerated"):
            other.load_weights(tmp_path / "model.weights.h5")

    @pytest.mark.once
    def test_of_other_filters_can_be_skipped(self, tmp_path):
        model, _ = one_layer_model(expansion=2)
        model.save_weights(tmp_path / "model.weights.h5")
        other, layer = one_layer_model(expansion=4)
        before = [oracles.numpy(v).copy() for v in layer.weights]
        with pytest.warns(UserWarning, match="basis of layer 'lc' cannot be regenerated"):
            other.load_weights(tmp_path / "model.weights.h5", skip_mismatch=True)
        for variable, old in zip(layer.weights, before, strict=True):
            np.testing.assert_array_equal(oracles.numpy(variable), old)

    def test_of_a_subclassed_model_load(self, tmp_path):
        class Subclassed(keras.Model):
            def __init__(self, seed):
                super().__init__()
                self.convolutions = [LCConv2D(4, 3, seed=seed + i) for i in range(2)]

            def call(self, x):
                for convolution in self.convolutions:
                    x = convolution(x)
                return x

        model, other = Subclassed(seed=1), Subclassed(seed=5)
        x = oracles.images(*SHAPE)
        expected = oracles.numpy(model(x))
        other(x)
        model.save_weights(tmp_path / "model.weights.h5")
        other.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(oracles.numpy(other(x)), expected)

    @pytest.mark.once
    def test_with_a_wrong_fingerprint_are_refused(self):
        _, layer = one_layer_model()
        store = {}
        layer.save_own_variables(store)
        store["basis_fingerprint"] = store["basis_fingerprint"] ^ np.uint64(1)
        with pytest.raises(ValueError, match=r"file was written with [0-9a-f]{16}"):
            layer.load_own_variables(store)

    @pytest.mark.once
    def test_of_a_plain_convolution_are_refused(self):
        _, layer = one_layer_model()
        with pytest.raises(ValueError, match=r"expects .*'combination'.*holds \['0', '1'\]"):
            layer.load_own_variables({"0": np.zeros(1), "1": np.zeros(1)})

    @pytest.mark.once
    def test_refused_files_leave_the_layer_as_it_was(self):
        _, layer = one_layer_model()
        before = [oracles.numpy(v).copy() for v in layer.weights]
        store = {}
        layer.save_own_variables(store)
        store["basis_fingerprint"] = store["basis_fingerprint"] ^ np.uint64(1)
        store["bias"] = np.ones(6, "float32")
        with pytest.raises(ValueError):
            layer.load_own_variables(store)
        for variable, old in zip(layer.weights, before, strict=True):
            np.testing.assert_array_equal(oracles.numpy(variable), old)

    def test_copies_keep_a_basis_set_by_hand(self):
        model, layer = one_layer_model()
        layer.basis.assign(oracles.images(3, 3, 4, 6))
        copied = copy.deepcopy(model)
        np.testing.assert_array_equal(
            oracles.numpy(copied.layers[0].basis), oracles.numpy(layer.basis)
        )

    def test_load_in_a_fresh_process_under_another_backend(self, tmp_path):
        model, layer = one_layer_model(expansion=2, groups=2, strides=2)
        layer.combination.assign(oracles.images(6, 6))
        model.save(tmp_path / "model.keras")
        x = oracles.images(*SHAPE)
        np.save(tmp_path / "x.npy", x)
        code = (
            "import keras, keras_lc, numpy as np\n"
            "model = keras.saving.load_model('model.keras')\n"
            "np.save('y.npy', keras.ops.convert_to_numpy(model(np.load('x.npy'))))\n"
        )
        other = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}[BACKEND]
        environment = os.environ | {"KERAS_BACKEND": other, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
        oracles.assert_close(np.load(tmp_path / "y.npy"), model(x))

    @pytest.mark.once
    def test_config_is_json(self):
        layer = LCConv2D(4, 3, seed=2**62, combination_regularizer="l1", activation="relu")
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()
