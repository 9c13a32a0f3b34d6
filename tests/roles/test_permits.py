"""What a worker's settings allow its children."""

import pytest

from zgrid.errors import SettingsError
from zgrid.roles.permits import sandbox_of
from zgrid.settings import WorkerSettings
from zgrid.settings.values import child_memory


def settings(**given):
    return WorkerSettings.model_validate({"ventilators": ["tcp://h:5550"], **given})


def test_by_default_a_child_has_its_share_and_nothing_else(tmp_path):
    """No network, no places, an hour of processor time, and some of the machine's memory."""
    sandbox = sandbox_of(settings())
    assert (sandbox.network, sandbox.read, sandbox.write, sandbox.cpu_ms) == (False, (), (), 3_600_000)
    assert 1 << 30 <= sandbox.memory_bytes_max <= 4 << 30
    assert child_memory(1) >= child_memory(64) == 1 << 30


def test_places_are_absolute_and_must_be_there(tmp_path, monkeypatch):
    """A relative path is taken from where the worker was started; one that is not there is told by its flag."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert sandbox_of(settings(child_read="models", child_write=["models"])).read == (str(tmp_path / "models"),)
    assert sandbox_of(settings(allow="models", allow_links=True)).read == ("/",)
    long = "x" * 300  # what the system refuses to look at: here for its name, elsewhere for rights
    with pytest.raises(SettingsError, match=f"--allow {tmp_path}/{long} does not exist"):
        sandbox_of(settings(allow=long))
    for name, flag in (("allow", "--allow"), ("child_read", "--child-read"), ("child_write", "--child-write")):
        with pytest.raises(SettingsError, match=f"{flag} {tmp_path}/gone does not exist: .* mounted before"):
            sandbox_of(settings(**{name: "gone"}))
