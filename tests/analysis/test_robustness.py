"""Attacks, against the same attacks on the same network written with torch.nn."""

import keras
import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

import keras_lc
from keras_lc.analysis import adversarial_examples, robust_accuracy
from tests.models import torch_twin

COUNT = 1000
MEAN, STD = 120.0, 64.0
EPSILON = 1 / 255


@pytest.fixture(scope="module")
def images():
    """Crops of two photographs, with black and white among their values."""
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    generator = np.random.default_rng(0)
    crops = []
    for i in range(COUNT):
        photo = photos[i % 2]
        row, column = (generator.integers(0, size - 32) for size in photo.shape[:2])
        crops.append(photo[row : row + 32, column : column + 32])
    return np.array(crops)


def spread(model, images, scale):
    """Sets the classifier so that its logits have mean 0 and this standard deviation."""
    model.layers[-1].bias.assign(np.zeros(10))
    logits = model.predict(images.astype("float32"), batch_size=250, verbose=0)
    factor = scale / logits.std(axis=0)
    model.layers[-1].kernel.assign(model.layers[-1].kernel * factor)
    model.layers[-1].bias.assign(-factor * logits.mean(axis=0))
    return model


@pytest.fixture(scope="module")
def model(images):
    model = keras_lc.ResNetLC(depth=8, width=4, expansion=2, seed=3, mean=MEAN, std=STD)
    # As after training: no layer's statistics are those it begins with.
    generator = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(generator.uniform(0.5, 1.5, shape))
            layer.beta.assign(generator.normal(0, 0.2, shape))
            layer.moving_mean.assign(generator.normal(0, 0.2, shape))
            layer.moving_variance.assign(generator.uniform(0.05, 0.1, shape))
    return spread(model, images, 1.0)


class Torch:
    """The twin, and the attacks as one writes them in PyTorch: pixels in [0, 255], NCHW."""

    def __init__(self, model):
        self.net = torch_twin.ResNetLC(depth=8, width=4, expansion=2)
        self.net.copy_weights(model)
        self.net.eval()

    def logits(self, pixels):
        return self.net((pixels - MEAN) / STD)

    def predict(self, images):
        with torch.no_grad():
            return self.logits(self.tensor(images)).argmax(1).numpy()

    def gradient(self, pixels, labels):
        pixels = pixels.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(self.logits(pixels), labels, reduction="sum")
        return torch.autograd.grad(loss, pixels)[0]

    def fgsm(self, images, labels, epsilon):
        pixels, labels = self.tensor(images), torch.from_numpy(labels)
        return (pixels + 255 * epsilon * self.gradient(pixels, labels).sign()).clamp(0, 255)

    def pgd(self, images, labels, epsilon, step_size, steps, noise):
        pixels, labels = self.tensor(images), torch.from_numpy(labels)
        x = (pixels + 255 * epsilon * self.tensor(noise)).clamp(0, 255)
        for _ in range(steps):
            x = x + 255 * step_size * self.gradient(x, labels).sign()
            x = pixels + (x - pixels).clamp(-255 * epsilon, 255 * epsilon)
            x = x.clamp(0, 255)
        return x

    @staticmethod
    def tensor(images):
        return torch.from_numpy(images.transpose(0, 3, 1, 2).astype("float32"))

    @staticmethod
    def array(pixels):
        return pixels.numpy().transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def twin(model):
    return Torch(model)


@pytest.fixture(scope="module")
def labels(twin, images):
    """What the network says, so that it is right before the attack."""
    return twin.predict(images)


# --- against torch.nn ---


def test_clean_accuracy_is_that_of_an_attack_of_radius_0(model, images, labels):
    np.testing.assert_array_equal(
        adversarial_examples(model, images, labels, epsilon=0), images.astype("float32")
    )
    assert robust_accuracy(model, images, labels, epsilon=0) == 1
    wrong = (labels + (np.arange(COUNT) < 300)) % 10
    assert robust_accuracy(model, images, wrong, epsilon=0) == 0.7


def test_fgsm_examples_are_those_of_torch(model, twin, images, labels):
    actual = adversarial_examples(model, images, labels)
    expected = twin.array(twin.fgsm(images, labels, EPSILON))
    # But for gradients so near to 0 that rounding decides on the sign.
    assert np.mean(actual != expected) < 1e-4


