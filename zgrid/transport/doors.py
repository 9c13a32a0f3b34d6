"""The connections of a bound socket on which nobody has said anything yet: how many there may be, and no more.

Some are strangers, and some were let in and have nothing to say, as at the intake of a sink that was started again
while there is no work: those may be many more, or they would be cut, come again, and put each other out for ever.

libzmq accepts whoever comes, keeps each for as long as a handshake may take, and even before it knows who sends it
takes in a frame of any length that the socket allows. It has no option against that. So each accepted connection is
kept in mind, by its descriptor, until a message has come by it; when there are too many strangers the oldest are cut.

The monitor says that a handshake has succeeded, and not whose. But how one went can be told from how much either side
has sent, which the kernel knows: with keys, libzmq's READY follows only on the guard's word.

A descriptor is a hint, for it may be another file's by now. So nothing is done to one but ``shutdown``, and only where
it is a TCP connection at the very port of this door. At worst an innocent one is cut, and reconnects.
"""

import itertools
import os
import resource
import socket as sockets
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import zmq

from zgrid.transport.clock import now as clock_now

SILENT_MAX = 512
"""Strangers at one door: nobody has spoken, nor been let in. A thousand workers that start at once stay below it,
because each is let in a few ms after it came."""

GREETED_MAX = 4096
"""Connections at one door that were let in and on which nobody has spoken: as many as there are members at most. Each
costs 23 KiB."""

STRANGER_BYTES_MAX = 64 << 10
"""What a host may send on a connection before a key of that host was accepted; a handshake takes less than 1 KiB."""

EVENTS_PER_TURN_MAX = 512
MONITOR_HWM = 20_000
"""Events that wait while the loop is busy. When there are more, libzmq waits with all of its sockets: so, many."""

INVITED_S = 600.0
"""For so long a host of which a key was accepted counts as known."""

_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_ACCEPT_FAILED
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
_EVENT = struct.Struct("=HI")
_TRAFFIC = struct.Struct("=128xQ64xQQ")
"""tcpi_bytes_received, tcpi_bytes_sent and tcpi_bytes_retrans in the kernel's struct tcp_info (linux/tcp.h)."""

_GREETING = 64
_LET_IN = _GREETING + 170 + 30
"""With keys, to whom is let in libzmq sends greeting, WELCOME (170 bytes) and READY (52 at least, with the type of the
socket); to whom is not, an ERROR of 12 bytes instead."""

_READY = _GREETING + 2 + 6 + 19
"""Without keys each side sends its greeting and READY with the type of its socket, one of three letters at least."""


