"""Reads the ventilator's sources in a thread of its own, and hands over what it finds in batches.

The queue between the two is short: a folder of a million files is read only as fast as the ledger accepts it.
"""

import time
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue
from threading import Event as Flag
from threading import Lock, Thread
from typing import IO

from zgrid.errors import ZGridError
from zgrid.protocol.job import Offer
from zgrid.sources import Passed, scan

BATCH_MAX = 512
BATCH_AGE_S_MAX = 0.05
"""The first images of a slow source are on their way after this long, though their batch is not full."""
BATCHES_WAITING_MAX = 4

Batch = list[Offer | Passed]


class Scanner:
    """Finds images. ``take`` returns a batch or None; ``finished`` says that there is no more to come.

    ``error`` is the sentence of a source that cannot be read at all.
    """

    def __init__(self, sources: Sequence[str], stdin: IO[bytes] | None, wake: Callable[[], None]) -> None:
        self.error: ZGridError | None = None
        self._sources = sources
        self._stdin = stdin
        self._wake = wake
        self._queue: Queue[Batch] = Queue(BATCHES_WAITING_MAX)
        self._stop = Flag()
        self._read = Flag()
        self._gathered: Batch = []
        self._since = 0.0
        self._lock = Lock()
        self._thread = Thread(target=self._run, name="scanner", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def finished(self) -> bool:
        """Whether everything was read and taken."""
        return self._read.is_set() and self._queue.empty() and not self._gathered

    def take(self) -> Batch | None:
        """Return the next batch, None while there is none. Never waits.

        A batch that is not full is given when it is old enough, for a list on standard input may pause for hours.
        """
        try:
            return self._queue.get_nowait()
        except Empty:
            return self._cut(due=True)

    def stop(self) -> None:
        """Stop reading; what was not taken is found again at the next start."""
        self._stop.set()

    def _run(self) -> None:
        try:
            self._scan()
        except ZGridError as error:
            self.error = error
        finally:
            self._read.set()
            self._wake()

    def _scan(self) -> None:
        for found in scan(self._sources, self._stdin):
            with self._lock:
                if not self._gathered:
                    self._since = time.monotonic()
                self._gathered.append(found)
                full = len(self._gathered) >= BATCH_MAX
            batch = self._cut(due=not full)
            if batch is not None and not self._put(batch):
                return
        batch = self._cut(due=False)
        if batch is not None:
            self._put(batch)

    def _cut(self, *, due: bool) -> Batch | None:
        """Take what was gathered, if there is any; with ``due`` only when it is old enough."""
        with self._lock:
            if not self._gathered or (due and time.monotonic() - self._since <= BATCH_AGE_S_MAX):
                return None
            batch, self._gathered = self._gathered, []
            return batch

    def _put(self, batch: Batch) -> bool:
        """Hand a batch over, however long that takes; false when asked to stop."""
        while not self._stop.is_set():
            try:
                self._queue.put(batch, timeout=0.2)
            except Full:
                continue
            self._wake()
            return True
        return False
