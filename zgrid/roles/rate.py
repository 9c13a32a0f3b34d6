"""How many per second, as people want to see it: smoothed over some seconds, and zero when nothing happens."""

from math import exp

MEMORY_S = 5.0
"""Time constant: a progress bar that follows a change in seconds and does not jump."""


class Rate:
    """An exponentially weighted rate. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._weight = 0.0
        self._at = self._began = now

    def add(self, events: int, now: float) -> None:
        """Note that ``events`` happened just now."""
        self._decay(now)
        self._weight += events

    def per_s(self, now: float) -> float:
        """Return the rate. While it is young, over its age and not over the whole memory."""
        self._decay(now)
        covered_s = MEMORY_S * (1.0 - exp(-max(0.1, now - self._began) / MEMORY_S))
        return self._weight / covered_s

    def _decay(self, now: float) -> None:
        self._weight *= exp(-(now - self._at) / MEMORY_S)
        self._at = now