def have_descriptors() -> int:
    """Let this process have as many descriptors as it may, and return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


_numbers = itertools.count()


def watch(socket: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
    """Return a monitor with room for many events, of a socket that is not bound yet; end it with ``unwatch``."""
    address = f"inproc://watch-{next(_numbers)}"
    socket.monitor(address, events)
    monitor: zmq.Socket[bytes] = socket.context.socket(zmq.PAIR)
    monitor.linger = 0
    monitor.rcvhwm = MONITOR_HWM  # before it connects, or it would be too late
    monitor.connect(address)
    return monitor


def unwatch(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
    """End and close a monitor; before its socket is closed, though one that is already does no harm.

    A monitor that is full keeps libzmq's own thread waiting inside a lock that ending it needs, so it is emptied first:
    else this would wait for ever, and the whole process with it.
    """
    with suppress(zmq.Again):
        for _ in range(2 * MONITOR_HWM):
            monitor.recv_multipart(zmq.DONTWAIT)
    if not socket.closed:  # by a bind or connect that failed
        socket.disable_monitor()
    monitor.close(0)


class Door:
    """One bound TCP socket. Make it before the socket is bound, set ``port`` after, watch ``monitor``, call ``read``.

    ``invited``: hosts of which a key was accepted, and when; None where there are no keys, and every host is alike.
    ``silent_max`` and ``greeted_max``: how many connections there may be on which nobody has spoken, before and after
    they were let in.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], invited: Mapping[str, float] | None, *, silent_max: int = SILENT_MAX,
        greeted_max: int = GREETED_MAX,
    ) -> None:  # fmt: skip
        self._socket = socket
        self._invited = invited
        self.port = 0
        self.counts: Counter[str] = Counter()
        self._silent: dict[int, None] = {}  # in the order in which they came, as the next
        self._greeted: dict[int, None] = {}
        descriptors = have_descriptors()
        self._silent_max = min(silent_max, descriptors // 4)
        self._greeted_max = min(greeted_max, descriptors // 4)
        self.monitor = watch(socket, _EVENTS)

    def read(self) -> int:
        """Take what the monitor says; return how many came that speak another language, or have no or other keys."""
        foreign = 0
        for _ in range(EVENTS_PER_TURN_MAX):
            try:
                data, _ = self.monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            event, value = _EVENT.unpack(data)
            if event == zmq.EVENT_ACCEPTED:
                self.counts["accepted"] += 1
                self.spoke(value)  # whoever had this number before is gone
                self._silent[value] = None
            elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED):
                before = self.crowd
                self.spoke(value)
                self.counts["unheard"] += before - self.crowd
            elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self.counts["foreign"] += 1
                foreign += 1
            elif event == zmq.EVENT_ACCEPT_FAILED:
                self.counts["no_room"] += 1
        if len(self._silent) > self._silent_max or len(self._greeted) > self._greeted_max:
            self._make_room()
        return foreign

    @property
    def crowd(self) -> int:
        """How many connections there are on which nobody has spoken."""
        return len(self._silent) + len(self._greeted)

    @property
    def strangers(self) -> int:
        """How many of them were not let in either, so far as is known."""
        return len(self._silent)

    def spoke(self, descriptor: int) -> None:
        """Somebody has said something on a connection."""
        self._silent.pop(descriptor, None)
        self._greeted.pop(descriptor, None)

    def tick(self) -> None:
        """Several times a second: see who was let in, and cut strangers that send more than a handshake takes."""
        for descriptor in list(self._silent):
            received, sent = _traffic(descriptor)
            if self._is_let_in(received, sent):
                self._greet(descriptor)
            elif self._invited is not None and received > STRANGER_BYTES_MAX and not self._is_invited(descriptor):
                self._cut(descriptor)

    def close(self) -> None:
        """Stop watching; before the socket itself is closed."""
        unwatch(self._socket, self.monitor)

    def _make_room(self) -> None:
        """Cut as many as are too many: those who came first, and of strangers those of hosts that are not known."""
        for descriptor in list(self._silent):
            if len(self._silent) <= self._silent_max:
                break
            if self._is_let_in(*_traffic(descriptor)):
                self._greet(descriptor)
            elif not self._is_invited(descriptor):
                self._cut(descriptor)
        for ones, most in ((self._silent, self._silent_max), (self._greeted, self._greeted_max)):
            for descriptor in list(ones)[: max(0, len(ones) - most)]:
                self._cut(descriptor)

    def _is_let_in(self, received: int, sent: int) -> bool:
        return sent >= _LET_IN if self._invited is not None else min(received, sent) >= _READY

    def _greet(self, descriptor: int) -> None:
        self._silent.pop(descriptor, None)
        self._greeted[descriptor] = None

    def _is_invited(self, descriptor: int) -> bool:
        if not self._invited:
            return False
        at = self._invited.get(host_of(descriptor) or "")
        return at is not None and clock_now() - at < INVITED_S

    def _cut(self, descriptor: int) -> None:
        self.spoke(descriptor)
        self.counts["cut"] += cut(descriptor, self.port)


def descriptor_of(frame: zmq.Frame) -> int:
    """Return the descriptor of the connection that brought a frame; -1 where it is not known, as with ZMTP 2 peers."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def _borrowed(descriptor: int) -> sockets.socket | None:
    """Return a socket over a copy of a descriptor; None where it is no socket, or is closed by now."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        return None
    try:
        return sockets.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def cut(descriptor: int, port: int) -> bool:
    """End the TCP connection behind a descriptor if its own end is at ``port``; return whether it was."""
    borrowed = _borrowed(descriptor)
    if borrowed is None:
        return False
    with borrowed:
        try:
            if borrowed.family not in (sockets.AF_INET, sockets.AF_INET6) or borrowed.getsockname()[1] != port:
                return False
            # libzmq closes it when it reads the end; without lingering, so that a flood leaves nothing behind.
            borrowed.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            borrowed.shutdown(sockets.SHUT_RDWR)
        except OSError:
            return False  # it has ended by itself
    return True


def host_of(descriptor: int) -> str | None:
    """Return the host at the other end of a TCP connection; None where there is none any more."""
    borrowed = _borrowed(descriptor)
    if borrowed is None:
        return None
    with borrowed:
        try:
            return str(borrowed.getpeername()[0]).removeprefix("::ffff:")
        except (OSError, IndexError):
            return None


def _traffic(descriptor: int) -> tuple[int, int]:
    """Return how many bytes have come by a TCP connection, and gone, once each; 0 where that cannot be told."""
    borrowed = _borrowed(descriptor)
    if borrowed is None:
        return 0, 0
    with borrowed:
        try:
            info = borrowed.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _TRAFFIC.size)
        except OSError:
            return 0, 0
    if len(info) != _TRAFFIC.size:
        return 0, 0
    received, sent, again = _TRAFFIC.unpack(info)
    return received, sent - again
