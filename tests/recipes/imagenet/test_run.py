"""`python -m recipes.imagenet`, on small pictures and on real ones."""

import dataclasses
import json
import pathlib
import re
import signal
import subprocess
import sys
import tarfile

import keras
import numpy as np
import pytest
from PIL import Image

import keras_lc
from recipes.common.callbacks import TrainingTime
from recipes.imagenet.arguments import Arguments, check, defaults, parse
from recipes.imagenet.network import build
from recipes.imagenet.presets import PRESETS, RECIPES
from recipes.imagenet.run import recipe_of, run
from tests.recipes.tiny_network import tiny

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[3]
SAMPLE = ROOT.parent / "shared" / "data" / "imagenet-sample.tar"
EPOCHS, CLASSES = 3, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four classes of noisy pictures of four colours."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for label in range(CLASSES):
            directory = root / split / f"n{label}"
            directory.mkdir(parents=True)
            for i in range(count):
                shape = (*rng.integers(24, 40, 2), 3)
                image = (60 * label + rng.integers(0, 30, shape)).astype("uint8")
                Image.fromarray(image).save(directory / f"{i}.JPEG")
    return root


@pytest.fixture(scope="module", autouse=True)
def tiny_networks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recipes.imagenet.run.build", tiny)
        yield


def arguments(data_dir, output, **kwargs):
    small = {
        "image_size": 8, "batch_size": 8, "epochs": EPOCHS, "warmup_epochs": 1,
        "augmentation": "light", "expansion": 2,
    }  # fmt: skip
    return Arguments(data_dir=data_dir, output=output, **{**small, **kwargs})


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory, tiny_networks):
    output = tmp_path_factory.mktemp("run") / "out"
    return output, run(arguments(folder, output))


def history(output):
    return json.loads((output / "history.json").read_text())


def test_writes_its_files_and_nothing_else(finished):
    names = sorted(path.name for path in finished[0].iterdir())
    files = ["best.keras", "config.json", "curves.png", "history.json", "model.keras"]
    assert names == [*files, "seconds.json"]


def test_history_has_top_1_and_top_5_of_every_epoch(finished):
    names = ["loss", "accuracy", "top5", "val_loss", "val_accuracy", "val_top5"]
    lengths = {name: len(values) for name, values in history(finished[0]).items()}
    assert lengths == dict.fromkeys(names, EPOCHS)


def test_the_best_model_is_that_of_the_best_epoch(finished):
    output, results = finished
    accuracies = history(output)["val_accuracy"]
    assert results["best_epoch"] == 1 + accuracies.index(max(accuracies))
    assert results["test_accuracy"] == pytest.approx(max(accuracies))
    assert results["test_correct"] == results["test_accuracy"] * results["test_images"]
    assert results["test_images"] == 8
    assert results["test_top5"] == 1  # of four classes
    best = keras.saving.load_model(output / "best.keras")
    assert best.name == "tiny"
    assert best.class_names == tuple(f"n{label}" for label in range(CLASSES))


def test_config_says_how_the_run_was_made(finished):
    config = json.loads((finished[0] / "config.json").read_text())
    assert config["arguments"]["optimizer"] == "lamb"
    assert config["precision"] == "float32"
    counts = {"training_images": 6 * CLASSES, "test_images": 2 * CLASSES, "classes": CLASSES}
    assert counts.items() <= config["data"].items()
    assert config["backend"] == keras.backend.backend()
    assert config["results"] == finished[1]


def test_trains_with_the_recipes_optimizer_and_loss(finished):
    model = keras.saving.load_model(finished[0] / "model.keras")
    assert type(model.optimizer) is keras_lc.training.LAMB
    assert model.optimizer.weight_decay == 0.02
    assert type(model.loss) is keras_lc.training.BinarisedCrossentropy
    assert int(model.optimizer.iterations) == EPOCHS * 24 // 8


@pytest.mark.long
def test_equal_arguments_give_equal_runs_and_seeds_others(finished, folder, tmp_path):
    run(arguments(folder, tmp_path / "again"))
    assert history(tmp_path / "again") == history(finished[0])
    run(arguments(folder, tmp_path / "other", seed=1, epochs=1, warmup_epochs=0))
    assert history(tmp_path / "other")["loss"][0] != history(finished[0])["loss"][0]


