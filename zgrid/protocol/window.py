"""The part of the ledger's open jobs that is in memory: all up to ``cursor``, in the order (priority, seq).

Everything behind the cursor is on disk only, so memory does not grow with the queue. Jobs that are READY stand in one
heap for each chain, because not every worker can do every chain.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State
from zgrid.protocol.lane import Job

DROPPED_MAX = 8192
"""Jobs that were closed a moment ago: more than one commit of the ledger takes in."""

START = (-(1 << 62), 0)
"""In front of every job: nothing of the ledger is in memory."""


class Row(NamedTuple):
    """An open job as the ledger gives it.

    ``ttr_ms``, ``attempts_max``: its own, where it was put with some. ``spent``: attempts of before it was kicked.
    """

    seq: int
    key: bytes
    uri: str
    size: int
    mtime_ns: int
    priority: int
    failures: int
    chain: int
    accepted_ms: int
    ttr_ms: int | None = None
    attempts_max: int | None = None
    spent: int = 0


class Window:
    """Jobs in memory, by seq, and the heaps of those that are ready."""

    def __init__(self, terms: Terms) -> None:
        self.jobs: dict[int, Job] = {}
        self.heaps: dict[int, list[tuple[int, int]]] = {}
        self.ready = 0
        self.cursor = START
        self.exhausted = False
        self._ready_max = terms.ready_max
        self._left = 0
        self._dropped: OrderedDict[int, None] = OrderedDict()  # a dict takes longer and longer to lose its first key

    def accept(self, rows: Iterable[Row]) -> None:
        """Take newly accepted jobs in, as far as they belong before the cursor or there is room behind it."""
        for row in rows:
            place = (row.priority, row.seq)
            self._dropped.pop(row.seq, None)
            if place > self.cursor:
                if not self.exhausted or self.ready >= self._ready_max:
                    self.exhausted = False
                    continue
                self.cursor = place
            self._enter(row)
        if self.ready > 2 * self._ready_max:
            self._evict()

    def load(self, rows: list[Row], *, exhausted: bool) -> None:
        """Take in what the ledger had behind the cursor; ``exhausted`` says that there is no more."""
        for row in rows:
            # What was closed a moment ago may have been read before the ledger had heard of it.
            if row.seq not in self._dropped:
                self._enter(row)
        if rows:
            self.cursor = max(self.cursor, (rows[-1].priority, rows[-1].seq))
        self.exhausted = exhausted

    def wants(self) -> bool:
        """Whether the ledger should be read for more."""
        return not self.exhausted and self.ready < self._ready_max // 2

    def back(self, job: Job) -> None:
        """Put a job that is READY again into its heap."""
        heappush(self.heaps.setdefault(job.chain, []), (job.priority, job.seq))
        self.ready += 1

    def drop(self, seq: int) -> Job | None:
        """Forget a job that was closed or postponed; its place in a heap is passed over later."""
        job = self.jobs.pop(seq, None)
        if job is not None:
            if job.state is State.READY:
                self.ready -= 1
                self._left += 1
                if self._left > self._ready_max:
                    self._sweep()
            self._dropped[seq] = None
            if len(self._dropped) > DROPPED_MAX:
                self._dropped.popitem(last=False)
        return job

    def head(self, chains: Sequence[int]) -> Job | None:
        """Return the next ready job of any of these chains, without taking it."""
        if len(chains) == 1:  # nearly always: one look
            only = self.heaps[chains[0]]
            job = self.jobs.get(only[0][1]) if only else None
            if job is not None and job.state is State.READY:
                return job
        best: tuple[int, int] | None = None
        for chain in chains:
            heap = self.heaps.get(chain)
            while heap:
                job = self.jobs.get(heap[0][1])
                if job is not None and job.state is State.READY:
                    if best is None or heap[0] < best:
                        best = heap[0]
                    break
                heappop(heap)
        return None if best is None else self.jobs[best[1]]

    def pop(self, job: Job) -> None:
        """Take the job that ``head`` returned out of its heap."""
        heappop(self.heaps[job.chain])
        self.ready -= 1

    def _enter(self, row: Row) -> None:
        if row.seq not in self.jobs:
            job = self.jobs[row.seq] = Job(*row)
            self.back(job)

    def _evict(self) -> None:
        """Leave the later half of the ready jobs to the disk again: urgent ones came in front of them."""
        places = sorted(place for heap in self.heaps.values() for place in heap)
        ready = [place for place in places if self._is_ready(place[1])]
        for _, seq in ready[self._ready_max :]:
            del self.jobs[seq]
        # Jobs that were handed back may stand behind the cursor, among others that are on disk only: it never goes on.
        self.cursor = min(self.cursor, ready[self._ready_max - 1])
        self.exhausted = False
        self.ready = self._ready_max
        self._sweep()

    def _sweep(self) -> None:
        """Take the places of jobs that are not ready any more out of the heaps; ``_left`` counts those left behind."""
        self._left = 0
        for chain, heap in self.heaps.items():
            self.heaps[chain] = [place for place in heap if self._is_ready(place[1])]
            heapify(self.heaps[chain])

    def _is_ready(self, seq: int) -> bool:
        job = self.jobs.get(seq)
        return job is not None and job.state is State.READY
