"""The ventilator's bookkeeping: everything for the ledger in order, gathered into few commits, none of them waited for.

An entry is a call that can be made again: when a commit fails (a full disk), all since the last good one are kept and
entered anew after a pause. Nothing is accepted meanwhile, and nothing in flight is lost or stopped. Only what somebody
asked for and waits for is not kept: it is refused with the sentence of the disk, and was not done.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from zgrid.errors import DamagedError, StoreError
from zgrid.protocol.job import Offer
from zgrid.protocol.window import Row
from zgrid.store.committer import Committer
from zgrid.store.rows import JobLedger

Entry = Callable[[], object]

ENTRIES_PER_COMMIT_MAX = 4096
"""A full batch: it is committed at once, so that a failed commit has little to enter anew."""

SETTLED_WAITS_S = 0.2
"""Under load, what became of jobs may gather for this long: nobody waits for it, and what a crash forgets of it, the
sink tells again. An fsync and a thread's waking for every few images took 4 % of a core."""

AGAIN_S = 1.0
AGAIN_S_MAX = 30.0


class _Item(NamedTuple):
    """An entry, and who hears of it: ``done`` once it is on disk, with what it returned; ``refused`` if it never is."""

    entry: Entry
    done: Callable[[Any], None] | None
    refused: Callable[[str], None] | None


