import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.layers.accelerated import keras_class
from tests.models.torch_networks import SMALL_NETWORKS, compare, in_float64, pictures


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def images(count=4, shape=(32, 32, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype="uint8")


def predict(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


@pytest.mark.once
def test_resnet_20_16_has_the_papers_number_of_trained_parameters():
    assert count(keras_lc.CIFARResNet(depth=20, width=16).trainable_variables) == 272_474


@pytest.mark.large
def test_weights_of_the_lc_authors_give_their_logits():
    with in_float64():
        _, logits, expected, _ = compare(
            SMALL_NETWORKS["openlth_resnet_20_16"], pictures(2, 32), width=8
        )
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(("expansion", "depth"), [(1, 8), (4, 14)])
def test_frozen_lc_trains_one_weight_for_each_basis_filter_and_output(expansion, depth):
    model = keras_lc.ResNetLC(depth=depth, expansion=expansion)
    plain = keras_lc.CIFARResNet(depth=depth)
    lc = [layer for layer in model.layers if isinstance(layer, keras_lc.LCConv2D)]
    assert len(lc) == depth - 1
    expected = count(plain.trainable_variables)
    for layer in lc:
        expected += layer.filters**2 * expansion - count([plain.get_layer(layer.name).kernel])
    assert count(model.trainable_variables) == expected


@pytest.mark.once
def test_folded_network_has_the_layers_and_the_parameters_of_the_plain_one():
    folded = keras_lc.fold(keras_lc.ResNetLC(depth=20, expansion=2))
    plain = keras_lc.CIFARResNet(depth=20, augmentation=None)
    kinds = [[(keras_class(layer), layer.name) for layer in net.layers] for net in (folded, plain)]
    assert kinds[0] == kinds[1]
    assert count(folded.trainable_variables) == 272_474


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"expansion": 128}, "resnet_lc_20_16x128"),
        ({"depth": 8, "width": 4, "expansion": 2}, "resnet_lc_8_4x2"),
        ({"depth": 8, "compact": True}, "resnet_lc_8_16x1"),
        ({"depth": 8, "frozen": False}, "resnet_lc_learnable_8_16x1"),
        ({"depth": 8, "between": "bn"}, "resnet_lc_bn_8_16x1"),
        ({"depth": 8, "shared_basis": True}, "resnet_lc_shared_8_16x1"),
        ({"depth": 8, "kernel_size": 5}, "resnet_lc_8_16x1_k5"),
        ({"depth": 8, "name": "mine"}, "mine"),
    ],
)
def test_models_are_named_after_the_paper(arguments, name):
    assert keras_lc.ResNetLC(**arguments).name == name


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"depth": 20}, "resnet_20_16"),
        ({"spatial": "frozen"}, "resnet_8_16_frozen"),
        ({"spatial": keras_lc.spatial.GramLimit(8)}, "resnet_8_16_gram_limit_x8"),
        ({"kernel_size": 7}, "resnet_8_16_k7"),
    ],
)
def test_other_operators_and_kernels_are_in_the_name(arguments, name):
    assert keras_lc.CIFARResNet(**{"depth": 8, **arguments}).name == name


@pytest.mark.once
@pytest.mark.parametrize("operator", ["max", "hybrid"])
def test_pools_are_refused_with_what_they_need(operator):
    with pytest.raises(ValueError, match=r"bottlenecks \(depth 26, 50 or 101\)"):
        keras_lc.CIFARResNet(depth=8, spatial=operator)


def test_layer_names_are_stable():
    names = {layer.name for layer in keras_lc.ResNetLC(depth=8).layers}
    assert names == {
        *("images", "random_crop_flip", "normalization", "stem_conv", "stem_bn", "stem_relu"),
        *("stage1_block0_conv1", "stage1_block0_bn1", "stage1_block0_relu1"),
        *("stage1_block0_conv2", "stage1_block0_bn2", "stage1_block0_add", "stage1_block0_relu2"),
        *("stage2_block0_conv1_pad", "stage2_block0_conv1", "stage2_block0_bn1"),
        *("stage2_block0_relu1", "stage2_block0_shortcut_conv", "stage2_block0_conv2"),
        *("stage2_block0_shortcut_bn", "stage2_block0_bn2", "stage2_block0_add"),
        *("stage2_block0_relu2", "stage3_block0_conv1_pad", "stage3_block0_conv1"),
        *("stage3_block0_bn1", "stage3_block0_relu1", "stage3_block0_shortcut_conv"),
        *("stage3_block0_conv2", "stage3_block0_shortcut_bn", "stage3_block0_bn2"),
        *("stage3_block0_add", "stage3_block0_relu2", "pool", "classifier"),
    }


