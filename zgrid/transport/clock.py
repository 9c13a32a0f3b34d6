"""The clocks. Machines get the monotonic one; the wall clock only dates what people read.

A delay that outlives a restart has to be kept as a date: ``DueClock`` is the wall clock without its jumps.
"""

import os
import time
from pathlib import Path

now = time.monotonic
"""Seconds, monotonic: a jump of the wall clock changes nothing."""


def wall_ms() -> int:
    """Return the wall clock in ms since 1970."""
    return time.time_ns() // 1_000_000


class Swing:
    """How wide people swing the wall clock: two dates are further apart, or less far, than what has passed, by ``ms``.

    To be told, whenever something is dated, by how much the wall clock is ahead of one that nobody sets.
    """

    def __init__(self) -> None:
        self._least_ms = self._most_ms = 0

    def dated(self, ahead_ms: int) -> None:
        """Something was dated."""
        self._least_ms = min(self._least_ms, ahead_ms)
        self._most_ms = max(self._most_ms, ahead_ms)

    @property
    def ms(self) -> int:
        """Return how far a date can be off from another one, at most."""
        return self._most_ms - self._least_ms


class DueClock:
    """What delays are reckoned by: what the wall clock would say, had nobody set it since this process began.

    ``at_least_ms``: what the clock of the process before this one has said. So a wall clock that was set back meanwhile
    makes no delay longer; one that was set forth makes it shorter. A machine's sleep counts, as it does for people.
    ``swing``: how far the dates that ``date_ms`` gave can be off from each other.
    """

    def __init__(self, at_least_ms: int = 0) -> None:
        self._set_ms = max(wall_ms(), at_least_ms) - _boot_time_ms()
        self.swing = Swing()

    def now_ms(self) -> int:
        """Return ms since 1970."""
        return self._set_ms + _boot_time_ms()

    def date_ms(self) -> int:
        """Return the wall clock, as people read it, to date what will be looked for by its date."""
        wall = wall_ms()
        self.swing.dated(wall - self.now_ms())
        return wall


def new_boot() -> bytes:
    """Return a random name for this life of this process, 8 bytes."""
    return os.urandom(8)


def host_identity() -> str:
    """Return what two processes have in common exactly if they reach each other by loopback.

    That is the running kernel and the network namespace: containers on one machine share the first and not the second.
    """
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot_id}/{os.stat('/proc/self/ns/net').st_ino}"  # noqa: PTH116  one call, no path object needed


def _boot_time_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