class Books:
    """Owns the ledger's transactions. ``gather_s``: how long entries may gather under load, in seconds.

    ``accepted`` is called with the rows of jobs once they are on disk, and ``failed`` with the error when the disk
    refuses; ``wake`` must make the loop call ``turn`` soon, from any thread. ``timed`` is the committer's.
    """

    def __init__(
        self,
        ledger: JobLedger,
        gather_s: float,
        *,
        wake: Callable[[], None],
        accepted: Callable[[list[Row]], None],
        failed: Callable[[StoreError], None],
        timed: Callable[[Any, float], None] | None = None,
    ) -> None:
        self.ledger = ledger
        self.failing = ""
        self._gather_s = gather_s
        self._committer = Committer(wake, "ledger", timed)
        self._accepted = accepted
        self._failed = failed
        self._waiting: deque[_Item] = deque()
        self._entered: list[_Item] = []
        self._values: list[Any] = []
        self._reads: deque[Entry] = deque()
        self._questions: deque[Entry] = deque()
        self._rows: list[Row] = []
        self._committed_at = 0.0
        self._again_at = 0.0
        self._pause_s = AGAIN_S
        self._redo = 0
        self._offers = 0
        self._awaited = 0

    @property
    def idle(self) -> bool:
        """Whether everything that was entered is on disk."""
        return not (self._waiting or self._entered or self._committer.busy)

    @property
    def offers(self) -> int:
        """How many batches of offers are not on disk yet."""
        return self._offers

    @property
    def at(self) -> int | None:
        """A number that changes whenever a commit has ended; None while none is under way."""
        return self._committer.at

    def enter(self, entry: Entry, done: Callable[[Any], None] | None = None) -> None:
        """Write something, in order; at the next turn at the latest. ``done`` hears what it returned, once on disk."""
        self._waiting.append(_Item(entry, done, None))

    def order(self, entry: Callable[[], Any], done: Callable[[Any], None], refused: Callable[[str], None]) -> None:
        """Write what somebody waits for: ``done`` is called with what ``entry`` returned, once that is on disk.

        Where the disk refuses it, ``refused`` is called with a sentence instead, and nothing of it is done.
        """
        if self.failing:
            refused(self.failing)
            return
        self._awaited += 1

        def ended(value: Any) -> None:
            self._awaited -= 1
            done(value)

        def failed(sentence: str) -> None:
            self._awaited -= 1
            refused(sentence)

        self._waiting.append(_Item(entry, ended, failed))

    def offer(self, offers: Sequence[Offer], chain: str, now_ms: int) -> None:
        """Accept what is new of these; ``accepted`` hears of it once it is on disk."""
        self._offers += 1

        def entry() -> list[Row]:
            return self.ledger.accept(offers, self.ledger.chain_id(chain), now_ms)

        self.enter(entry, self._offered)

    def read(self, read: Entry, *, for_people: bool = False) -> None:
        """Read what is durable: the call is made when nothing uncommitted is in the ledger.

        After a failed commit the ledger is behind what was decided since; only people are answered from it then.
        """
        (self._questions if for_people else self._reads).append(read)

    def turn(self, now: float) -> None:
        """Take in finished commits, make waiting entries, and commit when it is time to."""
        for done in self._committer.take():
            self._took(done.error, now)
        if self._committer.busy:
            return
        if not self.ledger.dirty:
            self._read()
        if now < self._again_at:
            return
        if self.failing and not self._waiting:
            self.failing = ""  # only what somebody waited for had failed, and that was refused: the next one may try
        if not self._enter_waiting(now):
            return
        hurry = len(self._entered) >= ENTRIES_PER_COMMIT_MAX or self._is_awaited()
        if self.ledger.dirty and (hurry or now - self._committed_at >= self._patience_s()):
            self._committer.submit(self.ledger.commit)
        elif not self.ledger.dirty:
            self._announce()

    def due_s(self, now: float) -> float | None:
        """Return in how many seconds ``turn`` has something to do; None when only news can change that."""
        if self._committer.busy or not (self._waiting or self._entered or self._reads or self._questions):
            return None
        wanted_at = 0.0 if self._is_awaited() else self._committed_at + self._patience_s()
        return max(0.0, self._again_at - now, wanted_at - now)

    def hurry(self) -> None:
        """Commit at the next turn, whatever waits: it is the last."""
        self._committed_at = -SETTLED_WAITS_S

    def close(self, now: float) -> None:
        """Put everything on disk and let go of the ledger. Raises StoreError where the disk refuses."""
        for done in self._committer.close():
            if done.error is None:
                self._entered.clear()  # nobody is told any more: their sockets are closed
            elif isinstance(done.error, StoreError) and not isinstance(done.error, DamagedError):
                self._undo(done.error, now)
            else:
                raise done.error
        if not self.failing:
            while self._waiting:
                self._waiting.popleft().entry()
            self.ledger.commit()
        self.ledger.close()

    def _enter_waiting(self, now: float) -> bool:
        """Write what waits; return whether the disk took it."""
        try:
            while self._waiting and len(self._entered) < ENTRIES_PER_COMMIT_MAX:
                self._values.append(self._waiting[0].entry())
                self._entered.append(self._waiting.popleft())
        except DamagedError:
            raise  # no pause mends that
        except StoreError as error:
            self._broke(error, now)
            return False
        return True

    def _is_awaited(self) -> bool:
        """Whether somebody waits for a commit, or for the ledger to be up to date."""
        return bool(self._awaited or self._reads or self._questions)

    def _patience_s(self) -> float:
        """Return the least time between two commits: short where somebody waits for one."""
        return self._gather_s if self._offers else max(self._gather_s, SETTLED_WAITS_S)

    def _read(self) -> None:
        while self._questions:
            self._questions.popleft()()
        while self._reads and not self._redo:
            self._reads.popleft()()

    def _took(self, error: BaseException | None, now: float) -> None:
        if isinstance(error, StoreError) and not isinstance(error, DamagedError):
            self._broke(error, now)
            return
        if error is not None:
            raise error
        self._committed_at = now
        self.failing = ""
        self._pause_s = AGAIN_S
        self._announce()

    def _offered(self, rows: list[Row]) -> None:
        self._offers -= 1
        self._rows += rows

    def _announce(self) -> None:
        """What was entered is on disk: say so to whoever waits for it."""
        self._redo = max(0, self._redo - len(self._entered))
        entered, values = self._entered, self._values
        self._entered, self._values = [], []
        for item, value in zip(entered, values, strict=True):
            if item.done is not None:
                item.done(value)
        rows, self._rows = self._rows, []
        if rows:
            self._accepted(rows)

    def _broke(self, error: StoreError, now: float) -> None:
        """Nothing since the last commit is in the ledger: let it wait again in its order, but refuse what was asked."""
        refused = self._undo(error, now)
        self._failed(error)
        for item in refused:
            assert item.refused is not None
            item.refused(self.failing)

    def _undo(self, error: StoreError, now: float) -> list[_Item]:
        """Take everything since the last commit back, for another try after a pause; return what was asked for."""
        if self.ledger.dirty:
            self.ledger.rollback()
        entered, items = self._entered, [*self._entered, *self._waiting]
        self._waiting = deque(item for item in items if item.refused is None)
        self._redo = max(self._redo, sum(item.refused is None for item in entered))
        self._entered, self._values = [], []
        self.failing = str(error)
        self._again_at = now + (self._pause_s if self._waiting else AGAIN_S)
        self._pause_s = min(AGAIN_S_MAX, 2 * self._pause_s)
        return [item for item in items if item.refused is not None]
