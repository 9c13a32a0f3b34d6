"""Whose connection to a lane it is that came or went, told from the monitor's events alone."""

import select
import time
from contextlib import closing

import pytest
import zmq
from harness import free_port

from zgrid.transport.lanes import Lanes, Links, Signal
from zgrid.transport.sockets import lane_pull

ACCEPTED, GREETED, ENDED = zmq.EVENT_ACCEPTED, zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([(ACCEPTED, 5), (GREETED, 0), (ENDED, 5)], [None, True, False]),
        ([(ACCEPTED, 5), (ENDED, 5)], [None, None]),
        ([(ACCEPTED, 5), (ENDED, 5), (ACCEPTED, 5), (GREETED, 0)], [None, None, None, True]),
        ([(ACCEPTED, 5), (GREETED, 0), (ACCEPTED, 6), (ENDED, 6), (ENDED, 5)], [None, True, None, None, False]),
        ([(ACCEPTED, 6), (ACCEPTED, 5), (GREETED, 0), (ENDED, 6)], [None, None, True, None]),
        ([(ACCEPTED, 6), (ACCEPTED, 5), (GREETED, 0), (ENDED, 6), (ENDED, 5)], [None, None, True, None, False]),
        ([(ACCEPTED, 5), (GREETED, 0), (ACCEPTED, 6), (GREETED, 0), (ENDED, 6)], [None, True, None, False, None]),
        ([(ACCEPTED, 6), (ACCEPTED, 5), (GREETED, 0), (GREETED, 0), (ENDED, 5)], [None, None, True, False, None]),
    ],
)
def test_only_the_worker_counts(events, said):
    """Strangers that come, fail to greet and go are nobody; the worker's coming and going are told once each.

    A second one that greets has come to the wrong lane, or the first one is gone: either way the lane is of no use.
    """
    links = Links()
    assert [links.heard(*event) for event in events] == said


@pytest.fixture
def context():
    """ZeroMQ's, which must end with the test."""
    with zmq.Context() as context:
        yield context


def test_second_peer_ends_the_lane(context):
    """A lane to which another peer connects is down at once, and stays so: it takes every other message."""
    lanes = Lanes(context, "tcp://127.0.0.1:0", None)
    address = lanes.open(1)
    said = []

    def heard(until):
        poll = select.poll()
        poll.register(lanes.fileno(), select.POLLIN)
        deadline = time.monotonic() + 10.0
        while len(said) < until and time.monotonic() < deadline:
            poll.poll(100)
            said.extend(lanes.signals())
        return said

    with closing(lane_pull(context, address)), closing(lane_pull(context, address)):
        assert heard(2) == [Signal(1, up=True), Signal(1, up=False)]
    lanes.close_all()
    assert said == [Signal(1, up=True), Signal(1, up=False)]


def test_a_port_that_was_free_for_longest_comes_next(context):
    """Whoever had a port before may still try to connect to it."""
    port = free_port()
    lanes = Lanes(context, "tcp://127.0.0.1:0", range(port, port + 3))
    seen = []
    for lane in range(1, 4):
        seen.append(lanes.open(lane))
        lanes.close(lane)
    assert len(set(seen)) == 3
    lanes.close_all()
