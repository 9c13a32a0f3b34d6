"""Who waits for a process that is being restarted hears at once that it is back."""

import select
import time
from contextlib import closing

import pytest
from harness import LOOK_EVERY_MS, WITHIN_S, free_port

from zgrid.errors import SettingsError
from zgrid.protocol import wire
from zgrid.protocol.messages import Answer, Question
from zgrid.transport.arrivals import Arrivals
from zgrid.transport.client import Client, UnansweredError
from zgrid.transport.sockets import RECONNECT_MS_MAX, bind, control_dealer, control_router, open_context

FOUND_MS_MAX = 10 * RECONNECT_MS_MAX


@pytest.fixture
def context():
    """A context that ends with the test; it waits for whatever is left open."""
    context = open_context()
    yield context
    context.term()


def bound(context, address):
    """Return a router bound to an address that its last owner, closed just now, may still be about to give back."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        router = control_router(context)
        try:
            bind(router, address, "--bind")
        except SettingsError:
            assert time.monotonic() < deadline
            select.poll().poll(LOOK_EVERY_MS)
        else:
            return router


def test_each_arrival_is_told_once(context):
    """The first time that a peer is reached, and each time that it is back at the same port, is told once."""
    address = f"tcp://127.0.0.1:{free_port()}"
    dealer = control_dealer(context, b"12345678", address, monitored=True)
    with closing(dealer), closing(Arrivals(dealer)) as arrivals:
        assert not arrivals.take(), "nobody is there"
        for _ in range(3):
            with closing(bound(context, address)):
                deadline = time.monotonic() + FOUND_MS_MAX / 1000
                while not arrivals.take():  # what comes first may be that the last one is gone
                    assert arrivals.monitor.poll(max(0, (deadline - time.monotonic()) * 1000)), "it was not found"
                assert arrivals.here
                assert not arrivals.take()


def test_nothing_is_left_of_one_that_is_closed(context):
    """Closing it leaves nothing open that would keep the process from ending, and the socket works on."""
    router, address = control_router(context), f"tcp://127.0.0.1:{free_port()}"
    bind(router, address, "--bind")
    dealer = control_dealer(context, b"12345678", address, monitored=True)
    arrivals = Arrivals(dealer)
    assert arrivals.monitor.poll(FOUND_MS_MAX)
    arrivals.close()
    assert arrivals.monitor.closed
    dealer.send(b"still here")
    assert router.poll(FOUND_MS_MAX)
    dealer.close(0)
    router.close(0)


def test_address_that_cannot_be_leaves_nothing_open(context):
    """The error comes, and the context ends."""
    with pytest.raises(SettingsError, match="cannot connect"):
        control_dealer(context, b"12345678", "tcp://nonsense", monitored=True)


def test_last_word_is_heard(context):
    """A process that answers and ends at once, as a drained one does, is heard by a tool that reads a moment later."""
    router = control_router(context)
    address = bind(router, "tcp://127.0.0.1:*", "--bind")
    with closing(router), Client(address) as client:
        arrivals = client._arrivals
        assert arrivals.monitor.poll(FOUND_MS_MAX)
        arrivals.take()
        assert arrivals.here
        client._socket.send_multipart(wire.encode(Question(id=7, body={"what": "cancel"})))
        assert router.poll(FOUND_MS_MAX)
        peer = router.recv_multipart()[0]
        router.send_multipart([peer, *wire.encode(Answer(id=7, body={"changed": 1}))])
        router.close()
        assert arrivals.monitor.poll(FOUND_MS_MAX), "the connection is not closed"
        arrivals.take()
        assert not arrivals.here
        assert client._await_unconnected(7, FOUND_MS_MAX) == {"changed": 1}


def test_what_was_not_answered_is_not_left_for_the_next_process(context):
    """A tool that gives up hangs up: what is still on its way reaches nobody who starts later, and it can ask again."""
    router = control_router(context)
    address = bind(router, "tcp://127.0.0.1:*", "--bind")
    peers = set()
    with closing(router), Client(address) as client:
        for number in (1, 2):
            with pytest.raises(UnansweredError, match="nobody answers"):
                client.ask({"what": "status"}, timeout_ms=FOUND_MS_MAX)
            while router.poll(0):
                peers.add(router.recv_multipart()[0])
            assert len(peers) == number