def test_fgsm_accuracy_is_that_of_torch(model, twin, images, labels):
    attacked = twin.array(twin.fgsm(images, labels, EPSILON))
    expected = np.mean(twin.predict(attacked) == labels)
    assert 0.1 < expected < 0.9  # the attack does something, and not all
    assert robust_accuracy(model, images, labels) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_network_that_is_sure_is_attacked_all_the_same(model, images, labels, precision):
    def in_precision(layer):
        return type(layer).from_config({**layer.get_config(), "dtype": precision})

    sure = keras.models.clone_model(model, clone_function=in_precision)
    sure.set_weights(model.get_weights())
    images, labels = images[:100], labels[:100]
    # Probabilities that are 1 in float32, so that the cross-entropy has no gradient.
    sure.layers[-1].kernel.assign(1000 * sure.layers[-1].kernel)
    sure.layers[-1].bias.assign(1000 * sure.layers[-1].bias)
    # Some pixels have no gradient, behind ReLUs: as many as in the network that is not sure.
    moved, as_many = (
        np.mean(adversarial_examples(network, images, labels, epsilon=4 / 255) != images)
        for network in (sure, model)
    )
    assert moved == pytest.approx(as_many, abs=0.01)
    expected = robust_accuracy(model, images, labels, epsilon=4 / 255)
    assert robust_accuracy(sure, images, labels, epsilon=4 / 255) <= expected + 0.05


def test_pgd_accuracy_is_that_of_torch(model, twin, images, labels):
    images, labels = images[:250], labels[:250]
    settings = dict(epsilon=2 / 255, step_size=0.7 / 255, steps=5)
    noise = [2 * np.random.default_rng((7, i)).random(images.shape, "float32") - 1 for i in (0, 1)]
    survives = np.ones(len(images), bool)
    accuracies = []
    for start in noise:
        attacked = twin.array(twin.pgd(images, labels, noise=start, **settings))
        survives &= twin.predict(attacked) == labels
        accuracies.append(survives.mean())
    assert 0.05 < accuracies[1] <= accuracies[0] < 0.9
    for restarts, expected in zip((1, 2), accuracies, strict=True):
        actual = robust_accuracy(
            model, images, labels, attack="pgd", restarts=restarts, seed=7, **settings
        )
        assert actual == pytest.approx(expected, abs=1.001 / len(images))


def test_a_restart_is_taken_where_the_first_did_not_fool(small, few, numbers):
    options = dict(attack="pgd", epsilon=8 / 255, step_size=0.5 / 255, steps=1, seed=7)
    labels = small.predict(few.astype("float32"), verbose=0).argmax(-1)
    once, twice = (adversarial_examples(small, few, labels, restarts=n, **options) for n in (1, 2))
    fooled = small.predict(once, verbose=0).argmax(-1) != labels
    np.testing.assert_array_equal(twice[fooled], once[fooled])
    assert (twice[~fooled] != once[~fooled]).any(axis=(1, 2, 3)).all()


# --- what an attack may do; on a network that compiles fast ---


def small_network(activation=None, data_format="channels_last", scale=1.0, first=None):
    """One convolution, with weights that do not depend on the arguments."""
    shape = (8, 8, 3) if data_format == "channels_last" else (3, 8, 8)
    initial = [keras_lc.layers.FanInUniform(seed=seed) for seed in (0, 1, 2)]
    return keras.Sequential(
        [
            keras.Input(shape),
            first or keras.layers.Rescaling(1 / 64, offset=-2),
            keras.layers.Conv2D(
                8, 3, activation="relu", data_format=data_format, kernel_initializer=initial[0]
            ),
            keras.layers.GlobalAveragePooling2D(data_format=data_format),
            keras.layers.Dense(
                10, kernel_initializer=lambda *args, **options: scale * initial[1](*args, **options)
            ),
            keras.layers.Activation(activation, name="scores"),
        ]
    )


@pytest.fixture(scope="module")
def small():
    return small_network()


@pytest.fixture(scope="module")
def few(images):
    return images[:40, 8:16, 8:16]