@pytest.mark.long
def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_end(
    finished, folder, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "stopped"

    class CtrlC(TrainingTime):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            if epoch == 1:
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("recipes.imagenet.run.TrainingTime", CtrlC)
        with pytest.raises(SystemExit) as stopped:
            run(arguments(folder, output))
    assert stopped.value.code == 130
    assert re.search(
        r"Resume with: python -m recipes\.imagenet .* --resume", capsys.readouterr().out
    )
    assert len(history(output)["loss"]) == 1

    with pytest.raises(SystemExit, match=r"--expansion: 2 then, 4 now"):
        run(arguments(folder, output, expansion=4, resume=True))
    run(arguments(folder, output, resume=True))
    assert history(output) == history(finished[0])
    for name in ("model.keras", "best.keras"):
        whole, resumed = (keras.saving.load_model(path / name) for path in (finished[0], output))
        for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.long
def test_the_command_takes_presets_and_writes_a_preview(folder, tmp_path):
    words = ["--preset", "r18d-lcx8", "--data-dir", folder, "--preview", tmp_path / "seen.png"]
    words += ["--augmentation", "light", "--image-size", 16, "--batch-size", 8]
    done = subprocess.run(
        [sys.executable, "-m", "recipes.imagenet", *map(str, words)],
        cwd=ROOT, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.size == (8 * 16, 16)


def test_steps_shorten_an_epoch_or_repeat_the_images(folder, tmp_path):
    run(arguments(folder, tmp_path / "run", epochs=1, warmup_epochs=0, steps=5))
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert int(model.optimizer.iterations) == 5


@pytest.mark.filterwarnings("ignore:Skipped a damaged image")
def test_damaged_images_are_in_the_results_up_to_the_limit(folder, tmp_path):
    root = tmp_path / "pictures"
    for path in folder.rglob("*.JPEG"):
        copy = root / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    damaged = [root / "train" / "n1" / "2.JPEG", root / "val" / "n2" / "1.JPEG"]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:300])
    short = {"epochs": 1, "warmup_epochs": 0, "steps": 6}
    results = run(arguments(root, tmp_path / "run", **short))
    assert sorted(results["damaged_images"]) == sorted(map(str, damaged))
    assert results["test_images"] == 7
    with pytest.raises(ValueError, match=r"more than --max-corrupt 0:\n.*2\.JPEG"):
        run(arguments(root, tmp_path / "strict", **short, max_corrupt=0))


