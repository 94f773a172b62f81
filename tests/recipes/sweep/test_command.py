"""`python -m recipes.sweep`: what it writes, and a whole sweep of small networks."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import keras
import pytest

from recipes.common.files import read_json, write_checked
from recipes.common.results import (
    COLUMNS,
    SAME_ATTACK,
    SAME_DATA,
    collect,
    row_of,
    unlike,
    write_rows,
)
from recipes.evaluate.settings import Evaluation
from recipes.sweep.command import check_data, share_cores, sweep
from recipes.sweep.grid import Cell, Machine
from recipes.sweep.jobs import ROOT, Job, Outcome, Step
from tests.recipes.fake_runs import change, write_model, write_run

pytestmark = pytest.mark.once

CELLS = [
    Cell(expansion=8, seed=1, subset=500, compact=True),
    Cell(operator="learned", precision="mixed_bfloat16"),
    Cell(operator="gram_limit", expansion=64),
    Cell(network="resnet18", operator="frozen"),
    Cell(operator="lc_learnable", between="bn_relu", expansion=2),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_row_has_the_settings_of_the_cell_and_what_was_measured(cell, tmp_path):
    row = row_of(write_run(tmp_path, cell, accuracy=0.75, robust=0.25), broken=[])
    no_combination = not cell.operator.startswith("lc_")
    for name in ("dataset", "network", "depth", "expansion", "operator", "kernel_size", "seed"):
        assert row[name] == getattr(cell, name), name
    assert row["width_multiplier"] == (1.0 if cell.network == "resnet18" else None)
    for name in ("compact", "between", "shared_basis"):
        assert row[name] == (None if no_combination else getattr(cell, name)), name
    assert (row["test_accuracy"], row["robust_accuracy"]) == (0.75, 0.25)
    assert row["training_images"] == (cell.subset or 50000)
    assert row["attack_images"] == 100 and row["data_source"] == "image folder, JPEG"
    assert tuple(row) == COLUMNS


def test_row_of_a_run_that_went_on_elsewhere_says_so(tmp_path):
    run = write_run(tmp_path, Cell(), accuracy=0.5)
    part = {"backend": "torch", "device": "2 CPU cores", "versions": {"keras": "3.16.0"}}
    change(run / "config.json", resumed=[part])
    row = row_of(run, broken=[])
    assert (row["backend"], row["device"]) == ("jax, then torch", "2 CPU cores")
    assert row["keras"] == "3.15.1, then 3.16.0"


def test_runs_on_one_data_set_are_told_apart_by_what_they_differ_in(tmp_path):
    attacks = {"epsilon": 2.0}, {}
    for seed, attack in enumerate(attacks):
        evaluation = Evaluation(attack_images=100, **attack)
        write_run(tmp_path, Cell(seed=seed), 0.5, evaluation=evaluation)
    write_run(tmp_path, Cell(dataset="svhn_cropped"), 0.5, data="other")
    names = [Cell(seed=seed).name for seed in range(2)]
    assert unlike(collect(tmp_path)[0], (*SAME_DATA, *SAME_ATTACK)) == {
        "epsilon": {2.0: names[0], 1.0: names[1]}
    }


def test_unfinished_run_has_no_row(tmp_path):
    run = write_run(tmp_path, Cell(), accuracy=0.5)
    (run / "model.keras").unlink()
    assert row_of(run, broken=[]) is None and collect(tmp_path) == ([], [])


def test_run_that_is_not_evaluated_has_a_row(tmp_path):
    run = write_run(tmp_path, Cell(), accuracy=0.5)
    (run / "evaluation.json").unlink()
    (row,), _ = collect(tmp_path)
    assert row["test_accuracy"] == 0.5 and row["robust_accuracy"] is row["epsilon"] is None


# --- what cannot be believed is left out, and named ---


def edit_by_hand(run):
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"seed": 1', '"seed": 7'))


def cut_off(run):
    (run / "model.keras").write_bytes((run / "model.keras").read_bytes()[:-30])


def another_model(run):
    write_model(run / "model.keras", "another run")


def stray_json(run):
    (run / "config.json").write_text("[1, 2]")


def without_settings(run):
    (run / "config.json").unlink()


def without_results(run):
    config = read_json(run / "config.json")
    write_checked(run / "config.json", {"run": run.name, "arguments": config["arguments"]})


def of_something_else(run):
    write_checked(run / "config.json", {"run": run.name, "results": {}, "arguments": []})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit_by_hand, "config.json was changed after it was written"),
        (cut_off, "model.keras is damaged"),
        (another_model, "model.keras and the config.json beside it belong to different runs"),
        (stray_json, "config.json is damaged (it holds no dict)"),
        (without_settings, "model.keras exists, but the config.json beside it holds no results"),
        (without_results, "model.keras exists, but the config.json beside it holds no results"),
        (of_something_else, "config.json is not the file of a known run"),
    ],
)
def test_a_broken_run_is_left_out_and_named(damage, message, tmp_path):
    good, bad = (write_run(tmp_path, Cell(seed=seed), accuracy=0.5) for seed in (0, 1))
    damage(bad)
    rows, broken = collect(tmp_path)
    assert [row["run"] for row in rows] == [good.name]
    (named,) = broken
    assert str(bad) in named and message in named


@pytest.mark.parametrize("content", ["{", '{"run": 1}'])
def test_a_broken_evaluation_is_left_out_and_named(content, tmp_path):
    run = write_run(tmp_path, Cell(), accuracy=0.5)
    (run / "evaluation.json").write_text(content)
    (row,), broken = collect(tmp_path)
    assert row["test_accuracy"] == 0.5 and row["robust_accuracy"] is None
    assert "evaluation.json" in broken[0]


def test_an_evaluation_of_another_model_is_left_out(tmp_path):
    run = write_run(tmp_path, Cell(), accuracy=0.5)
    change(run / "evaluation.json", run="another")
    (row,), (named,) = collect(tmp_path)
    assert row["robust_accuracy"] is None and "belong to different runs" in named


def test_a_sweep_names_what_is_broken_once_and_goes_on(tmp_path, capsys):
    edit_by_hand(write_run(tmp_path, Cell(seed=1), accuracy=0.5))
    (tmp_path / "sweep.json").write_text("{")
    (tmp_path / ".results.csv.7.tmp").touch()
    os.utime(tmp_path / ".results.csv.7.tmp", (0, 0))
    step = Step("tests.recipes.fake_step", (str(tmp_path / "a"), "0"), tmp_path / "a")
    job = Job("a", tmp_path / "a", (step,), epochs=1)
    (outcome,) = sweep([job], tmp_path, Machine(threads=1))
    said = capsys.readouterr().out
    assert outcome.state == "done"
    assert said.count("was changed after it was written") == 1
    assert "sweep.json is damaged" in said and read_json(tmp_path / "sweep.json")["runs"] == ["a"]
    # Of a sweep that was killed.
    assert not list(tmp_path.glob("*.tmp"))


def test_a_sweep_prints_its_folder_as_it_is(tmp_path, capsys):
    output = tmp_path / ("[red]a[/red] :smile: " + "long " * 20)
    step = Step("tests.recipes.fake_step", (str(output / "[b]"), "0"), output / "[b]")
    sweep([Job("[b]", output / "[b]", (step,), epochs=1)], output, Machine(threads=1))
    said = capsys.readouterr().out
    assert f"1 runs in {output}: 0 are finished" in said
    assert "started  [b]\n" in said and "done     [b]  " in said
    assert f"Results: {output / 'results.csv'}\n" in said


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", " =1+1", "\t=1+1"])
def test_text_that_begins_like_a_formula_is_quoted(text, tmp_path):
    row = dict.fromkeys(COLUMNS) | {"device": text, "seconds": -1.5, "network": "a-b"}
    write_rows(tmp_path / "results.csv", [row])
    (written,) = read_rows(tmp_path / "results.csv")
    assert (written["device"], written["seconds"], written["network"]) == (
        f"'{text}",
        "-1.5",
        "a-b",
    )


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_table_has_every_value_to_its_last_digit(tmp_path):
    for number, cell in enumerate(CELLS):
        write_run(tmp_path, cell, accuracy=1 / (3 + number))
    rows, _ = collect(tmp_path)
    write_rows(tmp_path / "results.csv", rows)
    written = read_rows(tmp_path / "results.csv")
    assert len(rows) == len(CELLS) and list(written[0]) == list(COLUMNS)
    assert written == [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
    ]
    assert not list(tmp_path.glob(".*"))


def test_cores_are_shared_by_the_workers():
    assert share_cores(Machine(workers=1000)).threads == 1
    assert share_cores(Machine(workers=1)).threads == os.cpu_count()
    assert share_cores(Machine(workers=2, threads=3)).threads == 3
    with pytest.raises(SystemExit, match="--workers must be at least 1"):
        share_cores(Machine(workers=0))
    with pytest.raises(SystemExit, match="--threads must be at least 1"):
        share_cores(Machine(threads=0))
    for timeout in (0.0, -1.0, float("nan")):
        with pytest.raises(SystemExit, match=f"--timeout must be above 0. Received: {timeout:g}"):
            share_cores(Machine(timeout=timeout))


def test_folders_of_data_must_be_there_and_be_asked_for(tmp_path):
    cells = [Cell(dataset="cifar10"), Cell(dataset="tiny-imagenet")]
    check_data(cells, Machine(data_dirs={"cifar10": tmp_path}))
    with pytest.raises(SystemExit, match=r"no run uses 'cifr10'.*use cifar10, tiny-imagenet\."):
        check_data(cells, Machine(data_dirs={"cifr10": tmp_path}))
    with pytest.raises(SystemExit, match=r"nowhere is not a folder \(cifar10\)"):
        check_data(cells, Machine(data_dirs={"cifar10": tmp_path / "nowhere"}))


def fake_job(folder, name, settings):
    """A job that writes settings, and is done when they are the right ones."""
    step = Step(
        "tests.recipes.fake_step", (str(folder / name), "0"), folder / f"{name}.json", settings
    )
    return Job(name, folder / name, (step,), epochs=1)


def test_sweep_whose_results_another_one_replaced_has_failed(tmp_path, monkeypatch):
    jobs = [fake_job(tmp_path, name, {"epsilon": 1.0}) for name in "ab"]
    for name in "ab":
        write_checked(tmp_path / f"{name}.json", {"settings": {"epsilon": 1.0}})
    assert sweep(jobs, tmp_path, Machine(threads=1)) == []

    def other(jobs, *_):
        write_checked(tmp_path / "a.json", {"settings": {"epsilon": 4.0}})
        write_checked(tmp_path / "b.json", {"settings": {"epsilon": 1.0}})
        return [Outcome("b", "done")]

    (tmp_path / "b.json").unlink()
    monkeypatch.setattr("recipes.sweep.command.run_all", other)
    outcomes = sweep(jobs, tmp_path, Machine(threads=1))
    assert {outcome.name: outcome.state for outcome in outcomes} == {"b": "done", "a": "failed"}
    assert "Another sweep" in outcomes[-1].log_tail


def test_what_an_earlier_sweep_asked_for_is_remembered(tmp_path):
    for name in "ab":
        write_checked(tmp_path / f"{name}.json", {"settings": {"epsilon": 1.0}})
        sweep([fake_job(tmp_path, name, {"epsilon": 1.0})], tmp_path, Machine(threads=1))
    assert read_json(tmp_path / "sweep.json")["runs"] == ["a", "b"]


# --- a real one ---


def start(output, log):
    # The last number of images is more than there are.
    words = [
        sys.executable, "-u", "-m", "recipes.sweep", "--output", output, "--datasets", "digits",
        "--depths", 8, "--widths", 4, "--expansions", 2, "--subsets", 64, 128, 99999,
        "--batch-sizes", 64, "--epochs", 2, "--seeds", 0, "--attack-images", 20, "--workers", 2,
    ]  # fmt: skip
    return subprocess.Popen(list(map(str, words)), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)


def until(condition, process):
    end = time.monotonic() + 240
    while not condition() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)


def starts(output, name, module):
    return len(re.findall(rf"^--- 2.* {module} ", (output / f"{name}.log").read_text(), re.M))


@pytest.mark.long
def test_sweep_that_is_killed_and_stopped_is_finished_and_runs_nothing_twice(tmp_path):
    output = tmp_path / "sweep"
    *good, bad = (f"digits-resnet8_4x2-lc_frozen-n{n}-b64-e2-s0" for n in (128, 64, 99999))

    with open(tmp_path / "log", "wb+") as log:
        # Killed within the training of one run, without a chance to stop the others.
        process = start(output, log)
        until(lambda: list(output.glob("*/history.json")), process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

        # Stopped as by Ctrl-C, when one is trained.
        process = start(output, log)
        until(lambda: list(output.glob("*/model.keras")), process)
        trained = {path: path.stat().st_mtime_ns for path in output.glob("*/model.keras")}
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130

        # Finished, but for what cannot be.
        process = start(output, log)
        assert process.wait() == 1
        log.seek(0)
        said = log.read().decode()
    assert trained
    assert "Stopped. Call the same command to resume." in said
    assert f"failed   {bad}" in said and f"{bad}.log ends with:" in said
    assert "from 1 to 1442 images. Received: 99999" in said
    assert "1 failed" in said and "to repeat the failed runs" in said

    rows = read_rows(output / "results.csv")
    assert [row["run"] for row in rows] == good
    for row, images in zip(rows, (128, 64), strict=True):
        assert row["training_images"] == row["subset"] == str(images)
        assert row["backend"] == keras.backend.backend()
        assert 0 <= float(row["robust_accuracy"]) <= 1 and float(row["seconds"]) > 0
        assert len(json.loads((output / row["run"] / "history.json").read_text())["loss"]) == 2
    # What was trained is not trained again.
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    for name in good:
        begun = starts(output, name, "recipes.train")
        assert 1 <= begun <= 3
        # An epoch is run again only after a kill within it.
        epochs = re.findall(r"^Epoch (\d)/2$", (output / f"{name}.log").read_text(), re.M)
        assert set(epochs) == {"1", "2"} and len(epochs) <= 2 + begun - 1

    # Once more: nothing but what failed.
    before = {name: (output / f"{name}.log").read_text() for name in good}
    failures = starts(output, bad, "recipes.train")
    with open(tmp_path / "log", "wb") as log:
        assert start(output, log).wait() == 1
    assert {name: (output / f"{name}.log").read_text() for name in good} == before
    assert starts(output, bad, "recipes.train") == failures + 1
    assert "3 runs in" in (said := (tmp_path / "log").read_text()) and "2 are finished" in said


def test_evaluation_settings_are_its_arguments():
    assert Evaluation(attack_images=5, pgd_steps=2).arguments() == [
        "--attack-images", "5", "--epsilon", "1.0", "--pgd-steps", "2", "--pgd-restarts", "1",
    ]  # fmt: skip
    assert "--attack-images" not in Evaluation().arguments()
