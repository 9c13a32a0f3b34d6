"""The part of the ledger's open jobs that is in memory: of each chain all up to a cursor, in the order (priority, seq).

Everything behind a cursor is on disk only, so memory does not grow with the queue. Each chain has a shelf of its own:
one that nobody can do, or that somebody has paused, keeps no other chain's jobs on the disk.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Sequence
from itertools import islice, repeat, starmap
from typing import NamedTuple

from zgrid.protocol.flow import MESSAGE_JOBS_MIN, Terms
from zgrid.protocol.job import READY
from zgrid.protocol.lane import Job

DROPPED_MIN = 8192
"""So many jobs that were closed last are known: more than one commit of the ledger takes in."""

FEW = 8
"""So many places are put onto a shelf one by one: to sort 64,000 for a single one took up to a millisecond."""

SHELVES_MAX = 16
"""With more chains than this, those of which nothing is ready or on disk give up their shelf."""

START = (-(1 << 62), 0)
"""In front of every job: nothing of a chain is in memory."""

END = (1 << 62, 0)
"""Behind every job."""

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

    ``places``: theirs in order, the next one last, so that a whole batch is taken off its end; and ``left`` more, of
    jobs that are not ready any more.
    """

    __slots__ = ("cursor", "exhausted", "left", "places", "ready")

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.ready = 0
        self.cursor = START
        self.exhausted = False
        self.left = 0

    def reaches(self, place: Place) -> bool:
        """Whether nothing on disk only comes before this place: jobs that were handed back may be behind the cursor."""
        return self.exhausted or place <= self.cursor


class Dropped:
    """The jobs that were closed last: at least DROPPED_MIN of them, at most twice as many and one batch."""

    __slots__ = ("_before", "_highest", "_last")

    def __init__(self) -> None:
        self._last: set[int] = set()
        self._before: set[int] = set()
        self._highest = 0

    def __contains__(self, seq: int) -> bool:
        return seq in self._last or seq in self._before

    def others(self, rows: Sequence[Row], lowest: int) -> Sequence[Row]:
        """Return those rows that are not among them. ``lowest``: of their numbers; nearly always all are newer ones."""
        return rows if lowest > self._highest else [row for row in rows if row.seq not in self]

    def add(self, seqs: Collection[int]) -> None:
        """These were closed just now."""
        self._last.update(seqs)
        self._highest = max(self._highest, max(seqs, default=0))
        if len(self._last) >= DROPPED_MIN:
            self._last, self._before = set(), self._last

    def forget(self, seqs: Sequence[int]) -> None:
        """These are open again."""
        self._last.difference_update(seqs)
        self._before.difference_update(seqs)


