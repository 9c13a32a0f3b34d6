"""What a worker's duty keeps: its employers (ventilators), the batches they sent, and which child has which part."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from zgrid.protocol.flow import SINGLE_WORK_MS
from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.protocol.messages import Code, Frame, Jobs, Outcomes

UNCONFIRMED_MAX = 4096
"""Reports kept for a ventilator that does not confirm them; beyond that its own clocks must do."""

CHUNK_MS = SINGLE_WORK_MS
"""What a child gets at once, and its results come back together: little enough to spread the rest evenly, and no more
than half of what a worker may hold by default, so that the next jobs are there before the last ones are done."""

CHUNK_JOBS_MAX = BATCH_JOBS_MAX
"""As many null jobs as come in one message take 2 ms: whatever is paid for each chunk is then paid seldom."""

NOTES_BYTES_MAX = 2 << 20
"""Notes in one message of results: a quarter of what a header may have."""

PICTURE_BYTES_MAX = 8 << 20
"""Pictures in one message of results, unless a single one is larger: sinks take messages whole."""

WAIT_MS_MAX = 10**14
"""Longest that a job is said to have waited (3,000 years): results name that time and ours, in a field up to 10^15."""


class Batch:
    """Jobs that came in one message, in columns. ``token``: the number of its first job among all that ever came."""

    __slots__ = (
        "arrived", "attempts", "boot", "chain", "employer", "images", "keys", "lane", "ledger", "mtimes_ns", "seqs",
        "single", "sizes", "token", "ttr_s", "uris", "waits",
    )  # fmt: skip

    def __init__(self, employer: "Employer", jobs: Jobs, token: int, now: float) -> None:
        self.employer = employer
        self.token = token
        self.arrived = now
        self.boot = jobs.boot
        self.lane = jobs.lane
        self.ledger = jobs.ledger
        self.chain = jobs.chain
        self.single = jobs.single
        self.ttr_s = jobs.ttr_ms / 1000
        self.seqs = jobs.seqs
        self.attempts = jobs.attempts
        self.keys = jobs.keys
        self.uris = jobs.uris
        self.sizes = jobs.sizes
        self.mtimes_ns = jobs.mtimes_ns
        self.waits = jobs.waits if max(jobs.waits) <= WAIT_MS_MAX else [min(wait, WAIT_MS_MAX) for wait in jobs.waits]
        self.images: tuple[Frame, ...] = jobs.images

    def keys_of(self, start: int, stop: int) -> bytes:
        """Return the keys of these jobs, end to end."""
        return self.keys[start * KEY_BYTES : stop * KEY_BYTES]


@dataclass(slots=True)
class Range:
    """The jobs ``start`` to ``stop`` (not included) of a batch."""

    batch: Batch
    start: int
    stop: int


class Employer:
    """A ventilator that this worker serves. ``job_ms``: how long its jobs take of late, None before the first."""

    __slots__ = (
        "beat_at", "boot", "hello_at", "index", "job_ms", "lane", "left", "queue", "serial", "sinks", "unconfirmed",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.index = index
        self.boot = b""
        self.lane = 0
        self.left = (b"", 0)
        self.sinks: list[str] = []
        self.queue: deque[Range] = deque()
        self.serial = 0
        self.unconfirmed: deque[tuple[float, Outcomes]] = deque(maxlen=UNCONFIRMED_MAX)
        self.hello_at = 0.0
        self.beat_at = 0.0
        self.job_ms: float | None = None

    @property
    def quick(self) -> bool:
        """Whether its jobs are known to be short: a child may have some, and more to begin with after them."""
        return self.job_ms is not None and self.job_ms < SINGLE_WORK_MS

    def chunk(self) -> int:
        """How many of its jobs make a chunk of about CHUNK_MS."""
        if self.job_ms is None:
            return 1
        return max(1, min(CHUNK_JOBS_MAX, int(CHUNK_MS / max(self.job_ms, 0.001))))

    def paced(self, job_ms: float) -> None:
        """Note how long some of its jobs took, in ms each."""
        self.job_ms = job_ms if self.job_ms is None else 0.7 * self.job_ms + 0.3 * job_ms

    def join(self, boot: bytes, lane: int, now: float) -> None:
        """Begin with a new lane, or none (0): what was queued or to be confirmed on the old one is void."""
        self.boot, self.lane = boot, lane
        self.queue.clear()
        self.unconfirmed.clear()
        self.serial = 0
        self.beat_at = now

    def confirmed(self, serial: int, now: float, patience_s: float) -> list[Outcomes]:
        """Forget reports up to ``serial``; return those that should long have come, to be sent again."""
        while self.unconfirmed and self.unconfirmed[0][1].serial <= serial:
            self.unconfirmed.popleft()
        if not self.unconfirmed or now - self.unconfirmed[0][0] <= patience_s:
            return []
        again = [report for at, report in self.unconfirmed if now - at > patience_s]
        self.unconfirmed = deque(((now, report) for _, report in self.unconfirmed), maxlen=UNCONFIRMED_MAX)
        return again


@dataclass(slots=True)
class Returned:
    """What a child did with a run of jobs, in columns; ``reasons`` and ``pictures`` by index, where there are any.

    ``codes``: a byte of Code for each. ``reads`` and ``works`` are ms. Sizes, format and digest are those of the
    upright original, None where the chain never looked at it. Notes, media and pictures belong to what is kept, and
    reasons to the others.
    """

    codes: bytes
    reads: list[float]
    works: list[float]
    widths: list[int | None]
    heights: list[int | None]
    formats: list[str | None]
    digests: list[bytes | None]
    notes: list[dict[str, Any] | None]
    media: list[str | None]
    reasons: dict[int, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[int, Frame] = field(default_factory=dict)

    @classmethod
    def plain(cls, codes: bytes, reads: list[float], works: list[float]) -> "Returned":
        """Return jobs of which nothing is told but what became of them and how long they took."""
        jobs = len(codes)
        return cls(
            codes=codes,
            reads=reads,
            works=works,
            widths=[None] * jobs,
            heights=[None] * jobs,
            formats=[None] * jobs,
            digests=[None] * jobs,
            notes=[None] * jobs,
            media=[None] * jobs,
        )

    def part(self, start: int, stop: int) -> "Returned":
        """Return the columns from ``start`` to ``stop``; itself when that is all of it."""
        if start == 0 and stop == len(self.codes):
            return self
        return Returned(
            codes=self.codes[start:stop],
            reads=self.reads[start:stop],
            works=self.works[start:stop],
            widths=self.widths[start:stop],
            heights=self.heights[start:stop],
            formats=self.formats[start:stop],
            digests=self.digests[start:stop],
            notes=self.notes[start:stop],
            media=self.media[start:stop],
            reasons={at - start: why for at, why in self.reasons.items() if start <= at < stop},
            pictures={at - start: picture for at, picture in self.pictures.items() if start <= at < stop},
        )


class Parcels:
    """The kept ones among results, ``kept`` by index, and what those weigh that have more than a row.

    ``notes`` and ``pictures`` are bytes by index; notes are counted as text, which is about what they take.
    """

    __slots__ = ("kept", "notes", "pictures")

    def __init__(self, news: Returned) -> None:
        codes, notes = news.codes, news.notes
        jobs = len(codes)
        whole = codes.count(Code.FINISHED) == jobs
        self.kept = list(range(jobs)) if whole else [at for at, code in enumerate(codes) if code == Code.FINISHED]
        self.notes = {at: len(repr(notes[at])) for at in self.kept if notes[at]} if any(notes) else {}
        self.pictures = {at: len(picture) for at, picture in news.pictures.items() if len(picture)}

    def carries(self) -> dict[str, int]:
        """Return what each carries, as OUTCOMES tells it."""
        both = self.notes.keys() | self.pictures.keys()
        return {str(at): self.notes.get(at, 0) + self.pictures.get(at, 0) for at in sorted(both)}

    def fitting(self, kept: list[int]) -> Iterator[list[int]]:
        """Cut these into parts that each make a message of moderate size: notes may have 256 KiB for one image."""
        if len(kept) <= 1 or not (self.pictures or self.notes):
            if kept:
                yield kept
            return
        part: list[int] = []
        notes_bytes = picture_bytes = 0
        for at in kept:
            notes_bytes += self.notes.get(at, 0)
            picture_bytes += self.pictures.get(at, 0)
            if part and (notes_bytes > NOTES_BYTES_MAX or picture_bytes > PICTURE_BYTES_MAX):
                yield part
                part, notes_bytes, picture_bytes = [], self.notes.get(at, 0), self.pictures.get(at, 0)
            part.append(at)
        yield part


class Child:
    """A child process: what it was given and not returned, and which job it was last seen at."""

    __slots__ = ("index", "moved_at", "overran", "progress", "ranges", "ready", "token")

    def __init__(self, index: int) -> None:
        self.index = index
        self.ready = False
        self.ranges: deque[Range] = deque()
        self.token: int | None = None
        self.moved_at = 0.0
        self.progress = -1.0
        self.overran = False

    @property
    def depth(self) -> int:
        """How many ranges it may have: a second one, ready to begin with, where what it has to do before is short."""
        return 2 if all(part.batch.employer.quick and not part.batch.single for part in self.ranges) else 1

    def done(self, jobs: int) -> list[tuple[Batch, int, int]]:
        """Take the next ``jobs`` off what it has; return them as (batch, start, stop)."""
        parts = []
        while jobs and self.ranges:
            first = self.ranges[0]
            stop = min(first.stop, first.start + jobs)
            parts.append((first.batch, first.start, stop))
            jobs -= stop - first.start
            first.start = stop
            if stop == first.stop:
                self.ranges.popleft()
        assert not jobs, "a child returned more jobs than it was given"
        return parts

    def gone(self) -> list[Range]:
        """Forget everything it had, and return it."""
        ranges = list(self.ranges)
        self.ranges.clear()
        self.ready = False
        self.token = None
        return ranges

    def observe(self, token: int | None, moved_at: float, progress: float) -> None:
        """Note which job it is at and when it last gave a sign: a job begun or ended, progress, results."""
        self.token, self.progress = token, progress
        self.moved_at = max(self.moved_at, moved_at)

    def at(self) -> tuple[Batch, int] | None:
        """Return the batch and place of the job it was last seen at, if it still has it."""
        for part in self.ranges:
            if self.token is not None and part.start <= self.token - part.batch.token < part.stop:
                return part.batch, self.token - part.batch.token
        return None

    def image(self, token: int | None) -> Frame | None:
        """Return the bytes of the image that it was given under this token; None where it had to read them itself."""
        for part in self.ranges:
            if token is not None and part.start <= token - part.batch.token < part.stop and part.batch.images:
                return part.batch.images[token - part.batch.token]
        return None

    def overdue(self, now: float) -> float | None:
        """Return the time-to-run, in seconds, that it overran; None when it did not, or has nothing to do.

        A child that claims to be between two jobs gives no sign either, and is as stuck as one within a job.
        """
        if not self.ranges or self.overran:
            return None
        place = self.at()
        ttr_s = (place[0] if place else self.ranges[0].batch).ttr_s
        return ttr_s if now - self.moved_at > ttr_s else None

    def serves(self, employer: Employer) -> bool:
        """Whether it was last seen at a job of this employer's lane."""
        place = self.at()
        return place is not None and place[0].employer is employer and place[0].lane == employer.lane

    def seq(self) -> int:
        """Return the number of the job it was last seen at; only where ``serves`` said yes."""
        place = self.at()
        assert place is not None
        return place[0].seqs[place[1]]


def cut(queue: deque[Range], size: int) -> Range:
    """Take ``size`` jobs, or what there is in its first range, off the queue."""
    first = queue[0]
    stop = min(first.stop, first.start + max(1, size))
    part = Range(first.batch, first.start, stop)
    if stop == first.stop:
        queue.popleft()
    else:
        first.start = stop
    return part
