"""Which sink a job's result belongs to, and how sinks are asked what they have."""

from collections.abc import Iterable

from zgrid.protocol.effects import Effect, Review, TellSink
from zgrid.protocol.lane import Job
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.protocol.messages import Ask

REVIEW_S = 5.0
REVIEW_MS = 60_000
"""Sinks are asked so often about jobs that were closed by others than them within this time."""

REVIEW_ALL_MS = 7 * 86_400_000
REVIEW_JOBS_MAX = 4 * BATCH_JOBS_MAX
"""The same when a sink comes, or this ventilator: what was under way while either was down is a week old at most."""


class Reviews:
    """When the ledger is looked through for jobs that were closed without a sink's word, to ask sinks about them."""

    def __init__(self) -> None:
        self._at = self._welcomed_at = 0.0

    def welcomed(self, now: float) -> Review:
        """A sink has answered, maybe after a time without it: look at all that it may have said meanwhile."""
        self._welcomed_at = now
        return Review(REVIEW_ALL_MS, REVIEW_JOBS_MAX)

    def due(self, now: float) -> list[Effect]:
        """Return what is to be looked at, every few seconds.

        In the minute after a sink has answered this is all again: the question may have been lost, or have come before
        the result. What was closed just before that is dated by a clock that may have been set since.
        """
        if now - self._at <= REVIEW_S:
            return []
        self._at = now
        lately = (now - self._welcomed_at) * 1000 < REVIEW_MS
        return [Review(REVIEW_ALL_MS if lately else REVIEW_MS, REVIEW_JOBS_MAX)]


def sink_of(key: bytes, sinks: int) -> int:
    """Return the number of the sink, of so many, that gets the result of the job with this key: always the same one."""
    return key[0] % sinks


def by_sink(jobs: dict[int, Job], sinks: int) -> list[dict[int, Job]]:
    """Return the jobs of each sink."""
    if sinks == 1:  # as nearly always: no look at any of them
        return [jobs]
    parts: list[dict[int, Job]] = [{} for _ in range(sinks)]
    for seq, job in jobs.items():
        parts[sink_of(job.key, sinks)][seq] = job
    return parts


def asks(ledger: bytes, sinks: int, jobs: Iterable[tuple[int, bytes]]) -> list[Effect]:
    """Ask each sink what it has of its own among these jobs, each a seq and a key."""
    mine: list[list[tuple[int, bytes]]] = [[] for _ in range(sinks)]
    for seq, key in jobs:
        mine[sink_of(key, sinks)].append((seq, key))
    effects: list[Effect] = []
    for sink, theirs in enumerate(mine):
        for start in range(0, len(theirs), BATCH_JOBS_MAX):
            seqs, keys = zip(*theirs[start : start + BATCH_JOBS_MAX], strict=True)
            effects.append(TellSink(sink, Ask(ledger=ledger, seqs=list(seqs), keys=b"".join(keys))))
    return effects
