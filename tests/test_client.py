"""zgrid.Client before it talks to anybody: what it refuses, and what it calls a job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import zgrid
from zgrid.client import Client, job_name
from zgrid.errors import SettingsError, ZGridError
from zgrid.protocol.limits import FRAME_BYTES_MAX

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


@pytest.fixture
def client():
    """A client of nobody."""
    with Client("tcp://127.0.0.1:1", 50) as client:
        yield client


def test_import_is_cheap():
    """Importing zgrid opens no library of sockets, databases or pixels; the public names come when they are used."""
    heavy = "{'zmq', 'cv2', 'sqlalchemy', 'sqlite3', 'numpy', 'pydantic', 'zgrid.client'}"
    code = f"import sys, zgrid; print({heavy} & set(sys.modules)); zgrid.Client; print('zgrid.client' in sys.modules)"
    code += "; print({'cv2', 'sqlalchemy', 'sqlite3', 'zgrid.roles'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["set()", "True", "set()"]


def test_public_names():
    """What the package promises is there, and nothing else is invented."""
    assert (zgrid.Client, zgrid.Placed.__name__, zgrid.Changed.__name__) == (Client, "Placed", "Changed")
    with pytest.raises(AttributeError):
        zgrid.Server  # noqa: B018


@pytest.mark.parametrize("address", ["photos", "tcp://*:5550", "tcp://h", "", "tcp://h:99999"])
def test_wrong_address(address):
    """An address that cannot be is refused with a sentence."""
    with pytest.raises(SettingsError, match=r"address|listen|port"):
        Client(address)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"priority": 1 << 31}, "priority must be a whole number from -2147483648 to 2147483647"),
        ({"priority": 0.5}, "priority"),
        ({"priority": True}, "priority"),
        ({"delay_s": -1}, "the delay in ms"),
        ({"delay_s": 367 * 86_400}, "the delay in ms"),
        ({"delay_s": float("nan")}, "the delay in ms"),
        ({"delay_s": float("inf")}, "the delay in ms"),
        ({"ttr_ms": 0}, "the time-to-run in ms must be a whole number from 1"),
        ({"attempts": 0}, "the number of attempts must be a whole number from 1 to 1000"),
        ({"attempts": 1001}, "the number of attempts must be a whole number from 1 to 1000"),
        ({"chain": ""}, "a filter of the chain is empty: name one, or leave it out"),
        ({"chain": ["faces", " "]}, "a filter of the chain is empty"),
        ({"chain": "x" * 5000}, "a chain has at most 4096 characters"),
    ],
)
def test_terms_are_checked_before_anything_is_sent(client, terms, said):
    """Terms that cannot be are refused with a sentence that says what can."""
    for put in (lambda: client.put(JPEG, **terms), lambda: list(client.put_many([JPEG], **terms))):
        with pytest.raises(SettingsError) as caught:
            put()
        assert said in str(caught.value)


def test_names_are_checked_before_anything_is_sent(client):
    """A name that a ventilator would not take is refused at once, and not cut without a word."""
    for put in (
        lambda: client.put(JPEG, name="x" * 15_000),
        lambda: client.put(JPEG, name=Path("x")),
        lambda: client.put(("x" * 4097, JPEG)),
        lambda: list(client.put_many([(None, JPEG)])),
    ):
        with pytest.raises(SettingsError, match="an image's name must be a text of at most 4096 characters"):
            put()
    refused = []
    assert list(client.put_many([("x" * 4097, JPEG)], on_refused=lambda *one: refused.append(one))) == []
    assert len(refused) == 1


def test_images_are_checked_before_they_are_sent(client, tmp_path):
    """What is no image, an archive, or cannot be read is refused by name; a list goes on where errors are taken."""
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04" + bytes(50))
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "long.jpg").open("wb") as long:
        long.truncate(FRAME_BYTES_MAX + 1)
    wrong = [
        (tmp_path / "a.txt", "a.txt is no image"),
        (str(tmp_path / "b.zip"), "b.zip is an archive (zip)"),
        (tmp_path / "c.jpg", "c.jpg cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "pipe.jpg", "pipe.jpg is no plain file: put an image's own file"),
        ("/dev/zero", "/dev/zero is no plain file"),
        (tmp_path / "long.jpg", "long.jpg has 536870913 bytes; 536870912 are the most"),
        (("long", bytes(FRAME_BYTES_MAX + 1)), "long has 536870913 bytes; 536870912 are the most"),
        (b"", "image is no image"),
        (("named", b"text"), "named is no image"),
    ]
    for image, said in wrong:
        with pytest.raises(SettingsError) as caught:
            client.put(image)
        assert said in str(caught.value)
    refused = []
    assert list(client.put_many([image for image, _ in wrong], on_refused=lambda *one: refused.append(one))) == []
    assert [image for image, _ in refused] == [image for image, _ in wrong]
    assert all(isinstance(error, ZGridError) for _, error in refused)


@pytest.mark.parametrize(("text", "byte"), [("\udcff*", "%FF"), ("*/caf\udce9/*", "%E9"), ("\ud800", "%FF")])
def test_text_that_is_not_unicode_is_not_asked(client, text, byte):
    """A stray byte would turn into a wildcard on its way, so it is refused before anything is sent."""
    for ask in (
        lambda: client.cancel(source=text),
        lambda: client.jobs(source=text),
        lambda: client.kick(1, text),
        lambda: client.ask({"what": "why", "job": text}),
        lambda: client.pause(text),
    ):
        with pytest.raises(SettingsError, match=f"is not UTF-8: URIs are percent-encoded, so write {byte}"):
            ask()


def test_closed_client(client):
    """A client that is closed says so, whatever it is asked; to close it again does nothing."""
    client.close()
    client.close()
    for call in (client.status, lambda: client.put(JPEG), lambda: client.bury(1), client.drain):
        with pytest.raises(SettingsError, match=r"the connection to tcp://127\.0\.0\.1:1 is closed"):
            call()


def test_nobody_there(client):
    """Without a ventilator every call ends with one sentence after the patience."""
    for call in (
        client.status,
        lambda: client.put(JPEG),
        lambda: client.bury(1),
        lambda: list(client.put_many([JPEG])),
    ):
        with pytest.raises(ZGridError, match=r"nobody answers at tcp://127\.0\.0\.1:1"):
            call()


def test_nothing_to_put(client):
    """No images, no message."""
    assert list(client.put_many([])) == []


def test_names_of_jobs(tmp_path, monkeypatch):
    """A Path is always a path; a text is one where it leads to a file."""
    monkeypatch.chdir(tmp_path)
    assert job_name(Path("nowhere.jpg")) == f"file://{tmp_path}/nowhere.jpg"
    assert job_name("nowhere.jpg") == "nowhere.jpg"
    assert job_name(17) == "17"
