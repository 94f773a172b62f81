"""The guides: they run from top to bottom, and their committed outputs are of this code."""

import os
import pathlib
import re

import nbclient
import nbformat
import numpy as np
import pytest

pytestmark = pytest.mark.once

GUIDES = pathlib.Path(__file__).parents[3] / "recipes" / "guides"
#: Settings that take the place of each guide's own, so that it takes seconds.
SMALL = {
    "photos_to_phone.ipynb": 'PHOTOS = "photos"\nWEIGHTS = None\nIMAGE_SIZE = 32\nEPOCHS = 2',
    "random_filters.ipynb": "EPOCHS = 1\nSEEDS = (0, 1)\nEXPANSIONS = (1, 2)",
}


def write_photos(folder):
    """Writes a folder for each of the two photos of scikit-learn, with parts of it."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            y, x = generator.integers(0, (photo.shape[0] - 100, photo.shape[1] - 120))
            part = photo[y : y + 100, x : x + 120]
            Image.fromarray(part).save(folder / name / f"{number}.jpg")


def read(name):
    return nbformat.read(GUIDES / name, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_guide_is_tested():
    assert sorted(SMALL) == sorted(path.name for path in GUIDES.glob("*.ipynb"))


@pytest.mark.parametrize("name", SMALL)
def test_it_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    notebook = read(name)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    assert re.findall(r"^\w+ =", parameters.source, re.M) == re.findall(
        r"^\w+ =", SMALL[name], re.M
    )
    parameters.source = SMALL[name]
    root = str(GUIDES.parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
    write_photos(tmp_path / "photos")
    # An error in a cell is an error here.
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()


@pytest.mark.parametrize("name", SMALL)
def test_its_committed_outputs_are_of_one_whole_run(name):
    cells = code_cells(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    # Nothing of the machine that ran it.
    assert not re.search(r"/(root|home|tmp|work)/", str(outputs))


@pytest.mark.parametrize("name", SMALL)
def test_its_links_to_files_lead_somewhere(name):
    text = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (GUIDES / link).exists()] == []