def test_one_seed_determines_all_weights():
    first, second = (keras_lc.ResNetLC(depth=8, expansion=2, seed=5) for _ in range(2))
    other = keras_lc.ResNetLC(depth=8, expansion=2, seed=6)
    x = images()
    np.testing.assert_array_equal(predict(first, x), predict(second, x))
    assert np.abs(predict(first, x) - predict(other, x)).max() > 1e-3


@pytest.mark.once
def test_layers_of_equal_shape_get_different_filters():
    model = keras_lc.ResNetLC(depth=14, expansion=2, seed=5)
    first = model.get_layer("stage1_block0_conv1").basis
    second = model.get_layer("stage1_block1_conv1").basis
    assert first.shape == second.shape
    assert not np.array_equal(keras.ops.convert_to_numpy(first), keras.ops.convert_to_numpy(second))


def test_images_are_normalised_inside_by_mean_and_std():
    mean, std = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0)
    inside = keras_lc.CIFARResNet(depth=8, seed=1, mean=mean, std=std)
    outside = keras_lc.CIFARResNet(depth=8, seed=1, include_preprocessing=False)
    x = images()
    expected = predict(outside, ((x - np.array(mean)) / np.array(std)).astype("float32"))
    np.testing.assert_allclose(predict(inside, x), expected, rtol=1e-4, atol=1e-5)


def test_uint8_and_float_images_give_equal_outputs():
    model = keras_lc.CIFARResNet(depth=8, seed=1)
    x = images()
    np.testing.assert_array_equal(predict(model, x), predict(model, x.astype("float32")))


@pytest.mark.once
def test_augmentation_is_idle_at_inference():
    x = images()
    with_crop = keras_lc.CIFARResNet(depth=8, seed=1)
    without = keras_lc.CIFARResNet(depth=8, seed=1, augmentation=None)
    np.testing.assert_array_equal(predict(with_crop, x), predict(without, x))


@pytest.mark.once
def test_augmentation_may_be_any_keras_layer():
    model = keras_lc.CIFARResNet(depth=8, augmentation=keras.layers.RandomFlip(name="mine"))
    assert model.get_layer("mine")


@pytest.mark.once
def test_files_fit_another_instance_with_a_random_layer_of_keras(tmp_path):
    model, other = (
        keras_lc.CIFARResNet(depth=8, width=4, augmentation=keras.layers.RandomFlip(), seed=seed)
        for seed in (1, 2)
    )
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(predict(other, images()), predict(model, images()))


@pytest.mark.once
def test_rows_are_not_taken_for_channels():
    with pytest.raises(ValueError, match=r"\(channels, height, width\).*\(32, 32, 3\)"):
        keras_lc.ResNetLC(depth=8, data_format="channels_first")


@pytest.mark.once
def test_numpy_integers_are_integers(tmp_path):
    model = keras_lc.ResNetLC(
        depth=np.int64(8), width=np.int32(4), expansion=np.int64(2), kernel_size=np.int64(3)
    )
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").name == "resnet_lc_8_4x2"


def test_channels_first_equals_channels_last():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow convolves channels_first on GPUs only")
    x = images()
    last = keras_lc.ResNetLC(depth=8, expansion=2, seed=1, data_format="channels_last")
    first = keras_lc.ResNetLC(
        depth=8, expansion=2, seed=1, data_format="channels_first", input_shape=(3, 32, 32)
    )
    np.testing.assert_allclose(
        predict(first, x.transpose(0, 3, 1, 2)), predict(last, x), rtol=1e-4, atol=1e-5
    )


@pytest.mark.once
@pytest.mark.parametrize("kernel_size", [1, 5, 7])
def test_other_kernel_sizes_keep_the_feature_maps_sizes(kernel_size):
    model = keras_lc.ResNetLC(depth=8, width=4, kernel_size=kernel_size)
    sizes = [model.get_layer(f"stage{s}_block0_add").output.shape[1:3] for s in (1, 2, 3)]
    assert sizes == [(32, 32), (16, 16), (8, 8)]


