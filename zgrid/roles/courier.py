"""How a child's results get to its agent: gathered while jobs are short, and never held back by one that is long."""

import contextlib
import socket
import threading
import time

from zgrid.roles.link import FLUSH_BYTES
from zgrid.roles.report import Report, Row

FLUSH_S = 0.05
"""Results are sent when the last ones went this long ago, and where no other job is there: each message costs agent,
ventilator and sink as much as some jobs in it."""

_PIECES_MAX = 1024  # UIO_MAXIOV in linux/uio.h

LOOK_S = FLUSH_S
"""How often it is seen whether results wait while a long job runs; most filters let this thread run beside them."""


class Courier:
    """Takes the results of one child and sends them over ``link``, in order, from two threads at most.

    The thread of the jobs sends what is due after each job. While it is in a job, one thread more sends what the jobs
    before have left: a filter that takes a minute must not keep the results of those that took a millisecond.

    ``due_at``: after a job that ended then or later, by perf_counter, the thread of the jobs is to ``flush``.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._report = Report()
        self._lock = threading.Lock()
        self._busy = threading.Event()
        self._sent_at = 0.0
        self.due_at = 0.0

    def start(self) -> None:
        """Start the thread that looks after results while a job runs; it ends with the process."""
        threading.Thread(target=self._look_after, name="courier", daemon=True).start()

    def begin(self, jobs: int) -> None:
        """So many jobs are about to run; only what comes before another job can be held back by it."""
        if jobs > 1:
            self._busy.set()

    def end(self) -> None:
        """No job runs any more: send what is left."""
        self._busy.clear()
        if self._report:
            self.flush()

    def keep_plainly(self, read_ms: float, work_ms: float) -> None:
        """Add an image that is kept, of which nothing is known and nothing noted."""
        with self._lock:
            self._report.keep_plainly(read_ms, work_ms)

    def add(self, row: Row, read_ms: float, work_ms: float) -> None:
        """Add one result."""
        with self._lock:
            self._report.add(row, read_ms, work_ms)
            if self._report.size_bytes >= FLUSH_BYTES:
                self.due_at = 0.0

    def flush(self) -> None:
        """Send what there is. Raises OSError when the agent is gone, MemoryError with nothing sent and nothing lost."""
        with self._lock:
            if self._report:
                _send(self._link, self._report.take())
                self._sent_at = time.perf_counter()
                self.due_at = self._sent_at + FLUSH_S

    def send(self, message: bytes) -> None:
        """Send a message that is no result; raises OSError when the agent is gone."""
        with self._lock:
            self._link.sendall(message)

    def _look_after(self) -> None:
        while self._busy.wait():
            time.sleep(LOOK_S)
            if self._report and time.perf_counter() - self._sent_at >= LOOK_S:
                # The thread of the jobs meets the same error at its next result, where it is known what to do.
                with contextlib.suppress(OSError, MemoryError):
                    self.flush()


def _send(link: socket.socket, pieces: list[bytes]) -> None:
    """Send pieces one after the other, and as many as there may be with one call: each call wakes the agent."""
    sent = link.sendmsg(pieces[:_PIECES_MAX])
    for piece in pieces:
        if sent < len(piece):
            link.sendall(memoryview(piece)[sent:])
        sent = max(0, sent - len(piece))
