"""`python -m recipes.report`: one page that needs nothing else."""

import base64
import html.parser
import io
import shutil

import pytest
from PIL import Image

import keras_lc
from keras_lc.analysis import plot_sweep
from recipes.common.files import write_checked, write_json
from recipes.evaluate.settings import Evaluation
from recipes.report.command import write_report
from recipes.sweep.grid import Cell, Grid
from tests.recipes.fake_runs import write_model, write_run

pytestmark = pytest.mark.once


class Page(html.parser.HTMLParser):
    """What a page shows, and what it refers to."""

    def __init__(self, path):
        super().__init__()
        self.text, self.links, self.open = [], [], []
        self.feed(path.read_text())
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.text.append(data.strip())

    def value_of(self, name):
        return self.text[self.text.index(name) + 1]

    def pictures(self):
        for link in self.links:
            head, _, content = link.partition(",")
            assert head == "data:image/png;base64"
            yield Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    model = keras_lc.ResNetLC(depth=8, width=4, expansion=2, seed=0)
    cell = Cell(depth=8, width=4, expansion=2)
    folder = write_run(tmp_path_factory.mktemp("runs"), cell, 0.625, 0.25, model=model)
    return folder


def test_the_page_of_a_run_shows_its_results_and_settings(run):
    page = Page(write_report(run))
    assert page.text.count("resnet_lc_8_4x2, cifar10") == 2
    assert page.value_of("test accuracy") == "62.50%"
    assert page.value_of("robust accuracy") == "25.00%"
    assert page.value_of("width") == "4" and page.value_of("keras") == "3.15.1"
    assert page.value_of("1 of 255 grey levels") == "25.00%"
    curves, filters, variance = page.pictures()
    assert min(curves.size) > 200 and min(filters.size) > 200 and min(variance.size) > 100
    assert "evaluate" not in " ".join(page.text)


