"""The part of the ledger's open jobs that is in memory: of each chain all up to a cursor, in the order (priority, seq).

Everything behind a cursor is on disk only, so memory does not grow with the queue. Each chain has a shelf of its own:
one that nobody can do, or that somebody has paused, keeps no other chain's jobs on the disk.
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

SHELVES_MAX = 16
"""With more chains than this, those of which nothing is ready or on disk give up their shelf."""

START = (-(1 << 62), 0)
"""In front of every job: nothing of a chain is in memory."""

Place = tuple[int, int]
"""(priority, seq): the smaller the sooner."""


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


class Shelf:
    """One chain's ready jobs in memory. ``exhausted``: the ledger has no more behind ``cursor``.

    ``left``: places in the heap of jobs that are not ready any more.
    """

    __slots__ = ("cursor", "exhausted", "heap", "left", "ready")

    def __init__(self) -> None:
        self.heap: list[Place] = []
        self.ready = 0
        self.cursor = START
        self.exhausted = False
        self.left = 0


class Window:
    """Jobs in memory, by seq, and a shelf for each chain with those that are ready."""

    def __init__(self, terms: Terms) -> None:
        self.jobs: dict[int, Job] = {}
        self.shelves: dict[int, Shelf] = {}
        self.ready = 0
        self._ready_max = terms.ready_max
        self._least = 2 * terms.batch_jobs_max
        self._dropped: OrderedDict[int, None] = OrderedDict()  # a dict takes longer and longer to lose its first key

    @property
    def room(self) -> int:
        """How many ready jobs of one chain are kept in memory: all chains together have what the terms allow."""
        return max(self._least, self._ready_max // max(1, len(self.shelves)))

    def know(self, chains: Iterable[int]) -> None:
        """Have a shelf for each of these chains; what the ledger has for a new one is wanted."""
        for chain in chains:
            if chain not in self.shelves:
                self.shelves[chain] = Shelf()

    def accept(self, rows: Iterable[Row]) -> None:
        """Take newly accepted jobs in, as far as they belong before their cursor or there is room behind it."""
        room, chains = self.room, set()
        for row in rows:
            shelf = self.shelves.get(row.chain)
            if shelf is None:
                shelf = self.shelves[row.chain] = Shelf()
            place = (row.priority, row.seq)
            self._dropped.pop(row.seq, None)
            if place > shelf.cursor:
                if not shelf.exhausted or shelf.ready >= room:
                    shelf.exhausted = False
                    continue
                shelf.cursor = place
            self._enter(row, shelf)
            chains.add(row.chain)
        for chain in chains:
            if self.shelves[chain].ready > 2 * room:
                self._evict(self.shelves[chain], room)

    def load(self, chain: int, rows: list[Row], *, exhausted: bool) -> None:
        """Take in what the ledger had behind a chain's cursor; ``exhausted`` says that there is no more."""
        self.know((chain,))
        shelf = self.shelves[chain]
        for row in rows:
            # What was closed a moment ago may have been read before the ledger had heard of it.
            if row.seq not in self._dropped:
                self._enter(row, shelf)
        if rows:
            shelf.cursor = max(shelf.cursor, (rows[-1].priority, rows[-1].seq))
        shelf.exhausted = exhausted

    def wants(self) -> list[int]:
        """Return the chains of which the ledger should be read for more."""
        if len(self.shelves) > SHELVES_MAX:
            self.shelves = {chain: shelf for chain, shelf in self.shelves.items() if shelf.heap or not shelf.exhausted}
        half = self.room // 2
        return [chain for chain, shelf in self.shelves.items() if not shelf.exhausted and shelf.ready < half]

    def cursor(self, chain: int) -> Place:
        """Return the place up to which all ready jobs of a chain are in memory."""
        shelf = self.shelves.get(chain)
        return START if shelf is None else shelf.cursor

    def back(self, job: Job) -> None:
        """Put a job that is READY again into its heap."""
        self.know((job.chain,))
        self._shelve(job, self.shelves[job.chain])

    def drop(self, seq: int) -> Job | None:
        """Forget a job that was closed or postponed; its place in a heap is passed over later."""
        job = self.jobs.pop(seq, None)
        if job is not None:
            if job.state is State.READY:
                shelf = self.shelves[job.chain]
                self.ready -= 1
                shelf.ready -= 1
                shelf.left += 1
                if shelf.left > self.room:
                    self._sweep(shelf)
            self._dropped[seq] = None
            if len(self._dropped) > DROPPED_MAX:
                self._dropped.popitem(last=False)
        return job

    def head(self, chains: Sequence[int]) -> Job | None:
        """Return the next ready job of any of these chains, without taking it."""
        best: Place | None = None
        for chain in chains:
            heap = self.shelves[chain].heap
            while heap:
                job = self.jobs.get(heap[0][1])
                if job is not None and job.state is State.READY:
                    if len(chains) == 1:  # nearly always: one look
                        return job
                    if best is None or heap[0] < best:
                        best = heap[0]
                    break
                heappop(heap)
        return None if best is None else self.jobs[best[1]]

    def pop(self, job: Job) -> None:
        """Take the job that ``head`` returned out of its heap."""
        shelf = self.shelves[job.chain]
        heappop(shelf.heap)
        shelf.ready -= 1
        self.ready -= 1

    def _enter(self, row: Row, shelf: Shelf) -> None:
        if row.seq not in self.jobs:
            job = self.jobs[row.seq] = Job(*row)
            self._shelve(job, shelf)

    def _shelve(self, job: Job, shelf: Shelf) -> None:
        heappush(shelf.heap, (job.priority, job.seq))
        shelf.ready += 1
        self.ready += 1

    def _evict(self, shelf: Shelf, room: int) -> None:
        """Leave the later half of a chain's ready jobs to the disk again: urgent ones came in front of them."""
        # A job that was dropped and came back has two places.
        ready = [place for place in sorted(set(shelf.heap)) if self._is_ready(place[1])]
        for _, seq in ready[room:]:
            del self.jobs[seq]
        # Jobs that were handed back may stand behind the cursor, among others that are on disk only: it never goes on.
        shelf.cursor = min(shelf.cursor, ready[room - 1])
        shelf.exhausted = False
        self.ready -= shelf.ready - room
        shelf.ready = room
        self._sweep(shelf)

    def _sweep(self, shelf: Shelf) -> None:
        """Take the places of jobs that are not ready any more out of a heap."""
        shelf.left = 0
        shelf.heap = [place for place in shelf.heap if self._is_ready(place[1])]
        heapify(shelf.heap)

    def _is_ready(self, seq: int) -> bool:
        job = self.jobs.get(seq)
        return job is not None and job.state is State.READY
