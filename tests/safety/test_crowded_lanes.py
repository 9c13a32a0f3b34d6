"""Lanes whose monitors have more to say than anybody has read."""

import select
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
import zmq
from gatehouse import until

from zgrid.transport import lanes as module
from zgrid.transport.lanes import STRANGERS_MAX, Lanes, Links

FULL = """
import socket
import zmq
from zgrid.transport import doors
from zgrid.transport.lanes import Lanes
doors.MONITOR_HWM = 10
context = zmq.Context()
lanes = Lanes(context, "tcp://127.0.0.1:0", None)
port = int(lanes.open(1).rpartition(":")[2])
try:
    for _ in range(5000):
        with socket.create_connection(("127.0.0.1", port), timeout=4) as link:
            link.recv(1)  # it greets at once, while it runs
except TimeoutError:
    print("full")
doors.MONITOR_HWM = 20_000
lanes.close_all()
context.term()
print("closed")
"""


def test_lane_with_a_full_monitor_is_closed():
    """A monitor that nobody reads keeps libzmq's thread waiting, with a lock; closing the lane does not wait for it."""
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["full", "closed"], done.stderr


@pytest.fixture
def lanes():
    """Lanes without keys."""
    context = zmq.Context()
    lanes = Lanes(context, "tcp://127.0.0.1:0", None)
    yield lanes
    lanes.close_all()
    context.destroy(0)


def test_monitor_is_read_a_bit_at_a_time_and_to_its_end(lanes, monkeypatch):
    """One call reads only so many events, and the descriptor stays readable until none is left."""
    monkeypatch.setattr(module, "EVENTS_PER_TURN_MAX", 2)
    port = int(lanes.open(1).rpartition(":")[2])
    opened = lanes._lanes[1].links._open
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        poll = select.poll()
        poll.register(lanes.fileno(), select.POLLIN)

        def look():
            before = len(opened)
            if poll.poll(0):
                lanes.signals()
            assert len(opened) <= before + 2
            return len(opened) == 7

        until(look, "all are seen")


def test_worker_that_came_behind_strangers_is_never_cut():
    """Whoever was there when the worker greeted may be the worker; only who came later is one too many."""
    links = Links()
    for descriptor in range(100):
        links.heard(zmq.EVENT_ACCEPTED, descriptor)
    assert links.heard(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
    assert not links.excess()
    for descriptor in range(100, 100 + STRANGERS_MAX + 3):
        links.heard(zmq.EVENT_ACCEPTED, descriptor)
    assert links.excess() == [100 + STRANGERS_MAX + more for more in range(3)]
    links.heard(zmq.EVENT_DISCONNECTED, 7)
    links.heard(zmq.EVENT_ACCEPTED, 7)
    assert links.excess()[-1] == 7, "a number that is used again is somebody else"
