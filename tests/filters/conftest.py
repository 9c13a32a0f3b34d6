"""Fixtures of the filters' tests."""

import os
from pathlib import Path

import pytest
from pictures import portrait

from zgrid import models
from zgrid.errors import SettingsError
from zgrid.filters import registry, yunet


@pytest.fixture(scope="session")
def yunet_model():
    """The path of YuNet's model file, fetched once into the user's data folder."""
    try:
        return models.fetch("yunet")
    except SettingsError as error:
        pytest.skip(f"YuNet's model cannot be fetched: {error}")


@pytest.fixture
def with_yunet(yunet_model):
    """The filter faces finds with YuNet."""
    yunet.forget()
    yield
    yunet.forget()


@pytest.fixture
def with_haar(monkeypatch, tmp_path):
    """The filter faces finds with the Haar cascade, as on a machine without model files."""
    monkeypatch.setenv("ZGRID_MODELS", str(tmp_path / "none"))
    yunet.forget()
    yield
    yunet.forget()


@pytest.fixture(scope="session")
def photograph():
    """The bytes of a photograph with one face."""
    path = portrait()
    if path is None:
        pytest.skip("no photograph with a face here: pip install scikit-image, or matplotlib")
    return path.read_bytes()


@pytest.fixture
def own_filters():
    """Filters that a test registers are gone after it."""
    registry.available()  # a module registers its filter once, when it is loaded: load them all before
    kept = [dict(table) for table in (registry._registered, registry._broken, registry._lacks)]
    yield
    for table, before in zip((registry._registered, registry._broken, registry._lacks), kept, strict=True):
        table.clear()
        table.update(before)


@pytest.fixture(scope="session")
def labelled():
    """A folder of labelled photographs: ZGRID_FACES, or shared/faces beside the checkout."""
    named = os.environ.get("ZGRID_FACES")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "faces"
    if not (folder / "labels.json").is_file():
        pytest.skip("no labelled photographs: name their folder in ZGRID_FACES")
    return folder
