"""The loop that every role turns: sockets and descriptors that have something, timers that are due, nothing else."""

import os
from collections.abc import Callable
from typing import Any

import zmq

from zgrid.transport.clock import now as clock_now

Handler = Callable[[], None]


class Timer:
    """A call every ``interval_s`` seconds; a late one is not made up for."""

    __slots__ = ("call", "due", "interval_s")

    def __init__(self, interval_s: float, call: Handler) -> None:
        self.interval_s = interval_s
        self.call = call
        self.due = clock_now() + interval_s


class Loop:
    """Polls, then calls who is concerned; one thread, until ``stop``.

    ``after``: called at the end of each turn, where a role writes what the turn has gathered. ``due_s``: when to turn
    at the latest, in seconds, or None.
    """

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._handlers: dict[Any, Handler] = {}
        self._timers: list[Timer] = []
        self._running = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._woken: list[Handler] = []
        self.after: Handler = lambda: None
        self.due_s: Callable[[], float | None] = lambda: None
        self._poller.register(self._wake_fd, zmq.POLLIN)
        self._handlers[self._wake_fd] = self._drain

    def watch(self, source: zmq.Socket[bytes] | int, handler: Handler, *, writable: bool = False) -> None:
        """Call ``handler`` whenever ``source``, a socket or descriptor, is readable, or ``writable`` instead."""
        self._poller.register(source, zmq.POLLOUT if writable else zmq.POLLIN)
        self._handlers[source] = handler

    def forget(self, source: zmq.Socket[bytes] | int) -> None:
        """Watch ``source`` no longer; nothing happens if it was not watched."""
        if self._handlers.pop(source, None) is not None:
            self._poller.unregister(source)

    def every(self, interval_s: float, call: Handler) -> None:
        """Make a call every ``interval_s`` seconds."""
        self._timers.append(Timer(interval_s, call))

    def on_wake(self, handler: Handler) -> None:
        """Call ``handler`` after any ``wake``."""
        self._woken.append(handler)

    def wake(self) -> None:
        """Make the loop turn. The one thing that other threads and signal handlers may do."""
        os.eventfd_write(self._wake_fd, 1)

    def stop(self) -> None:
        """End ``run`` after this turn."""
        self._running = False

    def run(self) -> None:
        """Turn until ``stop``."""
        self._running = True
        while self._running:
            self.turn()

    def turn(self) -> None:
        """Wait for something to happen, at most until the next timer, and deal with all of it."""
        for source, _ in self._poller.poll(self._patience_ms()):
            handler = self._handlers.get(source)
            if handler is not None:  # an earlier handler of this turn may have closed it
                handler()
        now = clock_now()
        for timer in self._timers:
            if now >= timer.due:
                timer.due = now + timer.interval_s
                timer.call()
        self.after()

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._wake_fd)

    def _patience_ms(self) -> int:
        soonest = min((timer.due for timer in self._timers), default=clock_now() + 1.0) - clock_now()
        due_s = self.due_s()
        if due_s is not None:
            soonest = min(soonest, due_s)
        # Rounded up: a poll that ends 0.4 ms early would turn the loop for nothing, again and again.
        return max(0, -int(-soonest * 1000 // 1))

    def _drain(self) -> None:
        os.eventfd_read(self._wake_fd)
        for handler in self._woken:
            handler()
