"""Reads images for inline messages, in threads: a slow disk or share never holds up the loop that keeps peers alive.

Batches of one lane leave in the order they were asked for, because the order of a lane says what a dead worker ran.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import NamedTuple

from zgrid.errors import SourceError
from zgrid.protocol.effects import Send
from zgrid.protocol.lane import Job
from zgrid.sources import Reader

THREADS = 4
LOADED_BYTES_MAX = 64 << 20
"""Images in memory that are not on their lane yet, over all lanes; one batch more may always be loaded."""


class Unreadable(NamedTuple):
    """A job whose image cannot be read; ``transient`` where it may be readable later."""

    job: Job
    reason: str
    transient: bool


class Loaded(NamedTuple):
    """A batch with its images. ``failed``: those that could not be read, and are not among ``jobs``."""

    lane: int
    single: bool
    jobs: list[Job]
    images: list[bytes]
    failed: list[Unreadable]


class Loader:
    """Loads batches; ``take`` returns those that are ready to be sent, each lane's in order."""

    def __init__(self, wake: Callable[[], None], job_bytes_max: int) -> None:
        self._wake = wake
        self._job_bytes_max = job_bytes_max
        self._executor = ThreadPoolExecutor(THREADS, "loader")
        self._mine = local()
        self._waiting: deque[Send] = deque()
        self._loading: dict[int, deque[tuple[Future[Loaded], int]]] = {}
        self._bytes = 0

    def load(self, batch: Send) -> None:
        """Load a batch when there is room for its images."""
        self._waiting.append(batch)
        self._begin()

    def take(self) -> list[Loaded]:
        """Return what is ready. Never waits."""
        ready = []
        for lane in list(self._loading):
            futures = self._loading[lane]
            while futures and futures[0][0].done():
                future, size = futures.popleft()
                self._bytes -= size
                ready.append(future.result())
            if not futures:
                del self._loading[lane]
        self._begin()
        return ready

    def close(self) -> None:
        """Forget what is not loaded; it is in the ledger."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        while self._waiting and (not self._bytes or self._bytes < LOADED_BYTES_MAX):
            batch = self._waiting.popleft()
            size = sum(job.size for job in batch.jobs)
            self._bytes += size
            future = self._executor.submit(self._read, batch)
            self._loading.setdefault(batch.lane, deque()).append((future, size))
            future.add_done_callback(lambda _: self._wake())

    def _read(self, batch: Send) -> Loaded:
        reader = getattr(self._mine, "reader", None)
        if reader is None:
            reader = self._mine.reader = Reader(self._job_bytes_max)
        loaded = Loaded(batch.lane, batch.single, [], [], [])
        for job in batch.jobs:
            try:
                image = reader.read(job.uri, job.size, job.mtime_ns)
            except SourceError as error:
                loaded.failed.append(Unreadable(job, str(error), error.transient))
            else:
                loaded.jobs.append(job)
                loaded.images.append(image)
        return loaded
