"""Training on two virtual devices against training on one: each backend's engine, in processes."""

import re

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.distribution import EvaluationBatches, PartOfBatches, distribute
from tests.distribution import launch
from tests.distribution.worker import TEST_IMAGES

BACKEND = keras.backend.backend()
MODES = launch.MODES[BACKEND]
#: Modes of several processes.
TOGETHER = {"jax": ("hosts",), "tensorflow": (), "torch": ("data",)}[BACKEND]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def seen(folder):
    """What each process saw, by mode; "none" is one device."""
    return launch.train(BACKEND, folder, "none", *MODES)


@pytest.fixture(scope="module")
def alone(seen):
    (process,) = seen["none"]
    return process


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_its_processes_and_replicas(mode, seen):
    processes = 2 if mode in TOGETHER else 1
    assert [p["process"] for p in seen[mode]] == list(range(processes))
    for process in seen[mode]:
        assert process["processes"] == processes
        assert process["replicas"] == (1 if mode == "model" else 2)


@pytest.mark.parametrize("optimizer", ["sgd", "lamb"])
@pytest.mark.parametrize("mode", MODES)
def test_losses_of_five_steps_are_those_of_one_device(mode, optimizer, seen, alone):
    expected = alone[optimizer]["losses"]
    assert len(expected) == 5 and np.ptp(expected) > 0.05
    for process in seen[mode]:
        np.testing.assert_allclose(process[optimizer]["losses"], expected, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_history_is_that_of_one_device_in_every_process(mode, seen, alone):
    for process in seen[mode]:
        assert process["sgd"].keys() == alone["sgd"].keys()
        for name, value in alone["sgd"].items():
            np.testing.assert_allclose(process["sgd"][name], value, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_trained_weights_are_those_of_one_device(mode, seen, folder):
    one, several = (np.load(folder / f"weights-{name}.npz") for name in ("none", mode))
    assert one.files == several.files
    for name in one.files:
        np.testing.assert_allclose(several[name], one[name], atol=1e-5)


@pytest.mark.parametrize("mode", ["none", *MODES])
def test_evaluation_is_exact_where_the_test_set_does_not_divide(mode, seen):
    first = seen[mode][0]
    assert TEST_IMAGES % 2
    np.testing.assert_allclose(first["lamb"]["val_loss"], first["expected"]["loss"], rtol=1e-6)
    for process in seen[mode]:
        assert process["correct"] == first["expected"]["correct"]
        accuracy = first["expected"]["correct"] / TEST_IMAGES
        np.testing.assert_allclose(process["lamb"]["val_accuracy"], accuracy, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_frozen_basis_is_the_same_in_every_process(mode, seen, alone):
    assert {process["bases"][0] for process in seen[mode]} == {alone["bases"][0]}


@pytest.mark.parametrize("mode", TOGETHER)
def test_processes_end_with_equal_models(mode, seen):
    first, second = seen[mode]
    assert first["weights_sgd"] == second["weights_sgd"]
    assert first["batch_norm"]["weights"] == second["batch_norm"]["weights"]


@pytest.mark.parametrize("mode", TOGETHER)
def test_processes_with_other_bases_are_refused(mode, seen):
    for process in seen[mode]:
        assert re.search(r"different models: .* 'conv1/basis'", process["refused"])


@pytest.mark.parametrize("mode", MODES)
def test_resumed_run_goes_on_as_if_it_had_not_stopped(mode, seen):
    for process in seen[mode]:
        assert process["resumed"] == process["whole"]


@pytest.mark.parametrize("mode", TOGETHER)
def test_only_the_first_process_writes_checkpoints(mode, seen, folder):
    names = sorted(path.name for path in (folder / mode).iterdir())
    assert names == ["checkpoint-0001.keras", "history.json"]


def test_batch_statistics_are_those_of_all_images(seen, alone):
    """The moving mean: of equal parts of a batch, the mean of their means is its mean."""
    for mode in MODES:
        for process in seen[mode]:
            # Steps after the first start from weights that saw other variances.
            np.testing.assert_allclose(
                process["batch_norm"]["mean"],
                alone["batch_norm"]["mean"],
                atol=1e-6 if BACKEND == "jax" else 1e-3,
            )


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX cuts a model into parts")
def test_each_device_holds_half_of_each_basis_and_of_its_combination(seen):
    shares = seen["model"][0]["shards"]
    cut = {path for path, share in shares.items() if share == 0.5}
    names = {re.sub(r"^lamb/|_(momentum|velocity)$", "", path).replace("/", "_") for path in cut}
    assert names == {"conv1_basis", "conv1_combination", "conv2_basis", "conv2_combination"}
    assert len(cut) == 4 + 2 * 3
    assert set(shares.values()) == {0.5, 1.0}


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX cuts a model into parts")
def test_each_device_holds_half_of_a_basis_of_any_dimension(seen):
    shares = seen["model"][0]["shards_of_other_layers"]
    assert len(shares) == 4 * 3
    for path, share in shares.items():
        assert share == (1 if path.endswith("/bias") else 0.5), path


@pytest.mark.once
def test_part_of_batches_follows_the_epochs():
    batches = keras_lc.training.ShuffledBatches(np.arange(8), np.arange(8), 4, seed=1)
    parts = [PartOfBatches(batches, 2, part) for part in range(2)]
    for epoch in range(2):
        parts[0].start_epoch(epoch)
        assert len(parts[0]) == 2 and parts[0].epoch == epoch
        for i in range(2):
            np.testing.assert_array_equal(
                np.concatenate([part[i][0] for part in parts]), batches[i][0]
            )
        before = batches[0][0]
        parts[0].start_epoch(epoch + 1)
        assert not np.array_equal(batches[0][0], before)


@pytest.mark.once
@pytest.mark.parametrize("images", [1, 7, 8, 13])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_evaluation_batches_hold_each_image_once_and_divide(images, replicas):
    x = np.arange(images)
    batches = EvaluationBatches(x, x, 4, multiple_of=replicas)
    found = [batches[i] for i in range(len(batches))]
    assert all(len(labels) % replicas == 0 and len(labels) > 0 for _, labels, _ in found)
    labels, weights = (np.concatenate([batch[i] for batch in found]) for i in (1, 2))
    np.testing.assert_array_equal(labels[weights > 0], x)
    np.testing.assert_allclose(weights.sum(), len(weights), rtol=1e-6)


@pytest.mark.once
def test_evaluation_batches_are_cut_into_the_processes_parts():
    x = np.arange(5)
    whole = EvaluationBatches(x, x, 4, multiple_of=2)
    parts = [EvaluationBatches(x, x, 4, 2, parts=2, part=part) for part in range(2)]
    for i in range(len(whole)):
        for column in range(3):
            together = np.concatenate([part[i][column] for part in parts])
            np.testing.assert_array_equal(together, whole[i][column])


@pytest.mark.once
def test_unusable_evaluation_batches_are_refused():
    with pytest.raises(ValueError, match=r"`batch_size` .* batch_size=0"):
        EvaluationBatches(np.zeros(2), np.zeros(2), 0)
    with pytest.raises(ValueError, match="2 images, 3 labels"):
        EvaluationBatches(np.zeros(2), np.zeros(3), 2)


class TwoReplicas(keras_lc.distribution.Distribution):
    replicas = 2


@pytest.mark.once
def test_batch_size_must_divide():
    with pytest.raises(ValueError, match=r"all 2 replicas .* batch_size=5"):
        TwoReplicas().batch_size(5, images=100)
    with pytest.raises(ValueError, match="the training set has 1"):
        TwoReplicas().batch_size(4, images=1)
    assert TwoReplicas().batch_size(4, images=100) == 4
    assert TwoReplicas().batch_size(16, images=11) == 10


@pytest.mark.once
def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind='both'"):
        distribute("both")


@pytest.mark.skipif(BACKEND == "jax", reason="JAX can")
def test_model_parallelism_points_to_jax():
    with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
        distribute("model")


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TF_CONFIG is TensorFlow's")
def test_several_tensorflow_hosts_point_to_jax(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    with pytest.raises(ValueError, match="Use JAX"):
        distribute("data")


@pytest.mark.skipif(BACKEND != "torch", reason="torchrun is PyTorch's")
def test_pytorch_without_torchrun_is_told_how(monkeypatch):
    with pytest.raises(ValueError, match="torchrun --nproc-per-node"):
        distribute("data")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun started 2 processes"):
        distribute("none")


def test_import_starts_no_device():
    """Or `keras.distribution.initialize` would come too late for several hosts."""
    if BACKEND != "jax":
        pytest.skip("only JAX has such an order")
    code = (
        "import keras_lc; from jax._src import xla_bridge; "
        "assert not xla_bridge.backends_are_initialized()"
    )
    (process,) = launch.processes_of("jax", "none", ["-c", code])
    launch.finish([process])
