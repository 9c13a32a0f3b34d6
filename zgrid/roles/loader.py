"""Reads images for inline messages, in threads: a slow disk or share never holds up the loop that keeps peers alive.

Batches of one lane leave in the order they were asked for, because the order of a lane says what a dead worker ran.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from resource import RUSAGE_THREAD, getrusage
from threading import local
from typing import NamedTuple

from zgrid.errors import SourceError, StoreError
from zgrid.protocol.effects import Send
from zgrid.protocol.lane import Job
from zgrid.protocol.messages import Frame
from zgrid.protocol.reach import Reach
from zgrid.sources import Reader
from zgrid.store.reader import LedgerReader
from zgrid.store.spool import is_put
from zgrid.transport.buffers import frame_room

THREADS_FEW, THREADS_MANY = 1, 8
"""What is in memory already is read best by one thread: more of them would only wait for the interpreter, and keep the
loop waiting for it. A disk or a share answers many at once faster than one after the other."""

QUICK_IMAGE_S = 100e-6
QUICK_BYTE_S = 1e-9
"""What takes longer than this for each image and byte, and was read from a disk, is slow; from memory it is a fifth."""

CROWDED_TIMES = 10
"""Where no disk was read, only so many times as long is slow: a share whose reads the kernel does not count, and not
a machine whose cores others want, too. There eight threads would take longer still."""

LOADED_BYTES_MAX = 64 << 20
"""Images in memory that are not on their lane yet, over all lanes; one batch more may always be loaded."""


class Unreadable(NamedTuple):
    """A job whose image cannot be read; ``transient`` where it may be readable later."""

    job: Job
    reason: str
    transient: bool


class Loaded(NamedTuple):
    """A batch with its images, or without any by reference. ``failed``: what cannot be read, and is not in ``jobs``."""

    lane: int
    single: bool
    jobs: list[Job]
    images: list[Frame]
    failed: list[Unreadable]


class _Part:
    """A piece of a batch that becomes one message; ``future`` is None while it waits, and for one by reference."""

    __slots__ = ("batch", "future", "inline", "size")

    def __init__(self, batch: Send, *, inline: bool) -> None:
        self.batch = batch
        self.inline = inline
        self.size = sum(job.size for job in batch.jobs) if inline else 0
        self.future: Future[Loaded] | None = None

    def take(self) -> Loaded | None:
        """Return it with its images, None while they are not there."""
        if not self.inline:
            return Loaded(self.batch.lane, self.batch.single, self.batch.jobs, [], [])
        return self.future.result() if self.future is not None and self.future.done() else None


class Loader:
    """Loads batches; ``take`` returns those that are ready to be sent, each lane's in order.

    ``reach``: what the worker of a lane may read itself, None where every image travels. By reference, what travels all
    the same goes in messages of its own: what was put, which is in the ledger at ``spool``; what the worker may not
    read; and what failed before, for perhaps the worker could only not read it.
    """

    def __init__(
        self, wake: Callable[[], None], job_bytes_max: int, spool: Path, reach: Callable[[int], Reach] | None
    ) -> None:
        self._wake = wake
        self._job_bytes_max = job_bytes_max
        self._spool = spool
        self._reach = reach
        self._few = ThreadPoolExecutor(THREADS_FEW, "loader")
        self._many = ThreadPoolExecutor(THREADS_MANY, "slow-loader")
        self._slow = False
        self._mine = local()
        self._waiting: deque[_Part] = deque()
        self._lanes: dict[int, deque[_Part]] = {}
        self._bytes = 0

    def load(self, batch: Send) -> None:
        """Load a batch when there is room for its images."""
        for part in self._cut(batch):
            self._lanes.setdefault(batch.lane, deque()).append(part)
            if part.inline:
                self._waiting.append(part)
        self._begin()

    def take(self) -> list[Loaded]:
        """Return what is ready. Never waits."""
        ready = []
        for lane in list(self._lanes):
            parts = self._lanes[lane]
            while parts and (loaded := parts[0].take()) is not None:
                self._bytes -= parts.popleft().size
                ready.append(loaded)
            if not parts:
                del self._lanes[lane]
        self._begin()
        return ready

    def close(self) -> None:
        """Forget what is not loaded; it is in the ledger. What is being read comes to nothing, and wakes nobody."""
        self._wake = lambda: None
        for executor in (self._few, self._many):
            executor.shutdown(wait=False, cancel_futures=True)

    def _cut(self, batch: Send) -> Iterator[_Part]:
        """Cut a batch where images that travel and images by reference meet: a message has either, and order counts."""
        if self._reach is None:
            yield _Part(batch, inline=True)
            return
        reach = self._reach(batch.lane)
        # Nearly always all are by reference: to look at all at once takes a third of the time.
        odd = [job for job in batch.jobs if job.unread or job.failures]
        if not odd and reach.holds([job.uri for job in batch.jobs]):
            yield _Part(batch, inline=False)
            return

        def travels(job: Job) -> bool:
            # What was put is below no place of a worker's.
            return job.uri not in reach or job.unread or job.failures > 0

        for inline, jobs in groupby(batch.jobs, travels):
            yield _Part(Send(batch.lane, list(jobs), batch.single), inline=inline)

    def _begin(self) -> None:
        while self._waiting and (not self._bytes or self._bytes < LOADED_BYTES_MAX):
            part = self._waiting.popleft()
            self._bytes += part.size
            part.future = (self._many if self._slow else self._few).submit(self._read, part.batch)
            part.future.add_done_callback(lambda _: self._wake())

    def _read(self, batch: Send) -> Loaded:
        loaded = Loaded(batch.lane, batch.single, [], [], [])
        began, read_before = time.perf_counter(), getrusage(RUSAGE_THREAD).ru_inblock
        for job in batch.jobs:
            try:
                image = self._image(job)
            except SourceError as error:
                loaded.failed.append(Unreadable(job, str(error), error.transient))
            else:
                loaded.jobs.append(job)
                loaded.images.append(image)
        disk = getrusage(RUSAGE_THREAD).ru_inblock > read_before
        took_s, size = time.perf_counter() - began, sum(map(len, loaded.images))
        self._slow = is_slow(took_s, len(batch.jobs), size, disk=disk)
        return loaded

    def _image(self, job: Job) -> Frame:
        """In a loader's thread: return an image from where it is. Raises SourceError."""
        mine = self._mine
        if not is_put(job.uri):
            if not hasattr(mine, "reader"):
                mine.reader = Reader(self._job_bytes_max)
            image: Frame = mine.reader.read(job.uri, job.size, job.mtime_ns, frame_room)
            return image
        try:
            if not hasattr(mine, "ledger"):
                mine.ledger = LedgerReader(self._spool)
            spooled: bytes | None = mine.ledger.image(job.seq)
        except StoreError as error:
            raise SourceError(str(error), transient=True) from None
        if spooled is None:
            raise SourceError(f"{job.uri} is not in the ledger any more: put it again under another name")
        return spooled


def is_slow(took_s: float, images: int, size: int, *, disk: bool) -> bool:
    """Whether images of ``size`` bytes in all are to be read several at once next; ``disk``: some came from a disk."""
    return took_s > (QUICK_IMAGE_S * images + QUICK_BYTE_S * size) * (1 if disk else CROWDED_TIMES)
