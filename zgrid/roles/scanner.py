"""The ventilator's search for images, in a process of its own: how it is started, read and stopped.

Looking at a million files is a million small system calls, and in a thread each of them would make the loop wait for
Python's lock: that halved what a ventilator could send. It also keeps hostile archives out of the ventilator's memory.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence

from zgrid.errors import SettingsError, ZGridError
from zgrid.protocol.job import Offer
from zgrid.roles.finder import HEAD, unpack
from zgrid.sources import Passed

BATCHES_WAITING_MAX = 4
"""Batches that were read and not taken; beyond it the pipe fills, and the search waits for the ledger."""

READ_BYTES = 1 << 18

Batch = list[Offer | Passed]


class Scanner:
    """Finds images. ``take`` returns a batch or None; ``finished`` says that there is no more to come.

    Poll ``fileno()`` for reading while ``wants`` is true, and call ``read``. ``error`` is the sentence of a source that
    cannot be read at all, or of a search that ended in the middle.
    """

    def __init__(self, sources: Sequence[str], size_bytes_max: int, *, stdin: bool) -> None:
        self.error: ZGridError | None = None
        self._buffer = bytearray()
        self._batches: deque[Batch] = deque()
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "zgrid.roles.finder", str(os.getpid()), str(size_bytes_max), *sources],
            stdin=None if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        os.set_blocking(self._pipe.fileno(), False)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._pipe.fileno()

    @property
    def wants(self) -> bool:
        """Whether there is room for more batches, and more may come."""
        return not self._ended and len(self._batches) < BATCHES_WAITING_MAX

    @property
    def finished(self) -> bool:
        """Whether everything was found and taken."""
        return self._ended and not self._batches

    def read(self) -> None:
        """Take in what the search has sent. Never waits."""
        try:
            data = self._pipe.read(READ_BYTES)
        except BlockingIOError:
            return
        if data is None:
            return
        if not data:
            self._end()
            return
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            length = HEAD.unpack_from(self._buffer)[0]
            if len(self._buffer) < HEAD.size + length:
                return
            found = unpack(bytes(self._buffer[HEAD.size : HEAD.size + length]))
            del self._buffer[: HEAD.size + length]
            if isinstance(found, str):
                self.error = SettingsError(found)
            else:
                self._batches.append(found)

    def take(self) -> Batch | None:
        """Return the next batch, None while there is none."""
        return self._batches.popleft() if self._batches else None

    def stop(self) -> None:
        """Stop the search; what was not taken is found again at the next start. Safe to call twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._ended = True

    def _end(self) -> None:
        self._ended = True
        status = self._process.wait()
        if status and self.error is None:
            self.error = ZGridError(
                f"the search for images ended in the middle, with status {status}: what it had found is in the ledger, "
                f"and starting again finds the rest"
            )
