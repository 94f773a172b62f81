"""What the figures of a run must be read with."""

import pathlib
import subprocess

import pytest

from recipes.common import environment

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_the_commit_is_that_of_the_checkout():
    words = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # Tags and "-dirty" may stand around it.
    assert commit[:7] in environment.environment()["git_commit"]


def test_the_commit_of_another_project_around_an_installation_is_not_named(monkeypatch, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    words = ["git", *who, "commit", "-q", "--allow-empty", "-m", "another project"]
    subprocess.run(words, cwd=tmp_path, check=True)
    (tmp_path / "site-packages").mkdir()
    monkeypatch.setattr(environment, "ROOT", tmp_path / "site-packages")
    assert environment.environment()["git_commit"] is None
