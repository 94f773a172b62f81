import pytest


@pytest.fixture(autouse=True)
def away_from_home(tmp_path, monkeypatch):
    """No test reads or writes the user's caches and data."""
    monkeypatch.setenv("KERAS_LC_CACHE", str(tmp_path / "keras_lc_cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
