"""The disks of the simulation: a ledger that commits slowly, and a sink's store. Both lose what was not synced."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from clock import Clock

from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Results
from zgrid.store.memory import MemoryLedger


class LedgerDisk:
    """A ledger with group commit: calls that come while a commit is under way wait for it, in their order."""

    def __init__(self, clock: Clock, rng: Random, ledger: MemoryLedger, commit_s: float) -> None:
        self.ledger = ledger
        self.committing = False
        self._clock = clock
        self._rng = rng
        self._commit_s = commit_s
        self._calls: deque[Callable[[], None]] = deque()
        self._after: list[Callable[[], None]] = []
        self._draining = False
        self._epoch = 0

    def call(self, call: Callable[[], None]) -> None:
        """Do this with the ledger as soon as no commit is under way."""
        self._calls.append(call)
        self._drain()

    def when_durable(self, call: Callable[[], None]) -> None:
        """Do this when everything that was written until now is on disk."""
        self._after.append(call)

    def crash(self) -> None:
        """Power cut: a commit that is under way has reached the disk or not."""
        if self.committing and self._rng.random() < 0.5:
            self.ledger.commit()
        self.ledger.crash()
        self.committing = False
        self._calls.clear()
        self._after.clear()
        self._epoch += 1

    def _begin(self) -> None:
        if not self.committing and (self.ledger.dirty or self._after):
            self.committing = True
            after, self._after = self._after, []
            self._clock.after(self._commit_s * (0.5 + self._rng.random()), self._done, self._epoch, after)

    def _done(self, epoch: int, after: list[Callable[[], None]]) -> None:
        if epoch != self._epoch:
            return
        self.ledger.commit()
        self.committing = False
        for call in after:
            call()
        self._drain()

    def _drain(self) -> None:
        """Do what waits, in order; what these calls ask for in turn comes behind them."""
        if self._draining:
            return
        epoch = self._epoch
        self._draining = True
        while self._calls and not self.committing:
            self._calls.popleft()()
        self._draining = False
        if epoch == self._epoch:
            self._begin()


class SimStore:
    """A sink's rows by key; the first one of a key wins. Everything in it is synced."""

    def __init__(self) -> None:
        self.rows: dict[bytes, dict[str, Any]] = {}
        self.duplicates = 0

    def write(self, batch: list[Results]) -> int:
        """Write and sync; return how many were there before."""
        duplicates = 0
        for message in batch:
            for at, seq in enumerate(message.seqs):
                key = message.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]
                if key in self.rows:
                    duplicates += 1
                else:
                    self.rows[key] = {"ledger": message.ledger, "seq": seq, "uri": message.uris[at]}
        self.duplicates += duplicates
        return duplicates
