"""The ventilator's lanes: a PUSH socket for each worker, and a monitor that tells within milliseconds that it is gone.

Monitors are polled apart from data: each one's descriptor is in one epoll, and that epoll is a single descriptor for
the loop. So a thousand idle lanes cost a turn of the loop nothing.
"""

import os
import select
from collections import deque
from typing import NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from zgrid.protocol.messages import Frame
from zgrid.transport.doors import EVENTS_PER_TURN_MAX, cut, unwatch, watch
from zgrid.transport.guard import Guard
from zgrid.transport.post import send
from zgrid.transport.sockets import bind, lane_push

_EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


STRANGERS_MAX = 16
"""Connections to one lane beside its worker's; of a lane whose worker has not come yet, ten times as many."""


class Signal(NamedTuple):
    """What a monitor said of a lane: up, or not."""

    lane: int
    up: bool


class Links:
    """The connections to one lane, by their descriptors: the worker's, and those of strangers such as port scanners.

    A monitor says which connection was accepted or has ended, but not which one has greeted. It is the worker's if no
    other was open just then; else the lane is down when as few are left as cannot have greeted. When a second one
    greets, the lane is down at once, for it takes every other message: a worker that had a lane at this port before, or
    this one's own new connection while its old one only looks alive.
    """

    __slots__ = ("_maybe", "_open", "_spoilt", "_up", "_worker")

    def __init__(self) -> None:
        self._open: dict[int, None] = {}  # in the order in which they came
        self._worker: int | None = None
        self._maybe: set[int] = set()  # who was open at the first greeting: one of them is the worker
        self._up = self._spoilt = False

    def heard(self, event: int, descriptor: int) -> bool | None:
        """Take one event of the monitor; return True when the worker is there, False when it went, None otherwise."""
        if event == zmq.EVENT_ACCEPTED:
            self._open[descriptor] = None
            return None
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if self._up:
                self._up, self._spoilt = False, True
                return False
            if self._spoilt:
                return None
            self._up = True
            self._maybe = set(self._open)
            self._worker = next(iter(self._open)) if len(self._open) == 1 else None
            return True
        self._open.pop(descriptor, None)
        self._maybe.discard(descriptor)
        if not self._up or (descriptor != self._worker if self._worker is not None else self._open):
            return None
        self._up = False
        return False

    def excess(self) -> list[int]:
        """Return those that are too many: the newest once the worker is there, and else the oldest.

        Who may be the worker is never one of them; strangers among those are ended by the time that a handshake has.
        """
        if self._up:
            return [one for one in self._open if one not in self._maybe][STRANGERS_MAX:]
        return list(self._open)[: max(0, len(self._open) - 10 * STRANGERS_MAX)]


class _Lane:
    __slots__ = ("links", "monitor", "port", "push", "unsent")

    def __init__(self, push: zmq.Socket[bytes], monitor: zmq.Socket[bytes], port: int) -> None:
        self.push = push
        self.port = port
        self.monitor = monitor
        self.links = Links()
        self.unsent: deque[list[Frame]] = deque()


