"""Who was let in and has nothing to say is no stranger: it stays, whatever floods there are, however long it waits."""

import socket
import threading
from contextlib import ExitStack, closing, suppress

import pytest
import zmq
from gatehouse import Caller, Gatehouse, until

from zgrid.protocol.messages import Question
from zgrid.transport.doors import Door
from zgrid.transport.guard import WatchedPost
from zgrid.transport.sockets import bind, control_router, intake_pull

STRANGERS = 8
GREETED = 40
IDLE = 30
FLOOD = 40
NULL = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01NULL" + bytes(16) + b"\0" + bytes(31)
CURVE = NULL.replace(b"\x01NULL\0", b"\0CURVE")


class KeyedHouse(Gatehouse):
    """The intake of a process with keys."""

    def __init__(self, folder, gate="intake"):
        super().__init__(folder, silent_max=STRANGERS, greeted_max=GREETED)
        self.allow()
        self.gate, self.door, self.port = gate, self.doors[gate], self.ports[gate]

    def honest(self):
        """Return a worker's connection there."""
        return self.caller("w1", self.gate)


class PlainHouse:
    """The intake of a process without keys; with what ``Gatehouse`` has."""

    def __init__(self, _folder, gate="intake"):
        self.context, self.callers, self.made, self.heard = zmq.Context(), zmq.Context(), [], []
        self.kind = zmq.PUSH if gate == "intake" else zmq.DEALER
        socket = intake_pull(self.context) if gate == "intake" else control_router(self.context)
        self.door = Door(socket, None, silent_max=STRANGERS, greeted_max=GREETED)
        self.door.port = self.port = int(bind(socket, "tcp://127.0.0.1:*", "--bind").rpartition(":")[2])
        self.post = WatchedPost(socket, lambda *_: None, self.door, routed=gate != "intake")

    def honest(self):
        """Return a worker's connection there."""
        self.made.append(Caller(self.callers, self.kind, self.port))
        return self.made[-1]

    def turn(self):
        """Receive what is there; return true, for conditions."""
        self.heard += self.post.receive()
        self.door.read()
        self.door.tick()
        return True

    until = Gatehouse.until

    def close(self):
        """Close everything."""
        for caller in self.made:
            caller.close()
        self.callers.destroy(0)
        self.door.close()
        self.post.close()
        self.context.term()


@pytest.fixture(params=[KeyedHouse, PlainHouse])
def house(request, tmp_path):
    """An intake with small limits, with keys and without."""
    with closing(request.param(tmp_path / "keys")) as house:
        yield house


def idle(house, number):
    """Return so many connections that were let in and say nothing, made a few at a time."""
    callers = []
    for _ in range(number):
        caller = house.honest()
        house.until(lambda caller=caller: caller.is_in, "it is let in")
        callers.append(caller)
    return callers


def lost(caller):
    """How often a connection was lost."""
    return caller.look()[zmq.EVENT_DISCONNECTED]


def flood(stack, house, text):
    """Connect often, and say so much each time; return when all were seen."""
    before = house.door.counts["accepted"]
    links = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port))) for _ in range(FLOOD)]
    for link in links:
        with suppress(OSError):  # it may be cut already
            link.sendall(text)
    house.until(lambda: house.door.counts["accepted"] >= before + FLOOD, "all were accepted")
    return links


@pytest.mark.parametrize(
    "text", [b"", NULL, CURVE, b"GET / HTTP/1.1\r\n\r\n" * 8], ids=["nothing", "null", "curve", "http"]
)
def test_idle_connections_outlive_a_flood(house, text):
    """More idle workers than strangers may stand there stay, and only strangers are cut."""
    callers = idle(house, IDLE)
    house.until(lambda: house.door.strangers == 0, "none of them is a stranger")
    with ExitStack() as stack:
        flood(stack, house, text)
        house.until(lambda: house.door.strangers <= STRANGERS, "no more strangers than may be")
        assert house.door.crowd <= STRANGERS + IDLE
    assert not any(map(lost, callers))
    assert (0 if text else FLOOD - STRANGERS) <= house.door.counts["cut"] <= FLOOD, "libzmq itself ends some"


def test_all_at_once_get_in(house):
    """After a sink's restart all come at the same moment and say nothing: soon all of them are there to stay."""
    callers = [house.honest() for _ in range(IDLE)]
    house.until(lambda: house.door.crowd == IDLE and house.door.strangers == 0, "all are there")
    cut = house.door.counts["cut"]
    with ExitStack() as stack:
        flood(stack, house, b"")
        house.until(lambda: house.door.strangers <= STRANGERS, "no more strangers than may be")
    assert sum(map(lost, callers)) <= cut


def test_there_is_an_end_to_idle_connections_too(house):
    """Who was let in does not fill all descriptors either: the oldest of those who have said nothing go."""
    callers = idle(house, GREETED)
    house.until(lambda: house.door.strangers == 0, "none of them is a stranger")
    assert not house.door.counts["cut"]
    callers += idle(house, 1)
    house.until(lambda: house.door.counts["cut"], "one is cut")
    until(lambda: lost(callers[0]), "the oldest is")


def test_who_was_refused_stays_a_stranger(tmp_path):
    """Whoever is turned away for its key and does not hang up is as good as one who never said anything."""
    with closing(KeyedHouse(tmp_path / "keys")) as house, ExitStack() as stack:
        port = deaf(stack, house.port)
        curve = house.keys["anna"].curve(house.guard.key.public)
        refused = [house.call(zmq.PUSH, port, curve) for _ in range(3)]
        house.until(lambda: house.guard.counts["connections"] >= 3, "they are turned away")
        house.until(lambda: all(one.is_out for one in refused), "and hear of it")
        callers = idle(house, 3)
        house.until(lambda: house.door.crowd - house.door.strangers == len(callers), "who was let in is no stranger")
        assert house.door.strangers >= len(refused)


@pytest.mark.parametrize("kind", [KeyedHouse, PlainHouse])
def test_who_speaks_is_not_counted(tmp_path, kind):
    """At a control socket, too, whoever has said something is not counted among the silent any more."""
    with closing(kind(tmp_path / "keys", "ventilator")) as house:
        if kind is KeyedHouse:
            house.honest = lambda: house.caller("anna", "ventilator")
        (caller,) = idle(house, 1)
        house.until(lambda: house.door.crowd == 1 and not house.door.strangers, "it is there")
        caller.say(Question(id=1, body={"what": "status"}))
        house.until(lambda: not house.door.crowd, "it was heard")


def deaf(stack, port):
    """Return a port whose connections are passed on to ``port``, and never ended there."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def carry(source, target):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)

    def serve():
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", port))
            for link in (near, far):
                stack.callback(link.close)
                stack.callback(shut, link)
            for ends in ((near, far), (far, near)):
                threads.append(threading.Thread(target=carry, args=ends))
                threads[-1].start()

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    stack.callback(lambda: [thread.join() for thread in threads])
    stack.callback(shut, listener)
    return listener.getsockname()[1]


def shut(link):
    """End a connection, or the wait for one."""
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
