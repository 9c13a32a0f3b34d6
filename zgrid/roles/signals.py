"""SIGTERM and SIGINT, counted: the first asks a role to drain, the second to stop at once."""

import signal
from collections.abc import Callable
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Counts requests to stop. ``asked`` is read by the loop, which ``wake`` makes turn."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.asked = 0
        self._wake = wake
        self._before = {number: signal.signal(number, self._take) for number in STOPPING}

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.asked += 1
        self._wake()
