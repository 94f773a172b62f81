"""`python -m recipes.report`: one page that needs nothing else."""

import base64
import html.parser
import io

import pytest
from PIL import Image

import keras_lc
from recipes.files import write_json
from recipes.report import write_report
from recipes.sweeping.grid import Cell, Grid
from tests.recipes.fake_runs import write_run

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
    history = {"loss": [2.0, 1.0], "accuracy": [0.3, 0.6], "val_loss": [2.0, 1.5]}
    write_json(folder / "history.json", {**history, "val_accuracy": [0.2, 0.625]})
    return folder


def test_run_is_on_one_page(run):
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
    for name in ("config.json", "history.json", "model.keras"):
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


def test_folder_without_runs(tmp_path):
    with pytest.raises(SystemExit, match="holds no finished run"):
        write_report(tmp_path)


def test_unfinished_run(run, tmp_path):
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    with pytest.raises(SystemExit, match="is not finished"):
        write_report(tmp_path)