def test_run_that_is_not_evaluated_has_metrics_and_no_attack(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.json", "model.keras"):
        (copy / name).write_bytes((run / name).read_bytes())
    page = Page(write_report(copy))
    assert f"python -m recipes.evaluate {copy}" in page.text
    assert "stem_conv" in page.text and "FGSM" not in page.text
    assert len(list(page.pictures())) == 2


def test_text_is_escaped(run, tmp_path):
    cells = Grid(expansions=(1, 8), seeds=(0,)).cells()
    for cell in cells:
        write_run(tmp_path / "<b>&", cell, 0.5)
    page = Page(write_report(tmp_path / "<b>&"))
    assert "Sweep: <b>&" in page.text


@pytest.fixture
def sweep(tmp_path):
    grid = Grid(operators=("learned", "lc_frozen"), expansions=(1, 8), seeds=(0, 1))
    for cell in grid.cells():
        write_run(tmp_path, cell, 0.5 + (cell.expansion or 0) / 50 + cell.seed / 100)
    names = [cell.name for cell in grid.cells()]
    write_json(tmp_path / "sweep.json", {"runs": [*names, "one-that-failed"]})
    return tmp_path


def test_sweep_is_on_one_page(sweep):
    page = Page(write_report(sweep))
    assert page.value_of("runs") == "6 of 7"
    assert page.value_of("best test accuracy") == "67.00%"
    assert page.value_of("of") == "cifar10-resnet20_16x8-lc_frozen-e75-s1"
    assert page.value_of("training in all") == "9 min"
    assert page.value_of("Not finished") == "run" and "one-that-failed" in page.text
    assert page.value_of("depth") == "20"
    # Accuracy, accuracy under attack, entropy.
    assert len(list(page.pictures())) == 3
    assert [page.text.count(text) for text in ("lc_frozen", "learned")] == [4, 2]


def test_axis_and_lines_can_be_chosen(sweep):
    write_report(sweep, x="expansion", group=("operator",))
    with pytest.raises(SystemExit, match="There is no setting 'size'"):
        write_report(sweep, x="size")
    with pytest.raises(SystemExit, match="Cannot draw test_accuracy over expansion: Several runs"):
        write_run(sweep, Cell(expansion=8, width=32), 0.5)
        write_report(sweep, x="expansion", group=("operator",))


def test_settings_that_a_network_does_not_have_are_not_shown(tmp_path):
    model = keras_lc.CIFARResNet(depth=8, width=4, spatial="learned", seed=0)
    folder = write_run(tmp_path, Cell(depth=8, width=4, operator="learned"), 0.5, model=model)
    page = Page(write_report(folder))
    assert page.value_of("spatial") == "learned" and page.value_of("depth") == "8"
    assert not {"frozen", "expansion", "between", "compact", "width multiplier"} & set(page.text)


def test_imagenet_run_is_on_one_page(tmp_path):
    model = keras_lc.ResNet(18, width=4, input_shape=(32, 32, 3), classes=4, seed=0)
    arguments = {"preset": "r18d", "network": "resnet", "depth": 18, "spatial": "learned"}
    write_checked(
        tmp_path / "config.json",
        {
            "run": "a",
            "arguments": arguments | {"frozen": True, "expansion": 1, "compact": False},
            "results": {"test_accuracy": 0.5, "test_top5": 0.75, "seconds": 60.0},
            "data": {"fingerprint": "1", "training_images": 4},
            "precision": "float32", "backend": "jax", "device": "2 CPU cores",
            "versions": {"keras": "3.15.1"}, "git_commit": "1234567",
            "started": "2026-01-01T00:00:00+00:00",
        },
    )  # fmt: skip
    write_model(tmp_path / "model.keras", "a", model)
    page = Page(write_report(tmp_path))
    assert f"{model.name}, imagenet" in page.text and page.value_of("test accuracy") == "50.00%"
    assert "evaluate" not in " ".join(page.text)


def lines_of(folder, monkeypatch):
    """The page, and the settings of which each value has a line, by what is drawn."""
    groups = {}

    def plot(rows, path, x, y, group):
        groups[y] = group
        return plot_sweep(rows, path, x, y, group)

    monkeypatch.setattr("recipes.report.pages.plot_sweep", plot)
    return Page(write_report(folder)), groups


def test_lines_are_named_by_what_tells_them_apart(tmp_path, monkeypatch):
    operators = ("learned", "lc_frozen", "lc_learnable", "gram_limit")
    for cell in Grid(operators=operators, expansions=(1, 8), compact=(True,), seeds=(0,)).cells():
        write_run(tmp_path, cell, 0.5)
    page, lines = lines_of(tmp_path, monkeypatch)
    assert lines["test_accuracy"] == ["operator"]
    assert "compact" in page.text


def test_runs_with_other_attacks_or_data_are_not_one_line(tmp_path, monkeypatch):
    for expansion in (1, 8):
        for seed, epsilon in enumerate((1.0, 4.0)):
            evaluation = Evaluation(attack_images=100, epsilon=epsilon)
            cell = Cell(expansion=expansion, seed=seed)
            write_run(tmp_path, cell, 0.5, evaluation=evaluation)
    page, lines = lines_of(tmp_path, monkeypatch)
    assert lines["robust_accuracy"] == ["epsilon"] and lines["test_accuracy"] is None
    assert "epsilon" in page.text and "attack images" in page.text
    write_run(tmp_path, Cell(expansion=8), 0.5, data="fedcba987654")
    _, lines = lines_of(tmp_path, monkeypatch)
    assert lines["test_accuracy"] == ["data"]


def test_runs_on_a_part_of_the_images_are_told_from_runs_on_all(tmp_path):
    for subset in (None, 200):
        write_run(tmp_path, Cell(subset=subset), 0.5)
    page = Page(write_report(tmp_path))
    assert "50,000" in page.text and "200" in page.text
    assert "subset" not in page.text[page.text.index("Equal in all runs that have it") :]


def test_a_broken_run_of_a_sweep_is_left_out_and_named(sweep, capsys):
    (sweep / "stray").mkdir()
    (sweep / "stray" / "config.json").write_text("[]")
    (sweep / "config.json").write_text("[]")
    page = Page(write_report(sweep))
    assert page.value_of("runs") == "6 of 7" and "Cannot be read" in page.text
    assert "stray/config.json is damaged" in capsys.readouterr().err


def test_a_broken_evaluation_of_a_run_is_left_out_and_named(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "a run")
    (copy / "evaluation.json").write_text("{")
    page = Page(write_report(copy))
    assert f"python -m recipes.evaluate '{copy}'" in page.text and "FGSM" not in page.text
    assert "evaluation.json is damaged" in capsys.readouterr().err


def test_a_damaged_model_is_named(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "model.keras").write_bytes((run / "model.keras").read_bytes()[:5000])
    with pytest.raises(SystemExit, match=r"model\.keras is damaged"):
        write_report(copy)


def test_a_run_of_something_else_is_named(tmp_path):
    write_checked(tmp_path / "config.json", {"run": "a", "results": {}, "arguments": []})
    write_model(tmp_path / "model.keras", "a")
    with pytest.raises(SystemExit, match=r"config\.json is not the file of a known run"):
        write_report(tmp_path)


def test_a_folder_without_finished_runs_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="holds no finished run"):
        write_report(tmp_path)


def test_an_unfinished_run_is_refused(run, tmp_path):
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    with pytest.raises(SystemExit, match="is not finished"):
        write_report(tmp_path)