@pytest.fixture(scope="module")
def numbers():
    return np.arange(40) % 10


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_no_pixel_leaves_the_ball_and_the_range(attack, small, few, numbers):
    few = few.copy()
    few[::2, 0], few[1::2, 0] = 0, 255
    attacked = adversarial_examples(small, few, numbers, attack=attack, epsilon=2.5 / 255, steps=3)
    assert attacked.dtype == "float32" and attacked.min() == 0 and attacked.max() == 255
    moved = np.abs(attacked - few)
    assert moved.max() == 2.5
    if attack == "fgsm":
        inside = (few > 2) & (few < 253)
        # Not where no path through a ReLU is open.
        assert np.mean(moved[inside] == 2.5) > 0.8
        assert set(np.unique(moved[inside])) <= {0, 2.5}


def test_the_model_stays_as_it_was(few, numbers):
    model = keras_lc.ResNetLC(depth=8, width=2, seed=0, input_shape=(8, 8, 3))
    before = model.get_weights()
    adversarial_examples(model, few, numbers)
    assert not model.compiled
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.once
def test_epsilon_is_a_share_of_the_range_of_pixels(few, numbers, small):
    model = small_network(first=keras.layers.Rescaling(127.5 / 64, offset=127.5 / 64 - 2))
    scaled = (few / 127.5 - 1).astype("float32")
    attacked = adversarial_examples(model, scaled, numbers, pixel_range=(-1, 1), epsilon=0.01)
    # A hundredth of a range of 2.
    assert np.abs(attacked - scaled).max() == pytest.approx(0.02, rel=1e-5)
    assert attacked.min() >= -1 and attacked.max() <= 1
    expected = adversarial_examples(small, few, numbers, epsilon=0.01) / 127.5 - 1
    assert np.mean(np.abs(attacked - expected) > 1e-4) < 1e-3


def test_the_batch_size_does_not_matter(small, few, numbers):
    options = dict(attack="pgd", epsilon=2 / 255, steps=1, restarts=2, seed=5)
    whole, parts = (
        adversarial_examples(small, few, numbers, batch_size=size, **options) for size in (40, 15)
    )
    assert np.mean(whole != parts) < 1e-3


@pytest.mark.once
def test_another_seed_starts_elsewhere(small, few, numbers):
    # Steps that do not reach the surface of the ball from everywhere.
    options = dict(attack="pgd", steps=1, step_size=0.2 / 255)
    first, again, other = (
        adversarial_examples(small, few, numbers, seed=seed, **options) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != other) > 0.1


# --- models and labels ---


@pytest.mark.once
def test_one_hot_and_column_labels_are_class_numbers(small, few, numbers):
    expected = adversarial_examples(small, few, numbers)
    for other in (np.eye(10)[numbers], numbers[:, None], numbers.astype("uint8"), list(numbers)):
        np.testing.assert_array_equal(adversarial_examples(small, few, other), expected)


def as_nested(network):
    return keras.Sequential([keras.Input((8, 8, 3)), network])


def with_softmax_layer(network):
    logits = network.layers[-2].output
    return keras.Model(network.inputs[0], keras.layers.Softmax()(logits))


@pytest.mark.parametrize("wrap", [lambda network: network, as_nested, with_softmax_layer])
def test_probabilities_are_attacked_as_their_logits(wrap, small, few, numbers):
    expected = adversarial_examples(small, few, numbers)
    actual = adversarial_examples(wrap(small_network("softmax")), few, numbers)
    assert np.mean(actual != expected) < 1e-3


def test_a_sure_model_still_has_a_gradient(few):
    sure = small_network("softmax", scale=400)
    predictions = sure.predict(few.astype("float32"), verbose=0)
    # Keras' own cross-entropy has no gradient there.
    certain = predictions.max(axis=-1) > 1 - 1e-7
    assert np.mean(certain) > 0.5
    attacked = adversarial_examples(sure, few, predictions.argmax(-1))
    largest = np.abs(attacked - few).max(axis=(1, 2, 3))
    # Beyond a distance of some 100 logits, float32 has none either.
    assert np.mean(largest[certain] == 1) > 0.5


class Subclassed(keras.Model):
    def __init__(self, inner):
        super().__init__(name="own")
        self.inner = inner

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=False):
        return self.inner(inputs, training=training)


@pytest.mark.once
def test_a_subclassed_model_must_be_said_to_return_logits(small, few, numbers):
    own = Subclassed(small)
    own(few.astype("float32"))
    with pytest.raises(ValueError, match=r"'own' \(Subclassed\)\. Pass `from_logits=True` or"):
        adversarial_examples(own, few, numbers)
    np.testing.assert_array_equal(
        adversarial_examples(own, few, numbers, from_logits=True),
        adversarial_examples(small, few, numbers),
    )