@pytest.mark.once
def test_image_size_may_be_unknown():
    model = keras_lc.ResNetLC(depth=8, width=4, input_shape=(None, None, 3))
    assert predict(model, images(shape=(40, 24, 3))).shape == (4, 10)


@pytest.mark.once
@pytest.mark.parametrize("between", ["relu", "bn", "bn_relu"])
def test_an_operation_may_stand_between_basis_and_combination(between):
    model = keras_lc.ResNetLC(depth=8, width=4, expansion=2, between=between)
    assert model.get_layer("stem_conv").between == between
    assert predict(model, images()).shape == (4, 10)


@pytest.mark.once
def test_outputs_are_logits_unless_an_activation_is_asked_for():
    logits = predict(keras_lc.CIFARResNet(depth=8, seed=1), images())
    model = keras_lc.CIFARResNet(depth=8, seed=1, classifier_activation="softmax")
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    np.testing.assert_allclose(predict(model, images()), expected, rtol=1e-4, atol=1e-6)


ONCE = [pytest.param(way, marks=pytest.mark.once) for way in ("weights", "pickle", "config")]


@pytest.mark.parametrize("way", ["keras", "clone", *ONCE])
def test_a_copy_gives_equal_outputs(way, tmp_path):
    import pickle

    model = keras_lc.ResNetLC(
        depth=8, width=4, expansion=2, kernel_size=5, input_shape=(28, 28, 1), classes=7,
        mean=100.0, std=50.0, classifier_activation="softmax", seed=3,
    )  # fmt: skip
    for variable in model.weights:  # far from the initial ones, BN statistics too
        if variable.trainable or "moving" in variable.name:
            variable.assign(variable + 0.1)
    if way == "keras":
        model.save(tmp_path / "model.keras")
        copy = keras.saving.load_model(tmp_path / "model.keras")
    elif way == "weights":
        model.save_weights(tmp_path / "model.weights.h5")
        copy = type(model).from_config(model.get_config())
        copy.load_weights(tmp_path / "model.weights.h5")
    elif way == "clone":
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    elif way == "pickle":
        copy = pickle.loads(pickle.dumps(model))
    else:
        copy = type(model).from_config(model.get_config())
        copy.set_weights(model.get_weights())
    x = images(shape=(28, 28, 1))
    assert (type(copy) is type(model) and copy.name == model.name and copy.seed == model.seed) or (
        way == "clone"  # Keras' clone takes the graph and the name alone
    )
    np.testing.assert_array_equal(predict(copy, x), predict(model, x))


@pytest.mark.parametrize(
    "policy", [pytest.param("mixed_bfloat16", marks=pytest.mark.once), "mixed_float16"]
)
def test_mixed_precision_computes_in_half_and_gives_float32_logits(policy):
    full = keras_lc.ResNetLC(depth=8, expansion=2, seed=1)
    keras.config.set_dtype_policy(policy)
    try:
        model = keras_lc.ResNetLC(depth=8, expansion=2, seed=1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    half = predict(model, images())
    assert half.dtype == "float32"
    np.testing.assert_allclose(half, predict(full, images()), atol=0.05)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 21}, r"`depth` must be 6n \+ 2.*depth=21"),
        ({"depth": 2}, r"`depth` must be 6n \+ 2.*depth=2"),
        ({"width": 0}, r"`width` must be an integer of at least 1.*width=0"),
        ({"kernel_size": 4}, r"`kernel_size` must be an odd integer.*kernel_size=4"),
        ({"input_shape": (32, 32)}, r"`input_shape` must have 3 axes.*\(32, 32\)"),
        ({"classes": 0}, r"`classes` must be at least 1.*classes=0"),
        ({"spatial": "learnt"}, r"`spatial` must be one of .*'lc'.*spatial='learnt'"),
        ({"augmentation": "crop"}, r"`augmentation` must be 'crop_flip'.*'crop'"),
        ({"mean": 100.0}, r"`mean` and `std` go together"),
        ({"mean": (0.5,) * 3, "std": (0.25,) * 3}, r"in pixel values, from 0 to 255"),
        (
            {"mean": (1.0, 2.0), "std": 60.0},
            r"`mean` must be a number or one number for each of",
        ),
        ({"mean": 100.0, "std": (60.0, 0.0, 60.0)}, r"`std` must be positive"),
        ({"seed": -1}, r"`seed` must be at least 0.*seed=-1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        keras_lc.CIFARResNet(**arguments)
