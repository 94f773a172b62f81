"""`replace`: a copy with other layers in the place of some, and everything else as it was."""

import keras
import numpy as np
import pytest

from keras_lc.layers import LCConv2D
from keras_lc.surgery import replace


def keep_all(layer):
    return None


def relu_to_tanh(layer):
    if isinstance(layer, keras.layers.ReLU):
        return [keras.layers.Activation("tanh", name=layer.name)]
    return None


def images(batch=2, size=8, channels=3):
    shape = (batch, size, size, channels)
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def randomize(model):
    """Gives every variable of floats a value that no initializer gives."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.weights])
    return model


def values(model):
    return [keras.ops.convert_to_numpy(variable.value) for variable in model.variables]


def outputs(model, inputs):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(inputs, training=False))


def input_names(model):
    return [tensor._keras_history.operation.name for tensor in model.inputs]


def assert_same_outputs(actual, desired, inputs):
    keras.tree.map_structure(
        np.testing.assert_array_equal, outputs(actual, inputs), outputs(desired, inputs)
    )


def conv_relu(inputs, name, **kwargs):
    x = keras.layers.Conv2D(4, 3, padding="same", name=f"{name}_conv", **kwargs)(inputs)
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def functional():
    inputs = keras.Input((8, 8, 3), name="images")
    return keras.Model(inputs, conv_relu(conv_relu(inputs, "a"), "b"), name="functional")


def sequential():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="images"),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.ReLU(name="relu"),
        ],
        name="sequential",
    )


def deferred_sequential():
    model = keras.Sequential(sequential().layers, name="deferred")
    model.build((None, 8, 8, 3))
    return model


def nested():
    inputs = keras.Input((8, 8, 3), name="images")
    middle_inputs = keras.Input((8, 8, 3))
    middle = keras.Model(middle_inputs, sequential()(functional_body(middle_inputs)), name="middle")
    return keras.Model(inputs, keras.layers.ReLU(name="relu")(middle(inputs)), name="outer")


def functional_body(inputs):
    return keras.layers.Conv2D(3, 3, padding="same", name="first")(inputs)


def with_operations():
    inputs = keras.Input((8, 8, 3), name="images")
    x = keras.ops.relu(conv_relu(inputs, "a") * 2.0 - 1.0)
    return keras.Model(inputs, x[:, 1:], name="operations")


def from_intermediate_tensors():
    model = functional()
    return keras.Model(model.get_layer("a_relu").output, model.output, name="head")


class Net(keras.Model):
    """A Functional model of a subclass with its own constructor, config and `fit`."""

    def __init__(self, width=4, **kwargs):
        inputs = keras.Input((8, 8, 3), name="images")
        super().__init__(inputs, conv_relu(inputs, "a"), **kwargs)
        self.width = width

    def fit(self, *args, **kwargs):
        raise NotImplementedError

    def get_config(self):
        return {"width": self.width, "name": self.name}


MODELS = {
    "functional": functional,
    "sequential": sequential,
    "deferred_sequential": deferred_sequential,
    "nested": nested,
    "operations": with_operations,
    "subclass_of_functional": lambda: Net(name="net"),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
class TestEveryModel:
    def test_a_copy_has_the_same_outputs(self, build):
        model = randomize(build())
        assert_same_outputs(replace(model, keep_all), model, images())

    def test_a_copy_has_the_same_names(self, build):
        model = build()
        copy = replace(model, keep_all)
        assert copy.name == model.name
        assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
        assert input_names(copy) == input_names(model)

    def test_a_copy_shares_nothing_with_the_model(self, build):
        model = randomize(build())
        copy = replace(model, keep_all)
        before = values(model)
        copy.set_weights([np.zeros(weight.shape) for weight in copy.weights])
        for actual, desired in zip(values(model), before, strict=True):
            np.testing.assert_array_equal(actual, desired)

    def test_the_model_stays_as_it_was(self, build):
        model = randomize(build())
        names = [layer.name for layer in model._flatten_layers()]
        nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
        before = values(model)
        replace(model, relu_to_tanh)
        assert [layer.name for layer in model._flatten_layers()] == names
        assert [len(layer._inbound_nodes) for layer in model._flatten_layers()] == nodes
        for actual, desired in zip(values(model), before, strict=True):
            np.testing.assert_array_equal(actual, desired)

    def test_a_layer_is_replaced_at_any_depth(self, build):
        copy = replace(build(), relu_to_tanh)
        assert not any(isinstance(layer, keras.layers.ReLU) for layer in copy._flatten_layers())

    def test_a_copy_of_the_copy_is_the_copy(self, build):
        once = replace(randomize(build()), relu_to_tanh)
        twice = replace(once, relu_to_tanh)
        assert [layer.name for layer in twice.layers] == [layer.name for layer in once.layers]
        assert_same_outputs(twice, once, images())


@pytest.mark.once
class TestCopy:
    def test_a_model_between_inner_tensors_is_copied(self):
        model = randomize(from_intermediate_tensors())
        assert_same_outputs(replace(model, keep_all), model, images(channels=4))

    def test_a_subclass_becomes_a_plain_model(self):
        assert type(replace(Net(), keep_all)) is type(functional())

    def test_a_copy_is_not_compiled(self):
        model = functional()
        model.compile("sgd", "mse")
        assert not replace(model, keep_all).compiled
        assert model.compiled

    def test_a_copy_can_be_saved_and_loaded(self, tmp_path):
        copy = replace(randomize(nested()), keep_all)
        copy.save(tmp_path / "copy.keras")
        loaded = keras.saving.load_model(tmp_path / "copy.keras")
        assert_same_outputs(loaded, copy, images())

    def test_the_structure_of_inputs_and_outputs_is_kept(self):
        a, b = keras.Input((8, 8, 3), name="a"), keras.Input((8, 8, 3), name="b")
        x = keras.layers.Concatenate(name="both")([conv_relu(a, "a"), conv_relu(b, "b")])
        outputs = {"sum": keras.layers.Add(name="sum")([a, b]), "both": x}
        model = randomize(keras.Model({"a": a, "b": b}, outputs))
        inputs = {"a": images(), "b": 2 * images()}
        assert_same_outputs(replace(model, relu_to_tanh), replace(model, relu_to_tanh), inputs)
        assert_same_outputs(replace(model, keep_all), model, inputs)

    def test_call_arguments_are_kept(self):
        inputs = keras.Input((8, 8, 3))
        normalize = keras.layers.BatchNormalization(name="bn")
        model = randomize(keras.Model(inputs, normalize(inputs, training=True)))
        assert_same_outputs(replace(model, keep_all), model, images())

    def test_the_state_of_seed_generators_is_kept(self):
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, keras.layers.Dropout(0.5, seed=3)(inputs, training=True))
        outputs(model, images())
        copy = replace(model, keep_all)
        assert_same_outputs(copy, model, images())

    def test_an_adapted_normalization_keeps_its_statistics(self):
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Normalization()])
        model.layers[0].adapt(3 * images() + 1)
        assert_same_outputs(replace(model, keep_all), model, images())

    def test_dtype_policies_are_kept(self):
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, conv_relu(inputs, "a", dtype="mixed_bfloat16"))
        assert replace(model, keep_all).get_layer("a_conv").dtype_policy.name == "mixed_bfloat16"

    @pytest.mark.parametrize(
        "freeze",
        [
            lambda model: setattr(model, "trainable", False),
            lambda model: setattr(model.get_layer("middle"), "trainable", False),
            lambda model: setattr(model.get_layer("middle").get_layer("first"), "trainable", False),
            lambda model: setattr(
                model.get_layer("middle").get_layer("first").bias, "trainable", False
            ),
        ],
        ids=["model", "nested_model", "layer", "variable"],
    )
    def test_trainable_flags_are_kept(self, freeze):
        model = nested()
        freeze(model)
        copy = replace(model, keep_all)
        for actual, desired in zip(copy._flatten_layers(), model._flatten_layers(), strict=True):
            assert actual.trainable == desired.trainable
        assert [variable.path for variable in copy.trainable_variables] == [
            variable.path for variable in model.trainable_variables
        ]

    def test_a_layer_thawed_inside_a_frozen_model_stays_thawed(self):
        model = nested()
        model.get_layer("middle").trainable = False
        model.get_layer("middle").get_layer("first").trainable = True
        copy = replace(model, keep_all).get_layer("middle")
        assert not copy.trainable
        assert copy.get_layer("first").trainable


@pytest.mark.once
class TestSharing:
    def shared_model(self):
        conv = keras.layers.Conv2D(3, 3, padding="same", name="shared")
        branch = keras.Sequential([keras.Input((8, 8, 3)), conv], name="branch")
        inputs = keras.Input((8, 8, 3))
        return randomize(keras.Model(inputs, conv(branch(branch(conv(inputs))))))

    def test_a_shared_layer_stays_shared(self):
        model = self.shared_model()
        copy = replace(model, keep_all)
        assert len(copy.weights) == len(model.weights) == 2
        assert copy.get_layer("branch").layers[0] is copy.get_layer("shared")
        assert_same_outputs(copy, model, images())

    def test_a_shared_layer_is_replaced_once(self):
        made = []

        def substitute(layer):
            if layer.name == "shared":
                made.append(keras.layers.Conv2D(3, 3, padding="same", name="shared"))
                return [made[-1]]

        model = self.shared_model()
        copy = replace(model, substitute)
        assert len(made) == 1
        assert_same_outputs(copy, model, images())


class TestSubstitutes:
    def test_one_that_is_not_built_takes_over_the_variables(self):
        def without_activation(layer):
            if isinstance(layer, keras.layers.Conv2D):
                return [type(layer).from_config(layer.get_config() | {"activation": "relu"})]

        model = randomize(sequential())
        copy = replace(model, without_activation)
        for actual, desired in zip(values(copy), values(model), strict=True):
            np.testing.assert_array_equal(actual, desired)

    def test_one_that_is_built_keeps_its_variables(self):
        built = keras.layers.Conv2D(4, 3, name="conv", bias_initializer="ones")
        built.build((None, 8, 8, 3))
        model = sequential()
        copy = replace(model, lambda layer: [built] if layer.name == "conv" else None)
        np.testing.assert_array_equal(values(copy.get_layer("conv"))[1], np.ones(4))

    def test_variables_that_do_not_fit_are_refused(self):
        wrong = keras.layers.Conv2D(5, 3, name="conv")
        with pytest.raises(ValueError, match=r"layer 'conv' .* cannot be taken over"):
            replace(sequential(), lambda layer: [wrong] if layer.name == "conv" else None)

    @pytest.mark.parametrize("build", [functional, sequential, nested], ids=lambda f: f.__name__)
    def test_an_empty_list_drops_the_layer(self, build):
        model = build()
        copy = replace(model, lambda layer: [] if isinstance(layer, keras.layers.ReLU) else None)
        linear = replace(
            model,
            lambda layer: (
                [keras.layers.Identity(name=layer.name)]
                if isinstance(layer, keras.layers.ReLU)
                else None
            ),
        )
        assert not any("relu" in layer.name for layer in copy._flatten_layers())
        assert_same_outputs(copy, linear, images())

    def test_a_sequential_whose_layers_are_all_dropped_returns_its_input(self):
        inputs = keras.Input((8, 8, 3))
        relus = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU()], name="relus")
        model = keras.Model(inputs, keras.layers.Dense(2)(relus(inputs)))
        copy = replace(model, lambda layer: [] if isinstance(layer, keras.layers.ReLU) else None)
        np.testing.assert_array_equal(copy.get_layer("relus")(images()), images())

    def test_several_are_called_one_after_the_other(self):
        def relu_to_two(layer):
            if isinstance(layer, keras.layers.ReLU):
                return [keras.layers.Rescaling(2.0), keras.layers.Rescaling(1.0, offset=1.0)]

        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.ReLU()])
        copy = replace(model, relu_to_two)
        np.testing.assert_allclose(outputs(copy, images()), 2 * images() + 1, rtol=1e-6, atol=1e-6)


class Owner(keras.layers.Layer):
    """A layer whose calls of its sublayers are nowhere but in its code."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)

    def compute_output_shape(self, input_shape):
        return self.inner.compute_output_shape(input_shape)

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        return super().get_config() | {"inner": inner}

    @classmethod
    def from_config(cls, config):
        inner = keras.saving.deserialize_keras_object(config.pop("inner"))
        return cls(inner, **config)


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.relu = keras.layers.ReLU(name="relu")

    def call(self, inputs):
        return self.relu(inputs)