@pytest.mark.once
def test_other_activations_are_refused(few, numbers):
    with pytest.raises(ValueError, match=r"'scores' \(Activation, activation sigmoid\)\. Pass"):
        adversarial_examples(small_network("sigmoid"), few, numbers)


def test_channels_first_images_are_attacked_as_their_transposes(small, few, numbers):
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no such convolution on CPUs.")
    first = small_network(data_format="channels_first")
    attacked = adversarial_examples(first, few.transpose(0, 3, 1, 2), numbers)
    expected = adversarial_examples(small, few, numbers)
    assert np.mean(attacked.transpose(0, 2, 3, 1) != expected) < 1e-3


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64"])
def test_models_of_other_precisions_are_attacked_alike(policy, small, few, numbers):
    if (keras.backend.backend(), policy) == ("jax", "float64"):
        pytest.skip("JAX computes in float64 only if it is told before it starts.")
    keras.config.set_dtype_policy(policy)
    try:
        attacked = adversarial_examples(small_network(), few, numbers)
    finally:
        keras.config.set_dtype_policy("float32")
    expected = adversarial_examples(small, few, numbers)
    assert np.mean(attacked != expected) < (0.2 if policy == "mixed_bfloat16" else 1e-3)


# --- what is refused ---


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(attack="cw"), r"`attack` must be one of \('fgsm', 'pgd'\)\. Received: attack='cw'"),
        (dict(epsilon=8), r"`epsilon` must be a share of the pixel range.*Received: epsilon=8"),
        (dict(epsilon=-0.1), "`epsilon` must be a share"),
        (dict(epsilon=float("nan")), "`epsilon` must be a share"),
        (dict(step_size=2), r"`step_size` must be a share.*Received: step_size=2"),
        (dict(steps=0), r"`steps` must be an integer of at least 1\. Received: steps=0"),
        (dict(restarts=1.5), r"`restarts` must be an integer"),
        (dict(batch_size=0), "`batch_size` must be an integer"),
        (dict(pixel_range=(255, 0)), r"`pixel_range` must be the lowest and the highest"),
        (dict(pixel_range=(0, 1)), r"pixel_range=\(0, 1\)\. Received: values from \d+ to 2"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message, small, few, numbers):
    with pytest.raises(ValueError, match=message):
        adversarial_examples(small, few, numbers, **options)


@pytest.mark.once
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros(9, int), r"Received: 40 images, 9 labels"),
        (np.zeros((40, 4), int), r"Received: shape \(40, 4\)"),
        (np.full(40, 0.5), "dtype float64"),
        (np.arange(40) % 10 + 1, r"from 0 to 9 .*Received: labels from 1 to 10"),
    ],
)
def test_labels_that_do_not_match_are_refused(wrong, message, small, few):
    with pytest.raises(ValueError, match=message):
        adversarial_examples(small, few, wrong)


@pytest.mark.once
def test_images_scaled_to_1_are_warned_of(small, few, numbers):
    with pytest.warns(UserWarning, match=r"Pass `pixel_range=\(0, 1\)` if they are scaled"):
        adversarial_examples(small, few / 255, numbers)


@pytest.mark.once
def test_no_images_and_images_of_another_shape_are_refused(small, few, numbers):
    with pytest.raises(ValueError, match=r"Received: shape \(0, 8, 8, 3\)"):
        adversarial_examples(small, few[:0], numbers[:0])
    wrong = r"shape \(None, 8, 8, 3\)\. Received: shape \(40, 8, 8, 1\)"
    with pytest.raises(ValueError, match=wrong):
        adversarial_examples(small, few[..., :1], numbers)


@pytest.mark.once
def test_a_model_of_integer_images_has_no_gradient(small, few, numbers):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    with pytest.raises(ValueError, match="takes images of dtype uint8"):
        adversarial_examples(keras.Model(inputs, small(inputs)), few, numbers)


@pytest.mark.once
def test_a_model_with_two_outputs_is_refused(small, few, numbers):
    two = keras.Model(small.inputs[0], [small.outputs[0], small.outputs[0]])
    with pytest.raises(ValueError, match=r"must have one output of shape \(batch, classes\)"):
        adversarial_examples(two, few, numbers)
