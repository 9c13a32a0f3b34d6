"""SIGTERM and SIGINT, counted: the first asks a role to drain, the second to stop at once. A run takes SIGHUP, too."""

import os
import signal
from collections.abc import Callable
from types import FrameType

from zgrid.errors import EXIT_OK

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Counts requests to stop. ``asked`` is read by the loop, which ``wake`` makes turn; ``first``: which came first.

    With ``last_words`` the second request ends the process at once, after that call: only for a role whose work is on
    disk, or is told again, so that nothing is lost. ``hangup``: SIGHUP is such a request, too, unless somebody wants it
    ignored (nohup); that of a terminal may come several times, and counts once.
    """

    def __init__(
        self, wake: Callable[[], None], last_words: Callable[[], None] | None = None, *, hangup: bool = False
    ) -> None:
        self.asked = self.first = 0
        self._wake = wake
        self._last_words = last_words
        self._before = {number: signal.signal(number, self._take) for number in STOPPING}
        if hangup and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._take)

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and self.asked:
            return
        self.asked += 1
        self.first = self.first or number
        if self.asked > 1 and self._last_words is not None:
            self._last_words()
            os._exit(EXIT_OK)
        self._wake()
