"""A lane: the one worker behind it, what it may do, and exactly which jobs are there."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from zgrid.protocol.flow import Pace, Terms
from zgrid.protocol.job import READY, SENT
from zgrid.protocol.messages import Outcomes
from zgrid.protocol.reach import Reach

OVERDUE_GRACE_S = 5.0
"""What a worker gets beyond the time-to-run to kill the child and report it, before the ventilator itself gives up."""


class Job:
    """An open job in the ventilator's memory.

    ``failures``: attempts that are charged to it; ``attempts_max`` and ``ttr_ms``: its own limits, None for the
    ventilator's. ``attempt``: the number of the one that is under way or comes next, from 1; it fences reports, so it
    never goes back, even when a charge is taken back. ``unread``: a worker that was to read its image may not, so that
    its bytes travel from now on.
    """

    __slots__ = (
        "accepted_ms", "attempt", "attempts_max", "chain", "failures", "finished_at", "key", "lane", "mtime_ns",
        "priority", "sent_at", "seq", "size", "state", "suspect", "ttr_ms", "unread", "uri",
    )  # fmt: skip

    def __init__(
        self, seq: int, key: bytes, uri: str, size: int, mtime_ns: int, priority: int, failures: int, chain: int,
        accepted_ms: int, ttr_ms: int | None = None, attempts_max: int | None = None, spent: int = 0,
    ) -> None:  # fmt: skip
        self.seq = seq
        self.key = key
        self.uri = uri
        self.size = size
        self.mtime_ns = mtime_ns
        self.priority = priority
        self.failures = failures
        self.attempt = spent + failures + 1
        self.chain = chain
        self.accepted_ms = accepted_ms
        self.ttr_ms = ttr_ms
        self.attempts_max = attempts_max
        self.state = READY
        self.lane = 0
        self.suspect = failures > 0
        self.unread = False
        self.finished_at = 0.0
        self.sent_at = 0.0

    def goes_with(self, other: "Job") -> bool:
        """Whether both can be in one message: it names one chain and one time-to-run."""
        return self.chain == other.chain and self.ttr_ms == other.ttr_ms


def filters_of(chain: str) -> frozenset[str]:
    """Return the names of the filters in a chain's text, such as ``"faces highlight:width_px=4"``."""
    return frozenset(step.partition(":")[0] for step in chain.split())


class Stage(Enum):
    """How far a lane has come."""

    OPENING = "opening"
    READY = "ready"
    LEAVING = "leaving"
    GONE = "gone"


