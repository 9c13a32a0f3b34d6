"""A process of zgrid whose clock can be made to run faster: an hour of its time passes in seconds.

``python hurry.py ROLE ...`` is ``zgrid ROLE ...``. After SIGUSR1 its monotonic clock, by which all of its decisions are
made, runs ``SPEED`` times as fast, and it waits so much shorter between two turns of its loop; after SIGUSR2 as usual
again. The wall clock, which only dates the log and the ledger's rows, stays what it is, and so do the network, the disk
and the CPU.
"""

import signal
import sys
import time

from zgrid.transport import clock

SPEED = 240
"""An hour in 15 s; a millisecond, in which a process may well be kept from running, is a quarter of a second."""


class HurriedClock:
    """Monotonic seconds, at one speed or the other; it never jumps."""

    def __init__(self):
        self._speed = 1
        self._turned_at = self._base = time.monotonic()

    def __call__(self):
        """Return the time."""
        return self._base + (time.monotonic() - self._turned_at) * self._speed

    def turn(self, speed):
        """Go on at another speed."""
        self._base, self._turned_at = self(), time.monotonic()
        self._speed = speed

    def shorter(self, patience_ms):
        """Return how long to wait in reality."""
        return -(-patience_ms // self._speed)


def main():
    """Hurry on SIGUSR1, rest on SIGUSR2."""
    hurried = clock.now = HurriedClock()  # before anybody has taken it by its name
    signal.signal(signal.SIGUSR1, lambda _number, _frame: hurried.turn(SPEED))
    signal.signal(signal.SIGUSR2, lambda _number, _frame: hurried.turn(1))

    from zgrid.cli import main as zgrid  # noqa: PLC0415  only now: they take the clock by its name
    from zgrid.transport.loop import Loop  # noqa: PLC0415

    patience_ms = Loop._patience_ms
    Loop._patience_ms = lambda loop: hurried.shorter(patience_ms(loop))
    zgrid(sys.argv[1:])


if __name__ == "__main__":
    main()
