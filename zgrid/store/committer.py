"""One thread for what takes long at the disk, so that the main loop never waits for an fsync."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, NamedTuple


class Done(NamedTuple):
    """What became of one piece of work: its ``value``, or the ``error`` that it raised."""

    token: Any
    value: Any
    error: BaseException | None


class Committer:
    """Runs one piece of work at a time, in the order of ``submit``, and keeps each result until ``take``.

    ``wake`` is called in the thread after each piece: let it write to a pipe or eventfd that the main loop polls, and
    do nothing else. A ledger's owner leaves the ledger alone while its commit is ``busy``. ``timed`` is called in the
    thread, too, with the token of each piece that went well and the seconds that it took.
    """

    def __init__(
        self, wake: Callable[[], object], name: str = "committer", timed: Callable[[Any, float], None] | None = None
    ) -> None:  # fmt: skip
        self._wake = wake
        self._timed = timed
        self._work: SimpleQueue[tuple[Callable[[], Any], Any] | None] = SimpleQueue()
        self._done: deque[Done] = deque()
        self._pending = 0
        self._finished = 0
        self._closed = False
        # A daemon: when the main loop has died, this thread must not keep the process; a half-done commit is undone.
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """How many pieces of work were submitted and not yet taken."""
        return self._pending

    @property
    def busy(self) -> bool:
        """Whether any piece of work was submitted and not yet taken."""
        return self._pending > 0

    @property
    def at(self) -> int | None:
        """A number that changes whenever a piece of work is finished; None while it is not ``busy``."""
        return self._finished if self._pending else None

    def submit(self, work: Callable[[], Any], token: Any = None) -> None:
        """Have ``work`` run after all that was submitted before; ``token`` comes back with its result."""
        assert not self._closed, "submit() after close()"
        self._pending += 1
        self._work.put((work, token))

    def take(self) -> list[Done]:
        """Return what is finished, in order. Never waits."""
        taken: list[Done] = []
        while self._done:
            taken.append(self._done.popleft())
        self._pending -= len(taken)
        return taken

    def close(self) -> list[Done]:
        """Wait for all that was submitted, end the thread, and return what was not taken; may be repeated."""
        if not self._closed:
            self._closed = True
            self._work.put(None)
        self._thread.join()
        return self.take()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, token = item
            began = monotonic()
            try:
                done = Done(token, work(), None)
            except BaseException as error:  # noqa: BLE001  whatever it is, the main loop has to hear of it
                done = Done(token, None, error)
            if self._timed is not None and done.error is None:
                self._timed(token, monotonic() - began)
            self._done.append(done)
            self._finished += 1
            # A pipe that is full has woken the loop already; one that is closed has nobody to wake.
            with suppress(OSError):
                self._wake()