def test_preview_shows_the_first_batch_and_trains_nothing(folder, tmp_path):
    preview, output = tmp_path / "augmented.png", tmp_path / "run"
    assert run(arguments(folder, output, preview=preview, batch_size=12)) is None
    with Image.open(preview) as picture:
        assert picture.format == "PNG"
        assert picture.size == (8 * 8, 2 * 8)  # 12 images in two rows
        assert (np.asarray(picture)[8:, 4 * 8 :] == 0).all()
    assert not output.exists()


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"needs the real pictures of {SAMPLE}")
def test_trains_on_real_pictures_with_the_whole_recipe(tmp_path):
    with tarfile.open(SAMPLE) as archive:
        members = [one for one in archive.getmembers() if one.name.endswith(".JPEG")][:8]
        archive.extractall(tmp_path / "pictures", members, filter="data")
    (train,) = (tmp_path / "pictures").rglob("train")
    (train.parent / "val").symlink_to(train)
    output = tmp_path / "run"
    a2 = {"augmentation": "a2", "image_size": 16, "steps": 4, "learning_rate": 0.05}
    run(arguments(train.parent, output, **a2))
    losses = history(output)["val_loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 0}, "--batch-size must be at least 1.*0"),
        ({"epochs": 0}, "--epochs must be at least 1.*0"),
        ({"steps": 0}, "--steps must be at least 1.*0"),
        ({"crop_ratio": 1.5}, r"--crop-ratio must be above 0 and at most 1.*1\.5"),
        ({"crop_ratio": 0.0}, "--crop-ratio must be above 0.*0"),
        ({"seed": -1}, "--seed must be at least 0.*-1"),
        ({"max_corrupt": -1}, "--max-corrupt must be at least 0.*-1"),
        ({"learning_rate": float("nan")}, "--learning-rate must be above 0.*nan"),
        ({"stochastic_depth": 1.0}, "--stochastic-depth must be at least 0 and below 1.*1"),
        ({"warmup_epochs": 3}, "--warmup-epochs must be .* below --epochs.*3 --epochs 3"),
        ({"depth": 20}, "--depth must be 18, 26, 34, 50 or 101.*20"),
        ({"variant": "next"}, "--variant next needs --depth 26, 50 or 101.*18"),
        ({"spatial": "max"}, "--spatial max needs --depth 26, 50 or 101.*18"),
        ({"width_multiplier": 0.51}, "a multiple of 2 .*0.51"),
        ({"depth": 34, "spatial": "average"}, "--spatial average needs --depth 26, 50 or 101.*34"),
        (
            {"network": "vit", "spatial": "hybrid"},
            "--spatial hybrid needs a network with bottlenecks: resnet, mobilenet_v2, .* vit",
        ),
        ({"network": "pit", "patch_size": 5}, "--patch-size must be even for pit.*5"),
        ({"network": "vit"}, "--patch-size must be at most --image-size, 8. Received: 16"),
        ({"label_smoothing": 0.1}, "--label-smoothing needs --loss crossentropy.*0.1"),
        ({"final_learning_rate": 1.0}, "--final-learning-rate must be at most .*0.005.*1"),
        ({"final_learning_rate": 1e-4, "schedule": "steps"}, "needs --schedule cosine.*0.0001"),
        ({"compact": True, "frozen": False}, "--compact needs --frozen"),
    ],
)
def test_arguments_that_cannot_be_are_named(kwargs, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        check(arguments(tmp_path, tmp_path / "run", **kwargs))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_pass_the_check(preset):
    check(defaults(preset))


def test_too_few_images_for_a_batch_are_named(folder, tmp_path):
    with pytest.raises(SystemExit, match="24 training images do not fill a batch of 25"):
        run(arguments(folder, tmp_path / "run", batch_size=25))


def test_finished_run_is_not_overwritten(finished, folder):
    with pytest.raises(SystemExit, match="already holds a run"):
        run(arguments(folder, finished[0]))


def test_a_preset_is_the_default_and_what_is_given_overrides_it():
    given = parse("", ["--preset", "r18d-lcx8", "--expansion", "4", "--epochs", "100"])
    assert (given.depth, given.variant, given.spatial) == (18, "d", "lc")
    assert (given.expansion, given.epochs, given.optimizer) == (4, 100, "lamb")
    assert parse("", ["--preset=r50-max"]) == defaults("r50-max")
    assert parse("", []) == Arguments()


def test_an_unknown_preset_is_named():
    with pytest.raises(SystemExit, match=r"--preset must be one of r18d, .*Received: r18d-lcx9"):
        parse("", ["--preset", "r18d-lcx9"])


LIBRARY = {
    "a2": keras_lc.training.IMAGENET_A2,
    "sgd90": keras_lc.training.SGD90,
    "deit": keras_lc.training.DEIT,
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_the_librarys(name):
    assert recipe_of(defaults(recipe=name)) == LIBRARY[name.partition("_")[0]]


@pytest.mark.parametrize(
    ("name", "augmentation", "crop_ratio"),
    [
        ("a2", "a2", 0.95), ("sgd90", "light", 0.875), ("sgd90_cutmix", "cutmix", 0.875),
        ("deit", "deit", 0.875), ("deit_cutmix", "cutmix", 0.875), ("deit_light", "light", 0.875),
    ],
)  # fmt: skip
def test_recipes_have_their_images(name, augmentation, crop_ratio):
    found = defaults(recipe=name)
    assert (found.augmentation, found.crop_ratio) == (augmentation, crop_ratio)


def test_a_preset_has_the_recipe_of_its_published_accuracy():
    recipes = {name: defaults(name).recipe for name in PRESETS}
    free = {name: recipes.pop(name) for name in ("r50", "r50-max", "r50-hybrid")}
    transformers = {name: recipes.pop(name) for name in list(recipes) if "it-s" in name}
    assert set(free.values()) == {"sgd90"} and set(transformers.values()) == {"deit"}
    assert len(transformers) == 4 and set(recipes.values()) == {"a2"}
    assert defaults("r50").stochastic_depth == 0 and defaults("r50-frozen").stochastic_depth > 0


def test_loss_schedule_and_optimizer_are_independent_of_the_recipe():
    words = ["--preset", "r50-max", "--recipe", "a2", "--loss", "crossentropy"]
    found = recipe_of(parse("", [*words, "--schedule", "steps", "--optimizer", "adamw"]))
    a2 = keras_lc.training.IMAGENET_A2
    changed = {"algorithm": "adamw", "schedule": "steps", "target_threshold": None}
    assert found == dataclasses.replace(a2, **changed, drop_epochs=100)
    assert parse("", ["--recipe", "sgd90", "--epochs", "9"]).learning_rate == 0.2


def test_steps_are_thirds_of_any_run():
    recipe = recipe_of(dataclasses.replace(defaults("r50"), epochs=9, warmup_epochs=1))
    assert (recipe.drop_epochs, recipe.epochs) == (3, 9)


def test_an_unknown_recipe_is_named():
    with pytest.raises(SystemExit, match=r"--recipe must be one of a2, sgd90, .*Received: sgd91"):
        parse("", ["--preset", "r50", "--recipe", "sgd91"])


NAMES = {
    "r18d-lcx8": "resnet_lc_18d_x8", "r50-max": "resnet_50_max",
    "vit-s-max": "vit_small_max", "pit-s": "pit_small",
    "wide-r50-frozen": "wide_resnet_50_2_frozen", "mobilenet-v2-frozen": "mobilenet_v2_frozen",
}  # fmt: skip


@pytest.mark.parametrize("preset", NAMES)
def test_presets_are_the_papers_networks(preset):
    narrow = dataclasses.replace(defaults(preset), image_size=32, width_multiplier=0.25)
    assert re.sub(r"_w16|_025", "", build(narrow, 10).name) == NAMES[preset]


def test_presets_set_what_there_is_to_set():
    fields = {field.name for field in dataclasses.fields(Arguments)}
    assert all(preset.settings.keys() <= fields for preset in PRESETS.values())