class Window:
    """Jobs in memory, by seq, and a shelf for each chain with those that are ready.

    ``newest``: the last job that is known to be in the ledger; a sink's word of later ones means nothing yet.
    ``workers``: how many there are; with more than a hundred, more jobs than the terms say are needed to have for each
    of them a batch that is worth its message.
    """

    def __init__(self, terms: Terms) -> None:
        self.jobs: dict[int, Job] = {}
        self.shelves: dict[int, Shelf] = {}
        self.ready = 0
        self.workers = 0
        self._ready_max = terms.ready_max
        self._least = 2 * terms.batch_jobs_max
        self._per_worker = min(2 * MESSAGE_JOBS_MIN, terms.batch_jobs_max)
        self._dropped = Dropped()
        self._stored = Dropped()
        self.newest = 0

    @property
    def room(self) -> int:
        """How many ready jobs of one chain are kept in memory: all chains together have what the terms allow."""
        ready_max = max(self._ready_max, self._per_worker * self.workers)
        return max(self._least, ready_max // max(1, len(self.shelves)))

    def know(self, chains: Iterable[int]) -> None:
        """Have a shelf for each of these chains; what the ledger has for a new one is wanted."""
        for chain in chains:
            if chain not in self.shelves:
                self.shelves[chain] = Shelf()

    def accept(self, rows: Sequence[Row]) -> None:
        """Take newly accepted jobs in, as far as they belong before their cursor or there is room behind it.

        What was kicked, and told as stored before we hear that it was kicked, is stored.
        """
        rows = self._stored.others(rows, min((row.seq for row in rows), default=0))
        seqs = [row.seq for row in rows]
        self._dropped.forget(seqs)
        self.newest = max(self.newest, max(seqs, default=0))
        room = self.room
        by_chain: dict[int, list[Row]] = {}
        for row in rows:
            by_chain.setdefault(row.chain, []).append(row)
        self.know(by_chain)
        for chain, mine in by_chain.items():
            shelf = self.shelves[chain]
            self._enter(_fitting(shelf, mine, room), shelf)
            if shelf.ready > 2 * room:
                self._evict(shelf, room)

    def load(self, chain: int, rows: Sequence[Row], *, exhausted: bool) -> None:
        """Take in what the ledger had behind a chain's cursor; ``exhausted`` says that there is no more."""
        self.know((chain,))
        shelf = self.shelves[chain]
        shelf.exhausted = exhausted
        if rows:
            seqs = [row.seq for row in rows]
            lowest, self.newest = min(seqs), max(self.newest, *seqs)
            shelf.cursor = max(shelf.cursor, (rows[-1].priority, rows[-1].seq))
            # What was closed a moment ago may have been read before the ledger had heard of it.
            self._enter(self._stored.others(self._dropped.others(rows, lowest), lowest), shelf)

    def wants(self) -> list[int]:
        """Return the chains of which the ledger should be read for more."""
        if len(self.shelves) > SHELVES_MAX:
            self.shelves = {
                chain: shelf for chain, shelf in self.shelves.items() if shelf.places or not shelf.exhausted
            }
        half = self.room // 2
        return [
            chain
            for chain, shelf in self.shelves.items()
            if not shelf.exhausted and (shelf.ready < half or not (shelf.places and shelf.reaches(shelf.places[-1])))
        ]

    def cursor(self, chain: int) -> Place:
        """Return the place up to which all ready jobs of a chain are in memory."""
        shelf = self.shelves.get(chain)
        return START if shelf is None else shelf.cursor

    def back(self, job: Job) -> None:
        """Put a job that is READY again onto its shelf."""
        self.know((job.chain,))
        shelf = self.shelves[job.chain]
        insort(shelf.places, (job.priority, job.seq), key=_from_last)
        shelf.ready += 1
        self.ready += 1

    def drop(self, seqs: Collection[int], *, stored: bool = False) -> list[Job]:
        """Forget jobs that were closed or postponed, and return those that were here; their places are passed over.

        ``stored``: nothing opens them again; rows of them that the ledger has read before it heard of that are void.
        """
        jobs = [job for job in map(self.jobs.pop, seqs, repeat(None)) if job is not None]
        for job in jobs:
            if job.state is READY:
                shelf = self.shelves[job.chain]
                self.ready -= 1
                shelf.ready -= 1
                shelf.left += 1
                if shelf.left > self.room:
                    self._sweep(shelf)
        if stored:  # but for what no ledger of ours has accepted yet, whatever a sink says of it
            self._stored.add(seqs if len(jobs) == len(seqs) else [seq for seq in seqs if seq <= self.newest])
        else:
            self._dropped.add(seqs if len(jobs) == len(seqs) else [job.seq for job in jobs])
        return jobs

    def head(self, chains: Iterable[int]) -> Job | None:
        """Return the next ready job of these chains, without taking it; of none whose next one is on disk."""
        best: Job | None = None
        for chain in chains:
            shelf = self.shelves[chain]
            places = shelf.places
            while places:
                job = self.jobs.get(places[-1][1])
                if job is not None and job.state is READY:
                    is_next = best is None or (job.priority, job.seq) < (best.priority, best.seq)
                    if is_next and shelf.reaches(places[-1]):
                        best = job
                    break
                places.pop()
        return best

    def ahead(self, chains: Sequence[int], count: int) -> list[Job]:
        """Return up to ``count`` next ready jobs, without taking them: all of one chain, before another one's turn.

        There may be fewer than are ready, but never none where ``head`` has one.
        """
        first = self.head(chains)
        if first is None:
            return []
        rivals = [self.shelves[chain] for chain in chains if chain != first.chain] if len(chains) > 1 else ()
        heads = [rival.places[-1] for rival in rivals if rival.places and rival.reaches(rival.places[-1])]
        shelf = self.shelves[first.chain]
        bound = min([*heads, END if shelf.exhausted else shelf.cursor])
        jobs: list[Job] = []
        before = START
        for place in islice(reversed(shelf.places), count):
            job = self.jobs.get(place[1])
            # A job that was dropped and came back has two places.
            if job is None or job.state is not READY or place > bound or place == before:
                break
            jobs.append(job)
            before = place
        return jobs

    def take(self, jobs: Sequence[Job]) -> None:
        """Take the jobs off their shelf that ``ahead`` or ``head`` returned, or the first of them."""
        if jobs:
            shelf = self.shelves[jobs[0].chain]
            del shelf.places[-len(jobs) :]
            shelf.ready -= len(jobs)
            self.ready -= len(jobs)

    def _enter(self, rows: Sequence[Row], shelf: Shelf) -> None:
        """Make jobs of those rows that are not in memory yet; they are ready."""
        seqs = [row.seq for row in rows]
        if not self.jobs.keys().isdisjoint(seqs):
            rows = [row for row in rows if row.seq not in self.jobs]
            seqs = [row.seq for row in rows]
        if not rows:
            return
        self.jobs.update(zip(seqs, starmap(Job, rows), strict=True))
        places = [(row.priority, row.seq) for row in rows]
        if len(places) <= FEW:
            for place in places:
                insort(shelf.places, place, key=_from_last)
        else:
            shelf.places += places
            shelf.places.sort(reverse=True)  # two orders that are joined: a look at each place
        shelf.ready += len(rows)
        self.ready += len(rows)

    def _evict(self, shelf: Shelf, room: int) -> None:
        """Leave the later half of a chain's ready jobs to the disk again: urgent ones came in front of them."""
        # A job that was dropped and came back has two places.
        ready = [place for place in sorted(set(shelf.places)) if self._is_ready(place[1])]
        for _, seq in ready[room:]:
            del self.jobs[seq]
        # Jobs that were handed back may stand behind the cursor, among others that are on disk only: it never goes on.
        shelf.cursor = min(shelf.cursor, ready[room - 1])
        shelf.exhausted = False
        self.ready -= shelf.ready - room
        shelf.ready = room
        self._sweep(shelf)

    def _sweep(self, shelf: Shelf) -> None:
        """Forget the places of jobs that are not ready any more."""
        shelf.left = 0
        shelf.places = [place for place in shelf.places if self._is_ready(place[1])]

    def _is_ready(self, seq: int) -> bool:
        job = self.jobs.get(seq)
        return job is not None and job.state is READY


def _fitting(shelf: Shelf, rows: Iterable[Row], room: int) -> list[Row]:
    """Return those rows that belong on a shelf with room for so many; its cursor goes on over them."""
    fitting: list[Row] = []
    for row in rows:
        place = (row.priority, row.seq)
        if place > shelf.cursor:
            if not shelf.exhausted or shelf.ready + len(fitting) >= room:
                shelf.exhausted = False
                continue
            shelf.cursor = place
        fitting.append(row)
    return fitting


def _from_last(place: Place) -> Place:
    """Turn the order of places round."""
    return -place[0], -place[1]
