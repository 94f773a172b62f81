"""What the benchmarks compare and write; their figures are no matter of tests."""

import dataclasses
import importlib
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tyro

import keras_lc
from benchmarks import gpu, measure, networks, parameter_free
from keras_lc.layers.accelerated import keras_class
from recipes.common.settings import Settings, parse

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("plain", keras.layers.Conv2D),
        ("full-x2", keras_lc.LCConv2D),
        ("compact-x16", keras_lc.LCConv2D),
        ("learnable-x2", keras_lc.LCConv2D),
        ("two-layer-x2", keras.layers.Conv2D),
        ("folded-x2", keras.layers.Conv2D),
        ("folded+bn-x2", keras.layers.Conv2D),
    ],
)
def test_networks_are_what_their_names_say(name, layer):
    model = networks.make(name, depth=8, width=4)
    conv = model.get_layer("stage1_block0_conv1")
    assert keras_class(conv) is layer
    if layer is keras_lc.LCConv2D:
        assert (conv.compact, conv.frozen) == ("compact" in name, "learnable" not in name)
    normalizations = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert bool(normalizations) == (name != "folded+bn-x2")


@pytest.mark.parametrize("name", ["plane", "full", "plain-x2", "full-x"])
def test_unknown_networks_are_refused(name):
    with pytest.raises(ValueError, match=name):
        networks.make(name)


def test_two_layer_form_computes_what_the_lc_network_is_defined_by():
    two = networks.make("two-layer-x2", depth=8, width=4)
    lc = networks.make("full-x2", depth=8, width=4)
    for layer in lc.layers:
        if isinstance(layer, keras_lc.LCConv2D):
            # As arrays: JAX variables assigned from one another share a buffer, and free it.
            basis = keras.ops.convert_to_numpy(layer.basis)
            combination = keras.ops.convert_to_numpy(layer.combination)
            two.get_layer(f"{layer.name}_basis").kernel.assign(basis)
            two.get_layer(layer.name).kernel.assign(combination[None, None])
    x = measure.images_and_labels((4, 32, 32, 3))[0]
    expected = lc.predict(x, verbose=0)
    np.testing.assert_allclose(two.predict(x, verbose=0), expected, rtol=1e-3, atol=1e-5)


def test_functions_take_turns_and_the_first_is_the_measure():
    calls = []
    rows = measure.take_turns({n: lambda n=n: calls.append(n) for n in "ab"}, rounds=3)
    assert calls[4:] == ["a", "b", "b", "a", "a", "b"]
    assert rows["a"]["ratio"] == 1.0 and rows["b"]["ratio_min"] <= rows["b"]["ratio_max"]


def test_results_name_command_backend_and_versions(tmp_path):
    @dataclasses.dataclass
    class Arguments:
        folder: pathlib.Path = tmp_path

    path = measure.write("benchmarks.some", Arguments(), {"row": {"seconds": 1.0}}, tmp_path)
    written = json.loads(path.read_text())
    backend = keras.backend.backend()
    assert path.name.startswith("some-") and path.name.endswith(f"-{backend}.json")
    assert written["command"].startswith(f"KERAS_BACKEND={backend} python -m benchmarks.some")
    assert written["rows"] == {"row": {"seconds": 1.0}}
    assert {"backend", "device", "versions", "git_commit"} <= written.keys()


def gpu_arguments(tmp_path, **kwargs):
    return gpu.Arguments(data_dir=tmp_path, output=tmp_path / "out", **kwargs)


def test_every_part_of_the_gpu_suite_is_a_command_that_exists(tmp_path):
    names = set()
    for name, backend, (module, *options) in gpu.commands(gpu_arguments(tmp_path)):
        names.add(name)
        assert backend in gpu.Arguments.backends
        if module == "pytest":
            assert all((gpu._ROOT / path).exists() for path in options if path[0] != "-")
        elif module == "recipes.train":
            parse(Settings, "", words=options)
        else:
            tyro.cli(importlib.import_module(module).Arguments, args=options)
    for backend in gpu.Arguments.backends:
        assert {f"{form}-{backend}-0" for form in gpu.Arguments.forms} <= names
        assert {f"train_step-{backend}", f"memory-{backend}", f"tests-{backend}"} <= names
        assert f"frameworks-mixed_bfloat16-1024-{backend}" in names
    # What is worth most comes first.
    first = [name for name, *_ in gpu.commands(gpu_arguments(tmp_path))][:4]
    assert first == [f"{form}-jax-0" for form in gpu.Arguments.forms]


