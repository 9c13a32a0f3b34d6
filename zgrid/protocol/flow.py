"""How much a worker may have: credit in time for what it has not started, in bytes and jobs for what is not settled.

High-water marks count messages and cannot see kernel buffers, so a slow worker hoards thousands of small jobs behind
them. Credit follows each worker's own measured pace instead: about ``window_s`` seconds of work are under way to it,
never less than one job for each child. If the window is too small for the round trip, the measured pace is too low, but
then every round trip lets it grow by ``window_s / round_trip_s``; it settles where queue and window agree.
"""

from dataclasses import dataclass
from math import exp

SINGLE_WORK_MS = 50.0
"""From this much work per job on, jobs go to children one by one. A job that comes, ends and is stored all by itself
costs agent, ventilator and sink 2 ms of a processor together, and a third less where four share every message."""

MESSAGE_JOBS_MIN = 96
"""With fewer jobs than these, a message and its answer cost a ventilator more than all else that it does for them."""

PACE_MEMORY_S = 0.25
"""Time constant of the measured pace: long enough to smooth batches, short enough to follow a camera's bursts."""

SAMPLE_S_MIN = 0.002
"""Reports that come closer together than this are one sample: a burst that ends a batch says little by itself."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits within which a ventilator gives out work. Settings of the same names explain each one.

    ``batch_bytes_max``: images in one message. With a quarter of it, 100 KB images came 40 at a time, and a tenth fewer
    of them a second. A slow link gets fewer at a time: as many as it carries in the window.
    """

    attempts_max: int = 3
    ttr_ms: int = 60_000
    window_ms: int = 100
    unsettled_bytes_max: int = 64 << 20
    unsettled_jobs_max: int = 8192
    batch_jobs_max: int = 512
    batch_bytes_max: int = 16 << 20
    ready_max: int = 8192
    beat_interval_ms: int = 1000
    beats_missed_max: int = 3
    result_patience_ms: int = 10_000

    def __post_init__(self) -> None:
        assert self.batch_jobs_max <= 1024
        assert self.ready_max >= 2 * self.batch_jobs_max


class Pace:
    """A worker's measured pace: jobs per second while it had some, and ms of work per job."""

    __slots__ = ("_jobs", "_since", "per_s", "work_ms")

    def __init__(self) -> None:
        self.per_s = 0.0
        self.work_ms: float | None = None
        self._since = 0.0
        self._jobs = 0

    def begun(self, now: float) -> None:
        """Note that an idle worker was given something: idle time is not held against its pace."""
        self._since = now
        self._jobs = 0

    def done(self, jobs: int, work_ms: float, now: float) -> None:
        """Note that ``jobs`` came back just now after ``work_ms`` of work in all."""
        per_job_ms = work_ms / jobs
        self.work_ms = per_job_ms if self.work_ms is None else 0.8 * self.work_ms + 0.2 * per_job_ms
        self._jobs += jobs
        elapsed_s = now - self._since
        if elapsed_s < SAMPLE_S_MIN:
            return
        weight = 1.0 - exp(-elapsed_s / PACE_MEMORY_S) if self.per_s else 1.0
        self.per_s += weight * (self._jobs / elapsed_s - self.per_s)
        self._since = now
        self._jobs = 0

    def credit(self, procs: int, window_s: float) -> int:
        """Return how many jobs may be at the worker: one in each child, and the window's worth before them.

        The measured pace counts the way there and back. Where that alone takes longer than the window (a thousand
        workers of one ventilator), each answer would lead to a smaller batch: so MESSAGE_JOBS_MIN may be there, if
        by its own word the worker does them within the window.
        """
        least = MESSAGE_JOBS_MIN if self.work_ms is not None else 0
        if self.work_ms:
            least = int(min(least, procs * window_s * 1000 / self.work_ms))
        return procs + max(procs, least, int(self.per_s * window_s))

    @property
    def single(self) -> bool:
        """Whether its jobs are long enough to be handed to children one by one; true until it is known."""
        return self.work_ms is None or self.work_ms >= SINGLE_WORK_MS