class Lane:
    """One worker's lane. ``sent`` keeps the lane's order; ``finished`` waits for the sink's word.

    ``carried``: the bytes of those finished jobs' results that have pictures or notes. They, and the images that were
    sent, are the ``unsettled_bytes``.
    """

    __slots__ = (
        "_able",
        "address",
        "ahead",
        "carried",
        "done",
        "failed",
        "filters",
        "finished",
        "head_since",
        "host",
        "id",
        "moved",
        "pace",
        "peer",
        "procs",
        "reads",
        "running",
        "sent",
        "serial",
        "singles",
        "stage",
        "unsettled_bytes",
        "worker",
    )  # fmt: skip

    def __init__(self, lane: int, peer: bytes, worker: str, host: str, procs: int, filters: dict[str, str]) -> None:
        self.id = lane
        self.peer = peer
        self.worker = worker
        self.host = host
        self.procs = max(1, procs)
        self.filters = filters
        self.reads = Reach()
        self.stage = Stage.OPENING
        self.address = ""
        self.pace = Pace()
        self.sent: dict[int, Job] = {}
        self.singles: set[int] = set()
        self.finished: dict[int, Job] = {}
        self.running: dict[int, float] = {}
        self.moved: dict[int, float] = {}
        self.unsettled_bytes = 0
        self.carried: dict[int, int] = {}
        self.head_since = 0.0
        self.done = 0
        self.failed = 0
        self.serial = 0
        self.ahead: set[int] = set()
        self._able: dict[str, bool] = {}

    def can(self, chain: str) -> bool:
        """Whether this worker has every filter of the chain."""
        able = self._able.get(chain)
        if able is None:
            able = self._able[chain] = filters_of(chain) <= self.filters.keys()
        return able

    @property
    def per_s(self) -> float:
        """How many jobs a second are to be expected; 0 while nothing is known.

        Of long jobs few come back in the time over which the pace is measured: how long each took says more.
        """
        work_ms = self.pace.work_ms
        return self.procs * 1000 / work_ms if work_ms and self.pace.single else self.pace.per_s

    def heard(self, serial: int) -> bool:
        """Note a report's number, and return whether it is a new one.

        Beats tell the worker up to which one all have come; it sends the rest again, also those that came after a gap.
        """
        if serial <= self.serial or serial in self.ahead:
            return False
        self.ahead.add(serial)
        while self.serial + 1 in self.ahead:
            self.serial += 1
            self.ahead.remove(self.serial)
        return True

    def touch(self, running: dict[int, float], now: float, alive: Iterable[int] = ()) -> None:
        """Note what runs at the worker; a first job that begins or is alive, and progress of any, begin its time anew.

        ``moved`` keeps when each began or gave its last sign of life, as far as beats tell.

        ``alive``: those whose filter gave a sign of life since the last beat, with or without progress to tell.
        """
        head = next(iter(self.sent), 0)
        begins = head in running and (head not in self.running or head in alive)
        if begins or any(far > self.running.get(seq, -1.0) for seq, far in running.items()):
            self.head_since = now
        moves = {seq for seq, far in running.items() if seq in alive or far > self.running.get(seq, -2.0)}
        self.moved = {seq: now if seq in moves else self.moved[seq] for seq in running}
        self.running = running

    def overdue(self, now: float, terms: Terms) -> bool:
        """Whether the first job should long have been reported.

        A job that the worker's beats do not show as running may wait behind other ventilators' jobs: it gets more time.
        """
        if not self.sent:
            return False
        head = next(iter(self.sent))
        patience_s = (self.sent[head].ttr_ms or terms.ttr_ms) / 1000 + OVERDUE_GRACE_S
        return now - self.head_since > (patience_s if head in self.running else 3 * patience_s)

    def slept(self, for_s: float, now: float) -> None:
        """Note that the ventilator itself was frozen: what a worker said meanwhile is not read yet."""
        self.head_since = min(now, self.head_since + for_s)

    def idle(self, terms: Terms) -> int:
        """Return how many of the worker's children have nothing to do and may have something."""
        if self.stage is not Stage.READY:
            return 0
        return min(self.procs - len(self.sent), self._unsettled(terms))

    def room(self, terms: Terms) -> int:
        """Return how many more jobs the worker may have, by its pace and by what is not settled, of whatever size."""
        if self.stage is not Stage.READY:
            return 0
        credit = self.credit(terms)
        room = min(credit - len(self.sent), self._unsettled(terms))
        # A message for every single credit would make many small ones: wait until half of the window is free.
        return room if room * 2 >= credit or len(self.sent) < self.procs else 0

    def credit(self, terms: Terms) -> int:
        """Return how many jobs may be at the worker, by its pace."""
        return self.pace.credit(self.procs, terms.window_ms / 1000)

    def overdraft(self, jobs: Sequence[Job], terms: Terms, credit: int) -> Sequence[Job]:
        """Return those of a dead worker's jobs that this one may have at once: up to twice what either may have else.

        ``credit``: the dead one's. A worker that has only just come has no pace yet and little credit of its own.
        """
        room = min(2 * max(credit, self.credit(terms)) - len(self.sent), self._unsettled(terms))
        size = self.unsettled_bytes
        for number, job in enumerate(jobs):
            size += job.size
            if number >= room or size > 2 * terms.unsettled_bytes_max:
                return jobs[:number]
        return jobs

    def fits(self, jobs: int, size: int, terms: Terms) -> bool:
        """Whether ``jobs`` more of ``size`` bytes in all may be unsettled.

        Whatever their size, one for each child and one more may be at the worker, and so many as no child is idle while
        a sink gathers results: two for each child, with those that it has not stored. So settings bound memory: that of
        ``procs + 1`` images at the worker, and of ``2 * procs`` in all.
        """
        if self.unsettled_bytes + size <= terms.unsettled_bytes_max:
            return True
        sent = len(self.sent) + jobs
        return sent <= self.procs + 1 and sent + len(self.finished) <= 2 * self.procs

    def _unsettled(self, terms: Terms) -> int:
        """Return how many more jobs may be unsettled: with a sink that stores nothing, even idle children must wait."""
        return max(terms.unsettled_jobs_max, 2 * self.procs) - len(self.sent) - len(self.finished)

    def put(self, jobs: Sequence[Job], *, single: bool, now: float) -> list[int]:
        """Note that these jobs go out on the lane, behind what is there, and return their numbers."""
        if not self.sent:
            self.pace.begun(now)
            self.head_since = now
        seqs = [job.seq for job in jobs]
        if not self.sent.keys().isdisjoint(seqs):  # withdrawn and brought back while it runs here
            for seq in seqs:  # only the new attempt counts
                before = self.sent.pop(seq, None)
                self.unsettled_bytes -= before.size if before is not None else 0
        self.sent.update(zip(seqs, jobs, strict=True))
        for job in jobs:
            job.state, job.lane, job.sent_at = SENT, self.id, now
            self.unsettled_bytes += job.size
        if single:
            self.singles.update(seqs)
        return seqs

    def take(self, job: Job) -> None:
        """Note that a job is not at the worker any more."""
        self.singles.discard(job.seq)
        if self.sent.pop(job.seq, None) is not None:
            self.unsettled_bytes -= job.size

    def finish(self, jobs: dict[int, Job], message: Outcomes) -> None:
        """Note that these, of all that a message reports, are done and wait for the sink's word."""
        self.finished.update(jobs)
        for at, seq in enumerate(message.seqs if message.carries else ()):
            size = message.carries.get(str(at))
            if size and seq in jobs and seq not in self.carried:
                self.carried[seq] = size
                self.unsettled_bytes += size

    def unfinish(self, seq: int) -> None:
        """Note that a job does not wait for the sink's word any more."""
        if self.finished.pop(seq, None) is not None and self.carried:
            self.unsettled_bytes -= self.carried.pop(seq, 0)

    def evidence(self, job: Job, why: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is kept of a failure: what the worker says of it, of which job, where and at which attempt."""
        return {**(why or {}), "worker": self.worker, "uri": job.uri, "key": job.key.hex(), "attempt": job.attempt}

    def suspects(self, before: float) -> list[int]:
        """Return the jobs that the worker had surely started, if it died now: the first in line, if sent singly.

        What was sent after ``before`` can hardly have been read, and proves nothing against itself.

        An agent that gives jobs to its children one by one starts them in the lane's order, so the first ``procs`` that
        it has not reported are running. Jobs that it may start in chunks are only suspected; they go out singly next.
        """
        head = [seq for seq, _ in zip(self.sent, range(self.procs), strict=False)]
        return [seq for seq in head if seq in self.singles and self.sent[seq].sent_at <= before]
