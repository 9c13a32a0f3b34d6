"""What a supervisor such as systemd hears: that a role can be reached, how it stands, and that its disk answers."""

import os
import select
import socket
import sqlite3
import time
from contextlib import closing

import photographs
import pytest

from zgrid.protocol.job import State
from zgrid.roles.notify import Notify

WITHIN_S = 30.0
WATCHDOG_S = 0.2


class Supervisor:
    """Our end: what is said is heard here. ``name`` is as in NOTIFY_SOCKET, abstract with an @."""

    def __init__(self, name):
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + name[1:] if name.startswith("@") else name)

    def close(self):
        """Close our end."""
        self.socket.close()

    def environment(self, **more):
        """Return the variables that systemd sets."""
        return {"NOTIFY_SOCKET": self.name, **more}

    def heard(self, within_s=0.0):
        """Return the next message, or nothing when there is none within that time."""
        if select.select([self.socket], [], [], within_s)[0]:
            return self.socket.recv(4096).decode()
        return ""

    def until(self, wanted):
        """Listen until a message begins with ``wanted``, and return all until then."""
        deadline, messages = time.monotonic() + WITHIN_S, []
        while not (messages and messages[-1].startswith(wanted)):
            assert time.monotonic() < deadline, f"never heard {wanted!r} but {messages[-20:]}"
            messages += filter(None, [self.heard(0.5)])
        return messages


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path):
    """A supervisor with either kind of address."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@zgrid-test-{os.getpid()}-{tmp_path.name}"
    supervisor = Supervisor(name)
    yield supervisor
    supervisor.close()


def test_what_is_said(supervisor):
    """Each call is one message; how it stands is said only when that has changed; variables are for us alone."""
    environment = supervisor.environment(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()), OTHER="1")
    notify = Notify(environment)
    assert environment == {"OTHER": "1"}
    assert notify.interval_s == 1.0
    notify.ready()
    notify.status("3 jobs")
    notify.status("3 jobs")
    notify.status("2 jobs")
    notify.alive()
    notify.stopping(2.5)
    said = [supervisor.heard() for _ in range(6)]
    assert said == [
        "READY=1", "STATUS=3 jobs", "STATUS=2 jobs", "WATCHDOG=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000", "",
    ]  # fmt: skip
    notify.close()
    notify.ready()
    notify.close()


def test_nothing_without_a_supervisor():
    """Where nobody listens, nothing is said and nothing fails."""
    for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        notify = Notify(environment)
        assert notify.interval_s is None
        notify.ready()
        notify.status("here")
        notify.alive(1)
        notify.stopping()
        notify.close()


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}])
def test_no_watchdog(supervisor, watchdog):
    """Without a watchdog, or with one for another process, only the rest is said."""
    notify = Notify(supervisor.environment(**watchdog))
    assert notify.interval_s == 1.0
    notify.alive()
    notify.ready()
    assert supervisor.heard() == "READY=1"
    notify.close()


def test_a_supervisor_that_is_away_or_busy_is_no_error(supervisor):
    """Messages that nobody takes are dropped; the role goes on."""
    notify = Notify(supervisor.environment())
    for number in range(10_000):
        notify.status(f"{number} jobs")
    supervisor.close()
    notify.ready()
    notify.close()


def test_a_stuck_writer_is_not_fed_for(supervisor):
    """A write under way for more than half of the watchdog's time is told, not fed; the next one is fed again."""
    notify = Notify(supervisor.environment(WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6))))
    assert notify.interval_s == WATCHDOG_S / 4
    notify.alive(7)
    assert supervisor.heard() == "WATCHDOG=1"
    assert supervisor.heard(WATCHDOG_S) == ""
    notify.alive(7)
    assert supervisor.heard() == "STATUS=one write to disk has been under way for 0 s"
    notify.alive(7)
    assert supervisor.heard() == ""
    for at in (8, None, None):
        notify.alive(at)
        assert supervisor.heard() == "WATCHDOG=1"
    assert supervisor.heard(WATCHDOG_S) == ""
    notify.alive()
    assert supervisor.heard() == "WATCHDOG=1", "one that has nothing to write is not stuck, however long"
    notify.close()


# -- the roles


@pytest.fixture
def path_only(tmp_path):
    """A supervisor; one kind of address is enough for whole processes."""
    supervisor = Supervisor(str(tmp_path / "notify"))
    yield supervisor
    supervisor.close()


def supervised(grid, start, supervisor, watchdog_s):
    """Start a process that has this supervisor, and the next ones without."""
    before = grid.environment
    grid.environment = {**before, **supervisor.environment(WATCHDOG_USEC=str(int(watchdog_s * 1e6)))}
    try:
        return start()
    finally:
        grid.environment = before


@pytest.mark.grid
@pytest.mark.parametrize("role", ["ventilator", "sink", "worker"])
def test_ready_means_that_it_can_be_reached(grid, path_only, role):
    """At the word READY a role answers; then it says how it stands and that it is alive, and last that it stops."""
    process = supervised(grid, getattr(grid, role), path_only, 4.0)
    said = path_only.until("READY=1")
    if role == "worker":
        assert process.children()
    else:
        assert grid.status(grid.address if role == "ventilator" else grid.sink_address)["name"] == role
    said += path_only.until("WATCHDOG=1")
    assert any(message.startswith("STATUS=") for message in said)
    process.send(15)
    path_only.until("STOPPING=1\nEXTEND_TIMEOUT_USEC=10000000")
    assert process.wait() == 0


@pytest.mark.grid
def test_a_database_that_does_not_answer_is_noticed(grid, path_only, tmp_path):
    """While one write to the database does not end, the watchdog is not fed though the loop turns; afterwards it is."""
    supervised(grid, grid.sink, path_only, 2.0)
    path_only.until("WATCHDOG=1")
    photographs.tiny(tmp_path / "in", 3)
    with closing(sqlite3.connect(grid.database, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        grid.ventilator(tmp_path / "in", filter=["marked"])
        grid.worker()
        path_only.until("STATUS=one write to disk has been under way for")
        assert grid.status(grid.sink_address), "its loop does not turn"
    path_only.until("WATCHDOG=1")
    grid.until_settled(3)
    assert grid.counts()[State.STORED] == 3
