"""The connections of a bound socket on which nobody has said anything yet: how many there may be, and no more.

libzmq accepts whoever comes, keeps each for as long as a handshake may take, and even before it knows who sends it
takes in a frame of any length that the socket allows. It has no option against that. So each accepted connection is
kept in mind, by its descriptor, until a message has come by it; when there are too many the oldest are cut, strangers
first.

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
"""Connections at one door on which nobody has spoken. A thousand workers that start at once stay below it, because each
speaks a few ms after it came."""

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
_RECEIVED = struct.Struct("=128xQ")
"""tcpi_bytes_received in the kernel's struct tcp_info (linux/tcp.h)."""


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
    """

    def __init__(self, socket: zmq.Socket[bytes], invited: Mapping[str, float] | None) -> None:
        self._socket = socket
        self._invited = invited
        self.port = 0
        self.counts: Counter[str] = Counter()
        self._silent: dict[int, float] = {}
        self._silent_max = min(SILENT_MAX, have_descriptors() // 4)
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
                self._silent.pop(value, None)  # in the order in which they came
                self._silent[value] = clock_now()
            elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED):
                self.counts["unheard"] += self._silent.pop(value, None) is not None
            elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                self.counts["foreign"] += 1
                foreign += 1
            elif event == zmq.EVENT_ACCEPT_FAILED:
                self.counts["no_room"] += 1
        if len(self._silent) > self._silent_max:
            self._make_room()
        return foreign

    @property
    def crowd(self) -> int:
        """How many connections there are on which nobody has spoken."""
        return len(self._silent)

    def spoke(self, descriptor: int) -> None:
        """Somebody has said something on a connection."""
        self._silent.pop(descriptor, None)

    def tick(self) -> None:
        """Several times a second: cut strangers that send more than a handshake takes."""
        if self._invited is None or not self._silent:
            return
        for descriptor in list(self._silent):
            if _received(descriptor) > STRANGER_BYTES_MAX and not self._is_invited(descriptor):
                self._cut(descriptor)

    def close(self) -> None:
        """Stop watching; before the socket itself is closed."""
        unwatch(self._socket, self.monitor)

    def _make_room(self) -> None:
        """Cut as many as are too many: strangers first, and of them those who came first."""
        excess = len(self._silent) - self._silent_max
        for descriptor in sorted(self._silent, key=self._is_invited)[:excess]:  # and of each kind the oldest first
            self._cut(descriptor)

    def _is_invited(self, descriptor: int) -> bool:
        if not self._invited:
            return False
        at = self._invited.get(host_of(descriptor) or "")
        return at is not None and clock_now() - at < INVITED_S

    def _cut(self, descriptor: int) -> None:
        self._silent.pop(descriptor, None)
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


def _received(descriptor: int) -> int:
    """Return how many bytes have come by a TCP connection; 0 where that cannot be told."""
    borrowed = _borrowed(descriptor)
    if borrowed is None:
        return 0
    with borrowed:
        try:
            info = borrowed.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _RECEIVED.size)
        except OSError:
            return 0
    return int(_RECEIVED.unpack(info)[0]) if len(info) == _RECEIVED.size else 0