class Lanes:
    """All lanes of a ventilator. ``address``: what to bind each to, with ``{lane}`` in an ipc path, or a tcp host.

    ``guard``: who lets in at each lane only the worker that it was made for; None without keys.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        ports: range | None,
        guard: Guard | None = None,
    ) -> None:
        self._context = context
        self._guard = guard
        self._address = address
        self._ports = ports
        self._turn = os.getpid() % len(ports) if ports else 0
        self._lanes: dict[int, _Lane] = {}
        self._epoll = select.epoll()
        self._by_fd: dict[int, int] = {}
        self._unread: set[int] = set()
        self._again = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._again, select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._lanes)

    def fileno(self) -> int:
        """Return the descriptor that is readable when any monitor may have something to say."""
        return self._epoll.fileno()

    def open(self, lane: int, owner: str | None = None) -> str:
        """Bind a lane and return its address as the worker is to be told it. Raises SettingsError, OSError.

        ``owner``: the worker's public key, where there are keys.
        """
        try:
            push = lane_push(self._context)
            if self._guard is not None:
                self._guard.open_lane(push, lane, owner or "")
            monitor = watch(push, _EVENTS)
        except zmq.ZMQError as error:  # no descriptors or sockets left
            raise OSError(error.errno, str(error)) from None
        try:
            bound = self._bind(push, lane)
        except BaseException:
            unwatch(push, monitor)
            push.close(0)
            if self._guard is not None:
                self._guard.close_lane(lane)
            raise
        port = bound.rpartition(":")[2]
        self._lanes[lane] = _Lane(push, monitor, int(port) if port.isdigit() else 0)
        fd: int = monitor.fileno()
        self._epoll.register(fd, select.EPOLLIN)
        self._by_fd[fd] = lane
        # The descriptor wakes only a reader that has found nothing, so look once; nobody can have connected yet.
        monitor.poll(0)
        return bound

    def signals(self) -> list[Signal]:
        """Return what the monitors have said since the last call, of each lane only so much at a time. Never waits."""
        signals = []
        ready = {self._by_fd[fd] for fd, _ in self._epoll.poll(0) if fd != self._again} | self._unread
        if self._unread:
            os.eventfd_read(self._again)
            self._unread.clear()
        for lane in sorted(ready):
            signals += self._read(lane, self._lanes[lane])
        if self._unread:
            os.eventfd_write(self._again, 1)
        return signals

    def send(self, lane: int, frames: list[Frame]) -> bool:
        """Send frames down a lane, behind what is still unsent there. Return whether all of it is out."""
        entry = self._lanes.get(lane)
        if entry is None:
            return True  # closed meanwhile: its jobs are others' now
        entry.unsent.append(frames)
        return self.flush(lane)

    def flush(self, lane: int) -> bool:
        """Send what a lane takes now. Return whether nothing is left unsent."""
        entry = self._lanes.get(lane)
        while entry is not None and entry.unsent:
            try:
                send(entry.push, entry.unsent[0])
            except zmq.Again:
                return False
            entry.unsent.popleft()
        return True

    def socket(self, lane: int) -> zmq.Socket[bytes] | None:
        """Return a lane's socket, to be watched while something is unsent."""
        entry = self._lanes.get(lane)
        return None if entry is None else entry.push

    def close(self, lane: int) -> None:
        """Close a lane; what it holds is lost, and its ventilator knows that."""
        entry = self._lanes.pop(lane, None)
        if entry is None:
            return
        fd = next(fd for fd, owner in self._by_fd.items() if owner == lane)
        del self._by_fd[fd]
        self._unread.discard(lane)
        self._epoll.unregister(fd)
        if self._guard is not None:
            self._guard.close_lane(lane)
        unwatch(entry.push, entry.monitor)
        entry.push.close(0)

    def close_all(self) -> None:
        """Close every lane and the epoll."""
        for lane in list(self._lanes):
            self.close(lane)
        self._epoll.close()
        os.close(self._again)

    def _read(self, lane: int, entry: _Lane) -> list[Signal]:
        signals = []
        for _ in range(EVENTS_PER_TURN_MAX):
            if not entry.monitor.poll(0):
                break
            news = recv_monitor_message(entry.monitor, zmq.DONTWAIT)
            up = entry.links.heard(news["event"], news["value"])
            if up is not None:
                signals.append(Signal(lane, up))
        else:
            self._unread.add(lane)  # its descriptor is quiet, until there is news behind what is left
        for descriptor in entry.links.excess():
            cut(descriptor, entry.port)
        return signals

    def _bind(self, push: zmq.Socket[bytes], lane: int) -> str:
        if self._address.startswith("ipc://"):
            return bind(push, f"{self._address}-lane-{lane}", "--bind")
        host = self._address.rpartition(":")[0]
        if self._ports is None:
            return bind(push, f"{host}:0" if "*" not in host else "tcp://*:*", "--bind")
        # Whoever had a port before may still try to connect to it: the one that was free for longest comes next.
        for _ in self._ports:
            port = self._ports[self._turn]
            self._turn = (self._turn + 1) % len(self._ports)
            try:
                push.bind(f"{host}:{port}")
            except zmq.ZMQError as error:
                if error.errno != zmq.EADDRINUSE:
                    raise OSError(error.errno, f"{host}:{port}: {error}") from None
            else:
                return f"{host}:{port}"
        raise OSError(f"all ports of --lanes {self._ports.start}-{self._ports.stop - 1} are taken: give it more")
