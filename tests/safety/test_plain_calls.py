"""Who calls another machine without keys, and has not said that this is meant, is warned; nobody else is."""

import json
import warnings
from contextlib import ExitStack

import pytest

from zgrid.cli import status_of
from zgrid.client import Client
from zgrid.log import Event
from zgrid.protocol.rights import VENTILATOR
from zgrid.roles.calls import Calls
from zgrid.roles.worker import WorkerRole
from zgrid.settings import WorkerSettings, load
from zgrid.transport.enrolment import Enrolment
from zgrid.transport.keyring import SYSTEM_FOLDER, read_key

ELSEWHERE = "tcp://192.0.2.1:5550"
"""An address that is nobody's (RFC 5737)."""

HERE = ("tcp://127.0.0.1:9", "tcp://localhost:9", "tcp://[::1]:9", "ipc:///nowhere/x")


@pytest.fixture(autouse=True)
def no_keys(tmp_path, monkeypatch):
    """No keys are found unless a test names them."""
    for name in ("ZGRID_KEYS", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZGRID_INSECURE", "")  # put back also where a command sets it
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    if any(SYSTEM_FOLDER.glob("*.key")):
        pytest.skip("this machine has keys of its own")


def warned(role_settings, capfd):
    """Return the addresses that a worker with these settings warns of as it starts."""
    with ExitStack() as stack:
        WorkerRole(load(WorkerSettings, {"procs": 1, **role_settings}, None, {}), stack)
    lines = [json.loads(line) for stream in capfd.readouterr() for line in stream.splitlines() if line[:1] == "{"]
    found = [line for line in lines if line["event"] == Event.UNPROTECTED]
    assert all(line["level"] == "warning" and line["address"] in line["reason"] for line in found)
    return [line["address"] for line in found]


def test_worker_says_it_of_each_address_elsewhere(capfd):
    """A worker warns in its log, in one sentence, of those ventilators that are not on its machine."""
    assert warned({"ventilators": [ELSEWHERE, *HERE, "tcp://photos.invalid:1"]}, capfd) == [
        ELSEWHERE,
        "tcp://photos.invalid:1",
    ]


def test_worker_that_is_told_to_is_silent(capfd):
    """With --insecure it is meant."""
    assert not warned({"ventilators": [ELSEWHERE], "insecure": True}, capfd)


class Told(list):
    """A log in the test's hands."""

    def say(self, event, subject, fields):
        """Keep it."""
        self.append((event, fields["address"]))


def test_it_is_said_once_for_each_address_also_of_sinks(tmp_path):
    """A lane and a second look are no news; a sink elsewhere is, by the address at which it is reached."""
    told = Told()
    calls = Calls(None, None, told)
    for _ in range(2):
        assert calls.curve(ELSEWHERE, VENTILATOR) is None
        assert calls.to_sink("tcp://*:5561", "tcp://127.0.0.1:5561") is None
        assert calls.to_sink("tcp://*:5561", "tcp://192.0.2.1:5561") is None
        assert calls.to_sink("no address", "no address") is None
    assert told == [(Event.UNPROTECTED, ELSEWHERE), (Event.UNPROTECTED, "tcp://192.0.2.1:5561")]
    enrolment = Enrolment(tmp_path / "keys")
    enrolment.init("photos")
    keyed = Calls(read_key(enrolment.enroll("w1", "worker")), None, told)
    assert keyed.curve(ELSEWHERE, VENTILATOR) is not None
    assert len(told) == 2


@pytest.mark.parametrize("words", ["status", "why {} 1", "pause", "top --once"])
def test_tools_say_it_in_one_sentence(words, capsys):
    """A tool says so on standard error, once, and goes on."""
    words = words if "{}" in words else f"{words} {{}}"
    assert status_of([*words.format(ELSEWHERE).split(), "--timeout-ms=1"]) != 0
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if f"{ELSEWHERE} is called without keys" in line]) == 1
    assert all(line.startswith("zgrid: ") for line in said)


@pytest.mark.parametrize("more", [(ELSEWHERE, "--insecure"), ("tcp://127.0.0.1:9",)])
def test_tools_are_silent_where_it_is_meant_or_no_matter(more, capsys):
    """On the same machine, and with --insecure, nothing is said."""
    assert status_of(["status", *more, "--timeout-ms=1"]) != 0
    assert "without keys" not in capsys.readouterr().err


def test_client_warns_as_libraries_do(monkeypatch):
    """From Python it is a UserWarning at the line that made the client, and none where it is meant."""
    with pytest.warns(UserWarning, match="called without keys") as caught:
        Client(ELSEWHERE).close()
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Client(ELSEWHERE, insecure=True).close()
        for address in HERE:
            Client(address).close()
        monkeypatch.setenv("ZGRID_INSECURE", "true")
        Client(ELSEWHERE).close()
