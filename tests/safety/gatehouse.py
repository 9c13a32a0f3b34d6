"""A guarded process in the test's own hands, and callers with whatever keys the test likes."""

import os
import select
import time
from collections import Counter

import zmq
from zmq.utils.monitor import recv_monitor_message

from zgrid.protocol import wire
from zgrid.protocol.rights import RIGHTS
from zgrid.transport.doors import Door
from zgrid.transport.enrolment import Enrolment
from zgrid.transport.guard import Guard, GuardedPost
from zgrid.transport.keyring import read_key, read_list
from zgrid.transport.lanes import Lanes
from zgrid.transport.sockets import bind, control_router, intake_pull

WITHIN_S = 15.0
FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


def until(condition, what, within_s=WITHIN_S):
    """Look until a condition is true, and return it."""
    deadline = time.monotonic() + within_s
    poll = select.poll()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"in vain for {within_s:g} s: {what}"
        poll.poll(5)
    return value


def enrolled(folder):
    """Make a grid with two members of each role; return name -> Key."""
    enrolment = Enrolment(folder)
    enrolment.init("photos")
    for name, role in {"w1": "worker", "w2": "worker", "sink2": "sink", "anna": "operator"}.items():
        enrolment.enroll(name, role)
    enrolment.enroll("photos2", "ventilator", call="tcp://127.0.0.1:5550")
    return {key.name: key for key in map(read_key, sorted(folder.glob("*.key")))}


class Gatehouse:
    """One guarded socket of each gate, at ``ports``, and lanes; all of it turned by ``turn``.

    ``door_limits``: those of each ``Door``. ``heard``: gate -> (peer, message) of everything that was let through.
    ``lane_owners``: lane -> whose it is.
    """

    def __init__(self, folder, own="photos", patient=False, **door_limits):
        self.keys = enrolled(folder)
        self.folder = folder
        self.context = zmq.Context()
        self.callers = zmq.Context()
        self.refusals = []
        self.complaints = []
        key = self.keys[own]
        self.guard = Guard(self.context, key, lambda *told: self.refusals.append(told), patient=patient)
        self.posts, self.ports, self.doors, self.heard = {}, {}, {}, {}
        for gate in RIGHTS:
            socket = intake_pull(self.context) if gate == "intake" else control_router(self.context)
            self.guard.protect(socket, gate)
            door = self.doors[gate] = Door(socket, self.guard.invited, **door_limits)
            door.port = self.ports[gate] = int(bind(socket, "tcp://127.0.0.1:*", "--bind").rpartition(":")[2])
            self.posts[gate] = GuardedPost(
                socket, lambda *told: self.complaints.append(told), self.guard, gate, door, routed=gate != "intake",
                speaker=lambda message: self.lane_owners.get(getattr(message, "lane", 0)),
            )  # fmt: skip
            self.heard[gate] = []
        self.lanes = Lanes(self.context, "tcp://127.0.0.1:0", None, self.guard)
        self.signals = []
        self.lane_owners = {}
        self.made = []

    def allow(self, *names):
        """Let these in, or everybody of the list."""
        members = read_list(self.folder / "allowed.toml")
        return self.guard.allow([one for one in members if not names or one.name in names])

    def turn(self):
        """Judge and receive what is there; return true, for conditions."""
        self.guard.read()
        self.guard.tick()
        for gate, post in self.posts.items():
            self.heard[gate] += post.receive()
            self.doors[gate].read()
            self.doors[gate].tick()
        self.signals += self.lanes.signals()
        return True

    def until(self, condition, what, within_s=WITHIN_S):
        """Turn until a condition is true, and return it."""
        return until(lambda: self.turn() and condition(), what, within_s)

    def caller(self, name, gate, kind=None, server=None, **options):
        """Connect with the keys of ``name``."""
        kind = kind or (zmq.PUSH if gate == "intake" else zmq.DEALER)
        curve = self.keys[name].curve(server or self.guard.key.public)
        return self.call(kind, self.ports[gate], curve, **options)

    def call(self, kind, port, curve=None, **options):
        """Connect to a port with these keys, or none."""
        self.made.append(Caller(self.callers, kind, port, curve, **options))
        return self.made[-1]

    def close(self):
        """Close everything."""
        for caller in self.made:
            caller.close()
        self.callers.destroy(0)  # also what a failed test has left open
        self.lanes.close_all()
        for gate, post in self.posts.items():
            self.doors[gate].close()
            post.close()
        self.guard.close()
        self.context.term()


class Caller:
    """A socket that connects to a port with these keys, and what its monitor has said."""

    def __init__(self, context, kind, port, curve=None, identity=None):
        self.boot = os.urandom(8)
        self.socket = context.socket(kind)
        self.socket.linger = 0
        if identity:
            self.socket.routing_id = identity
        if curve is not None:
            curve.apply(self.socket)
        self.events = Counter()
        self._monitor = self.socket.get_monitor_socket()
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def say(self, message):
        """Send a message."""
        self.socket.send_multipart(wire.encode(message))

    def answers(self):
        """Return the messages that have come."""
        found = []
        while self.socket.poll(0):
            found.append(wire.decode(self.socket.recv_multipart()))
        return found

    def look(self):
        """Take what the monitor has said; return how often each event was."""
        while self._monitor.poll(0):
            self.events[recv_monitor_message(self._monitor)["event"]] += 1
        return self.events

    @property
    def is_in(self):
        """Whether it was let in."""
        return bool(self.look()[zmq.EVENT_HANDSHAKE_SUCCEEDED])

    @property
    def is_out(self):
        """Whether it was turned away."""
        return any(times for event, times in self.look().items() if event & FAILED)

    def close(self):
        """Close the socket; a second time does nothing."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._monitor.close(0)
            self.socket.close(0)
