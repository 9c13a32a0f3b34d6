"""The disks of the simulation: a ledger that commits slowly, and a sink's store. Both lose what was not synced."""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from clock import Clock

from zgrid.protocol.job import KEY_BYTES, Offer
from zgrid.protocol.messages import Results
from zgrid.protocol.window import Row
from zgrid.store.memory import MemoryLedger
from zgrid.store.rows import JobTerms

FAILED_AGAIN_S = 1.0


class LedgerDisk:
    """A ledger with group commit, as the ventilator's books keep it.

    Entries are written in order, but only while no commit is under way. Reads see what is committed and nothing else:
    they come between a commit and the entries that wait for it.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        ledger: MemoryLedger,
        commit_s: float,
        accepted: Callable[[list[Row], list[Row]], None],
    ) -> None:
        self.ledger = ledger
        self.committing = False
        self._clock = clock
        self._rng = rng
        self._commit_s = commit_s
        self._accepted = accepted
        self._waiting: deque[Callable[[], object]] = deque()
        self._reads: deque[Callable[[], object]] = deque()
        self._rows: list[Row] = []
        self._delayed: list[Row] = []
        self._told: list[Callable[[], object]] = []
        self._epoch = 0
        self.broken = False
        self.slow = 1.0
        self._entered: list[Callable[[], object]] = []
        self._behind = False
        self._again_at = 0.0

    def enter(self, entry: Callable[[], object]) -> None:
        """Write something, in order, at the next turn at the latest."""
        self._waiting.append(entry)

    def tell(self, call: Callable[[], object]) -> None:
        """Call this once everything that was entered so far is on disk."""
        self._told.append(call)

    def accept(self, offers: list[Offer], chain: str, terms: JobTerms, now_ms: int) -> None:
        """Accept what is new of these."""

        def entry() -> None:
            rows = self.ledger.accept(offers, self.ledger.chain_id(chain), now_ms, terms)
            (self._rows if terms.due_ms is None else self._delayed).extend(rows)

        self.enter(entry)

    def read(self, read: Callable[[], object]) -> None:
        """Read when nothing uncommitted is in the ledger."""
        self._reads.append(read)

    def turn(self) -> None:
        """Make what waits, and begin a commit; at the end of each of the ventilator's turns."""
        if self.committing:
            return
        while self._reads and not self.ledger.dirty and not self._behind:
            self._reads.popleft()()
        if self._clock.now < self._again_at:
            return
        while self._waiting:
            self._entered.append(self._waiting.popleft())
            self._entered[-1]()
        if self.ledger.dirty:
            self.committing = True
            self._clock.after(self._commit_s * self.slow * (0.5 + self._rng.random()), self._done, self._epoch)
        else:
            self._announce()

    @property
    def idle(self) -> bool:
        """Whether everything that was entered is on disk."""
        return not (self._waiting or self.committing or self.ledger.dirty)

    def crash(self) -> None:
        """Power cut: a commit that is under way has reached the disk or not."""
        if self.committing and self._rng.random() < 0.5:
            self.ledger.commit()
        self.ledger.crash()
        self.committing = False
        self._waiting.clear()
        self._reads.clear()
        self._rows.clear()
        self._delayed.clear()
        self._told.clear()
        self._entered.clear()
        self._behind = False
        self._again_at = 0.0
        self._epoch += 1

    def close(self) -> None:
        """The process ends in order: all that was entered is on disk, unless that is full."""
        while self._waiting and not self.broken:
            self._waiting.popleft()()
        if not self.broken:
            self.ledger.commit()

    def _done(self, epoch: int) -> None:
        if epoch != self._epoch:
            return
        self.committing = False
        if self.broken:
            self._failed()
        else:
            self.ledger.commit()
            self._behind = False
            self._announce()

    def _failed(self) -> None:
        """The disk is full: what was entered since the last commit is entered again, after a pause."""
        self.ledger.rollback()
        self._waiting.extendleft(reversed(self._entered))
        self._entered = []
        self._rows, self._delayed, self._told = [], [], []
        self._behind = True
        self._again_at = self._clock.now + FAILED_AGAIN_S

    def _announce(self) -> None:
        # All at once, before anybody hears of it: whoever does may enter something new, which is not on disk yet.
        rows, delayed, told = self._rows, self._delayed, self._told
        self._rows, self._delayed, self._told, self._entered = [], [], [], []
        if rows or delayed:
            self._accepted(rows, delayed)
        for call in told:
            call()


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