def test_gpu_suite_reports_what_failed_and_does_not_repeat_what_is_done(tmp_path, monkeypatch):
    marks = tmp_path / "marks"
    parts = {
        "good": f"open({str(marks)!r}, 'a').write('x')",
        "bad": "raise SystemExit('this is why')",
    }
    for name, code in parts.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu, "commands", lambda _: [(name, "jax", [name]) for name in parts])
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"Not finished: bad\."):
            gpu.main(gpu_arguments(tmp_path))
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert {name: row["returncode"] for name, row in report.items()} == {"good": 0, "bad": 1}
    assert report["bad"]["reason"] == "this is why"
    assert marks.read_text() == "x"


def test_gpu_suite_begins_nothing_after_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "commands", lambda _: [("late", "jax", ["late"])])
    with pytest.raises(SystemExit, match="Not finished: late"):
        gpu.main(gpu_arguments(tmp_path, seconds=0))


def test_gpu_suite_ends_before_it_begins_without_its_data(tmp_path):
    arguments = gpu.Arguments(data_dir=tmp_path / "nowhere", output=tmp_path / "out")
    with pytest.raises(SystemExit, match="nowhere does not exist"):
        gpu.main(arguments)
    assert not arguments.output.exists()


def test_gpu_suite_stops_a_part_that_takes_too_long(tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu, "commands", lambda _: [("slow", "jax", ["slow"])])
    with pytest.raises(SystemExit, match="Not finished: slow"):
        gpu.main(gpu_arguments(tmp_path, part_seconds=0.2))
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert report["slow"]["reason"] == "Stopped after 0 s."


def test_raw_scripts_are_of_the_same_network():
    from benchmarks.raw import network

    ours = networks.make("plain", depth=8, width=4)
    trained = sum(int(np.prod(variable.shape)) for variable in ours.trainable_variables)
    kernels, channels = [27 * 4], [4]
    for block in network.blocks(8, 4):
        kernels += [9 * block.inputs * block.outputs, 9 * block.outputs**2]
        channels += [block.outputs] * (2 + block.has_convolution_in_shortcut)
        kernels += [block.inputs * block.outputs] * block.has_convolution_in_shortcut
    assert trained == sum(kernels) + 2 * sum(channels) + 16 * 10 + 10


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_frameworks_take_turns_with_this_library(precision, tmp_path):
    # Wide enough for raw PyTorch, whose narrow strided 1x1 convolutions crash on some processors.
    options = "--depth 8 --width 8 --rounds 1 --batch-size 8 --expansion 2".split()
    options += ["--precision", precision, "--output", str(tmp_path)]
    options += ["--raw", "raw torch", "raw jax", "raw tensorflow"]
    command = [sys.executable, "-m", "benchmarks.frameworks", *options]
    done = subprocess.run(command, cwd=gpu._ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = tmp_path.glob("frameworks-*.json")
    rows = json.loads(path.read_text())["rows"]
    raw = {"raw torch"} if precision != "float32" else {"raw torch", "raw jax", "raw tensorflow"}
    assert rows["training"].keys() == raw | {"plain", "compact-x2", "full-x2"}
    assert rows["inference"].keys() == raw | {"plain", "folded-x2", "folded+bn-x2"}
    assert rows["training"]["raw torch"]["ratio to raw torch"] == 1


@pytest.mark.once
def test_parameter_free_networks_are_timed_and_counted(tmp_path, capsys):
    parameter_free.main(
        parameter_free.Arguments(
            networks=("vit-s-max",),
            batch_sizes=(1,),
            train_batch_size=1,
            image_size=32,
            rounds=1,
            output=tmp_path,
        )
    )
    (path,) = tmp_path.glob("*.json")
    rows = json.loads(path.read_text())["rows"]
    # All but the position embedding (196 patches at 224 pixels, 4 here) as counted in the authors'
    # code.
    assert rows["vit-s-max"]["trained_numbers"] == 23_819_368 - (196 - 4) * 384
    assert rows["vit-s-max"]["training, batch 1"]["seconds"] > 0
    assert rows["vit-s-max"]["inference, batch 1"]["ratio"] == 1
    assert "vit-s-max" in capsys.readouterr().out


def test_unknown_parameter_free_networks_are_refused():
    with pytest.raises(SystemExit, match=r"r50-hybrid.*Received: r51"):
        parameter_free.main(parameter_free.Arguments(networks=("r51",)))
