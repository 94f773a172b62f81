"""Keras' own layer test, and what it does not check. The one file that imports `keras.src`."""

import copy
import os
import pickle

import keras
import numpy as np
from keras import ops
from keras.src import testing

from tests import oracles


class LayerTestCase(testing.TestCase):
    """Checks the contract between a layer of images, series or volumes and Keras.

    `init_kwargs` must hold a seed: two layers made from them must be equal.
    """

    def run_layer_test(
        self,
        layer_cls,
        init_kwargs,
        *,
        input_shape,
        expected_output_shape,
        expected_num_trainable_weights,
        expected_num_non_trainable_weights,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        **kwargs,
    ):
        """Keras' test, with every count given (it compares a missing one with itself), and ours.

        `input_shape` and `expected_output_shape` are those of channels_last.
        """
        super().run_layer_test(
            layer_cls,
            init_kwargs,
            input_shape=input_shape,
            expected_output_shape=expected_output_shape,
            expected_num_trainable_weights=expected_num_trainable_weights,
            expected_num_non_trainable_weights=expected_num_non_trainable_weights,
            expected_num_non_trainable_variables=(
                expected_num_non_trainable_weights + expected_num_seed_generators
            ),
            expected_num_seed_generators=expected_num_seed_generators,
            expected_num_losses=expected_num_losses,
            # Ours covers PyTorch on a CPU and bfloat16 too.
            run_mixed_precision_check=False,
            **kwargs,
        )
        self.check_copies(layer_cls, init_kwargs, input_shape)
        self.check_shapes(layer_cls, init_kwargs, input_shape, expected_output_shape)
        self.check_channels_first(layer_cls, init_kwargs, input_shape)

    def make_model(self, layer_cls, init_kwargs, input_shape):
        """A model of the layer alone, whose weights are not those it was built with."""
        model = keras.Sequential([keras.Input(input_shape[1:]), layer_cls(**init_kwargs)])
        for number, variable in enumerate(model.trainable_variables):
            variable.assign(oracles.images(*variable.shape, seed=number + 1))
        return model

    def check_copies(self, layer_cls, init_kwargs, input_shape):
        """A saved, pickled or copied model gives the same outputs; a clone the same basis."""
        model = self.make_model(layer_cls, init_kwargs, input_shape)
        x = oracles.images(*input_shape)
        expected = model(x)

        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        loaded = keras.saving.load_model(path)
        self.assertIs(type(loaded.layers[0]), layer_cls)
        self.assertAllEqual(loaded(x), expected)

        weights = os.path.join(self.get_temp_dir(), "model.weights.h5")
        model.save_weights(weights)
        fresh = keras.Sequential([keras.Input(input_shape[1:]), layer_cls(**init_kwargs)])
        fresh.load_weights(weights)
        self.assertAllEqual(fresh(x), expected)

        self.assertAllEqual(pickle.loads(pickle.dumps(model))(x), expected)
        self.assertAllEqual(copy.deepcopy(model)(x), expected)

        clone = keras.models.clone_model(model)
        for cloned, original in zip(
            clone.non_trainable_weights, model.non_trainable_weights, strict=True
        ):
            self.assertAllEqual(cloned, original)
        clone.set_weights(model.get_weights())
        self.assertAllEqual(clone(x), expected)

    def check_shapes(self, layer_cls, init_kwargs, input_shape, expected_output_shape):
        """The shape is known without running the layer, also where its sides are not."""
        layer = layer_cls(**init_kwargs)
        self.assertEqual(tuple(layer.compute_output_shape(input_shape)), expected_output_shape)
        unknown = (None,) * (len(input_shape) - 2)
        dynamic = keras.Input((*unknown, input_shape[-1]))
        outputs = layer(dynamic)
        self.assertEqual(tuple(outputs.shape), (None, *unknown, expected_output_shape[-1]))
        x = oracles.images(*input_shape)
        result = keras.Model(dynamic, outputs).predict(x, verbose=0)
        self.assertEqual(result.shape, expected_output_shape)
        self.assertAllClose(result, layer(x), atol=1e-5, rtol=1e-5)
        batch_of_one = layer(x[:1])
        self.assertEqual(tuple(batch_of_one.shape), (1, *expected_output_shape[1:]))

    def check_channels_first(self, layer_cls, init_kwargs, input_shape, **call_kwargs):
        """Channels first is channels last, transposed."""
        x = oracles.images(*input_shape)
        last = layer_cls(**{**init_kwargs, "data_format": "channels_last"})
        first = layer_cls(**{**init_kwargs, "data_format": "channels_first"})
        transposed = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        expected = np.moveaxis(oracles.numpy(last(x, **call_kwargs)), -1, 1)
        self.assertAllClose(first(transposed, **call_kwargs), expected, atol=1e-5, rtol=1e-5)
        self.assertEqual(tuple(first.compute_output_shape(transposed.shape)), tuple(expected.shape))

    def run_dtype_policy_test(self, layer_cls, init_kwargs, *, input_shape):
        """Under each policy: outputs and variables of its dtypes, and the float32 values."""
        x = oracles.images(*input_shape)
        expected = oracles.numpy(layer_cls(**init_kwargs)(x))
        for policy in ("mixed_float16", "mixed_bfloat16", "float64"):
            with self.subTest(policy), oracles.float64_allowed():
                layer = layer_cls(**{**init_kwargs, "dtype": policy})
                outputs = layer(x)
                self.assertDType(outputs, layer.compute_dtype)
                for weight in layer.weights:
                    self.assertDType(weight, layer.variable_dtype)
                precision = "float32" if policy == "float64" else layer.compute_dtype
                oracles.assert_close(outputs, expected, precision)
                if policy != "float64":
                    self.run_fit(layer, x)

    def run_execution_test(self, layer_cls, init_kwargs, *, input_shape):
        """One training step gives the same weights eagerly, as a graph, and compiled."""
        x = oracles.images(*input_shape)
        modes = {
            "run_eagerly": dict(run_eagerly=True, jit_compile=False),
            "jit_compile=False": dict(jit_compile=False),
        }
        if keras.backend.backend() != "torch":
            # PyTorch's compiler needs minutes: `test_torch_compile_traces_the_layer` stands in.
            modes["jit_compile=True"] = dict(jit_compile=True)
        results = {}
        for mode, arguments in modes.items():
            layer = layer_cls(**init_kwargs)
            model = self.run_fit(layer, x, **arguments)
            results[mode] = [oracles.numpy(weight) for weight in model.weights]
        expected = results.pop("run_eagerly")
        for mode, weights in results.items():
            with self.subTest(mode):
                for actual, reference in zip(weights, expected, strict=True):
                    self.assertAllClose(actual, reference, atol=1e-5, rtol=1e-5)

    def run_fit(self, layer, x, **compile_arguments):
        """One step of SGD that takes the layer's outputs towards ones."""
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        model.compile(keras.optimizers.SGD(0.1), "mse", **compile_arguments)
        before = [oracles.numpy(v) for v in model.trainable_variables]
        targets = np.ones(model.compute_output_shape(x.shape), "float32")
        model.fit(x, targets, batch_size=len(x), verbose=0)
        for variable, start in zip(model.trainable_variables, before, strict=True):
            moved = ops.any(ops.not_equal(variable.value, start))
            self.assertTrue(bool(moved), msg=f"{variable.path} did not move")
        return model
