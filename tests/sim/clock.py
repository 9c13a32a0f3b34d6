"""Simulated time: a heap of what happens when. Nothing here ever waits for anything."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

START_S = 1000.0
"""Monotonic clocks do not begin at zero."""


class Clock:
    """Runs calls in the order of their times; those of one time in the order in which they were asked for."""

    def __init__(self) -> None:
        self.now = START_S
        self.steps = 0
        self._events: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._asked = 0

    def after(self, delay_s: float, call: Callable[..., Any], *args: Any) -> None:
        """Call ``call(*args)`` in ``delay_s`` simulated seconds."""
        self.at(self.now + delay_s, call, *args)

    def at(self, when: float, call: Callable[..., Any], *args: Any) -> None:
        """Call ``call(*args)`` at ``when``, or now if that is past."""
        self._asked += 1
        heappush(self._events, (max(when, self.now), self._asked, call, args))

    def step(self) -> bool:
        """Let the next thing happen; return False when there is none."""
        if not self._events:
            return False
        self.now, _, call, args = heappop(self._events)
        self.steps += 1
        call(*args)
        return True

    def run(self, until: float, done: Callable[[], bool] | None = None) -> bool:
        """Let things happen until ``done()`` or the time ``until``; return whether ``done()`` came true."""
        while self._events and self._events[0][0] <= until:
            if done is not None and done():
                return True
            self.step()
        self.now = max(self.now, until)
        return done is not None and done()
