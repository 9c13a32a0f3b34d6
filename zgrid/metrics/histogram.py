"""A histogram that takes columns: what a whole batch of jobs costs is a sort and one search for each bound."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

FEW = 8
"""Up to so many values are looked up one by one; more are sorted first."""


class Distribution(NamedTuple):
    """What a histogram has counted, at one moment. ``counts``: values up to each bound and not up to the one before.

    The last of the counts is of values above all bounds.
    """

    bounds: tuple[float, ...]
    counts: list[int]
    total: float


class Histogram:
    """Counts values by upper bounds, which are in the unit of the metric (seconds). One thread observes, any looks."""

    def __init__(self, bounds: Sequence[float]) -> None:
        assert list(bounds) == sorted(set(bounds)), "bounds must rise"
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def observe(self, values: Sequence[float], scale: float = 1.0, plus: float = 0.0) -> None:
        """Count each of ``values`` times ``scale``, and ``plus`` more: a column of ms needs a scale of 0.001."""
        number = len(values)
        self._total += sum(values) * scale + plus * number
        counts, bounds = self._counts, self._bounds
        if number <= FEW:
            for value in values:
                counts[bisect_left(bounds, value * scale + plus)] += 1
            return
        ordered = sorted(values)
        below = 0
        for place, bound in enumerate(bounds):
            up_to = bisect_right(ordered, (bound - plus) / scale, below)
            counts[place] += up_to - below
            below = up_to
            if below == number:
                return
        counts[-1] += number - below

    def distribution(self) -> Distribution:
        """Return what was counted so far."""
        return Distribution(self._bounds, self._counts.copy(), self._total)


WORK_BOUNDS_S = (0.0001, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a null filter to the default time-to-run."""

WAIT_BOUNDS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)
"""From an idle grid to a queue that is worked off over a night."""

COMMIT_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From a fast disk's fsync to one that hangs for half of the watchdog's time."""