@pytest.mark.once
class TestHiddenLayers:
    def model(self, inner):
        return keras.Sequential([keras.Input((8, 8, 3)), Owner(inner, name="owner")])

    def test_a_layer_that_owns_others_is_copied_with_its_variables(self):
        model = randomize(self.model(keras.layers.Conv2D(4, 3, name="inner")))
        assert_same_outputs(replace(model, relu_to_tanh), model, images())

    def test_trainable_flags_of_owned_layers_are_kept(self):
        model = self.model(keras.layers.Conv2D(4, 3, name="inner"))
        model.get_layer("owner").inner.trainable = False
        copy = replace(model, relu_to_tanh)
        assert copy.get_layer("owner").trainable
        assert not copy.get_layer("owner").inner.trainable

    def test_one_to_be_replaced_is_refused_by_its_path(self):
        with pytest.raises(ValueError, match="owner/inner_relu"):
            replace(self.model(keras.layers.ReLU(name="inner_relu")), relu_to_tanh)

    def test_one_in_a_nested_model_is_refused_by_its_path(self):
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, self.model(functional())(inputs))
        with pytest.raises(ValueError, match=r"sequential\w*/owner/functional/a_relu"):
            replace(model, relu_to_tanh)

    def test_one_in_a_wrapper_is_refused_by_its_path(self):
        model = keras.Sequential(
            [
                keras.Input((2, 8, 8, 3)),
                keras.layers.TimeDistributed(LCConv2D(4, 3, name="lc"), name="frames"),
            ]
        )
        with pytest.raises(ValueError, match="frames/lc"):
            replace(model, lambda layer: [] if isinstance(layer, LCConv2D) else None)

    def test_one_in_a_nested_subclassed_model_is_refused_by_its_path(self):
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, Subclassed(name="inner")(inputs))
        with pytest.raises(ValueError, match="inner/relu"):
            replace(model, relu_to_tanh)

    def test_a_subclassed_model_is_refused(self):
        model = Subclassed(name="outer")
        model(images())
        with pytest.raises(ValueError, match=r"'outer' .* to be replaced: outer/relu"):
            replace(model, relu_to_tanh)

    def test_a_functional_model_with_its_own_call_is_refused(self):
        class Doubled(Net):
            def call(self, inputs):
                return 2 * super().call(inputs)

        with pytest.raises(ValueError, match="subclass with its own `call`"):
            replace(Doubled(), keep_all)

    def test_a_model_that_is_not_built_is_refused(self):
        with pytest.raises(ValueError, match="not built"):
            replace(keras.Sequential([keras.layers.ReLU()]), keep_all)

    def test_a_layer_is_refused(self):
        with pytest.raises(ValueError, match=r"put a single layer into a `keras\.Sequential`"):
            replace(keras.layers.ReLU(), keep_all)
