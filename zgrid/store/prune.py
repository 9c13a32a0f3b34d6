"""Removing jobs that were settled long ago from a ledger, while its ventilator goes on.

SQLite has one writer at a time. So this takes short turns, each a transaction of some milliseconds, and looks for the
moment between two of the ventilator's; while somebody else writes it rests as long as it has worked.
"""

import sqlite3
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import orjson

from zgrid.errors import SettingsError
from zgrid.protocol.job import State
from zgrid.store import opening, sqlite, statements
from zgrid.store.history import BLOCK_BITS, block_of, members
from zgrid.store.trouble import explained
from zgrid.store.turns import begin, impatient

TURN_S = 0.010
"""How long the work of one transaction should take; its sync, which takes as long for little, comes on top of that.
Who wants to write meanwhile waits for its end."""

REST_S = 0.005
"""How long to leave the place to others at least, before the next one."""

OTHERS_S = 1.0
"""So long after somebody else's last commit another one is to be expected."""

PATIENCE_S = 60.0
"""How long to look for a gap."""

JOBS_MIN, JOBS_MAX = 64, 4096
"""In one transaction."""


class Pruned(NamedTuple):
    """What was removed, or would be: jobs by state, lines of history, pieces of evidence."""

    jobs: dict[State, int]
    history: int
    evidence: int


def prune(path: Path, before_ms: int, seen: Callable[[int, int], object] | None = None) -> Pruned:
    """Remove the jobs of the ledger at ``path`` that were stored, discarded or cancelled before ``before_ms``.

    The newest job stays, so that no number is given twice. ``seen`` is called now and then with how far it is: two
    numbers of jobs. Raises SettingsError where it is no ledger of this version, StoreError where the disk refuses or
    somebody else never lets go; what was removed until then stays removed.
    """
    with explained(path), closing(_connected(path)) as db:
        pruning = _Pruning(db, path, before_ms)
        for done, of in pruning.run():
            if seen is not None:
                seen(done, of)
        return Pruned(pruning.jobs, pruning.history, pruning.evidence)


def prunable(path: Path, before_ms: int) -> dict[State, int]:
    """Return how many jobs in each state ``prune`` would remove now. Raises as it does."""
    with explained(path), closing(_connected(path)) as db:
        return _Pruning(db, path, before_ms).count()


def _connected(path: Path) -> sqlite3.Connection:
    opening.must_exist(path)
    opening.refuse_strangers(path)
    db = sqlite3.connect(path, timeout=sqlite.BUSY_TIMEOUT_S, isolation_level=None)
    try:
        _set_up(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _set_up(db: sqlite3.Connection, path: Path) -> None:
    if opening.schema_of(db, path) != opening.SCHEMA:
        raise SettingsError(f"the ledger {path} is of an earlier version: start its ventilator once, then prune it")
    opening.set_up(db)
    impatient(db)


class _Pruning:
    def __init__(self, db: sqlite3.Connection, path: Path, before_ms: int) -> None:
        self.jobs: dict[State, int] = dict.fromkeys((State.STORED, State.DISCARDED, State.CANCELLED), 0)
        self.history = 0
        self.evidence = 0
        self._db = db
        self._path = path
        self._before_ms = before_ms
        self._jobs_max = JOBS_MIN
        self._version: int | None = None
        self._others_until = 0.0

    def count(self) -> dict[State, int]:
        """Return how many jobs are old enough."""
        found = Counter(self.jobs)
        for _, _, old in self._blocks():
            found.update(State(state) for _, state in old)
        return dict(found)

    def run(self) -> Iterator[tuple[int, int]]:
        """Remove them, block by block; yield how far it is after each: the last job looked at, and the last of all."""
        for block, newest, old in self._blocks():
            if old:
                self._remove_jobs([seq for seq, _ in old])
                self._remove_history(block)
            yield min((block + 1) << BLOCK_BITS, newest), newest

    def _blocks(self) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        """Yield each block of jobs with the newest job there is, and which of the block are old, with their states."""
        newest = self._value("SELECT coalesce(max(seq), 0) FROM jobs") or 0
        at = self._value(statements.FIRST_ABOVE, 0)
        while at is not None and at < newest:
            block = block_of(at)
            first, last = block << BLOCK_BITS, min(((block + 1) << BLOCK_BITS) - 1, newest - 1)
            yield block, newest, self._db.execute(statements.OLD, (first, last, self._before_ms)).fetchall()
            at = self._value(statements.FIRST_ABOVE, last)

    def _remove_jobs(self, old: Sequence[int]) -> None:
        while old:
            some, old = old[: self._jobs_max], old[self._jobs_max :]
            with self._turn():
                values = {"seqs": orjson.dumps(some).decode(), "before_ms": self._before_ms}
                gone = self._db.execute(statements.PRUNE, values).fetchall()
                values["seqs"] = orjson.dumps([seq for seq, _, _ in gone]).decode()
                self.evidence += self._db.execute(statements.PRUNE_EVIDENCE, values).rowcount
                counted = Counter((chain, state) for _, chain, state in gone)
                self._db.executemany(statements.COUNT_PRUNED, [(*place, jobs) for place, jobs in counted.items()])
            for (_, state), jobs in counted.items():
                self.jobs[State(state)] += jobs

    def _remove_history(self, block: int) -> None:
        """Remove the lines that are about no job any more."""
        first, last = block << BLOCK_BITS, ((block + 1) << BLOCK_BITS) - 1
        left = [seq for (seq,) in self._db.execute(statements.SEQS, (first, last))]
        lines = self._db.execute(statements.LINES, (block,))
        dead = [number for number, start, end, packed in lines if not _is_about(left, start, end, packed)]
        while dead:
            some, dead = dead[: self._jobs_max], dead[self._jobs_max :]
            with self._turn():
                values = {"ids": orjson.dumps(some).decode()}
                self.history += self._db.execute(statements.PRUNE_HISTORY, values).rowcount

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One transaction; whether it took long decides how much the next one does."""
        begin(self._db, PATIENCE_S)
        began = monotonic()
        try:
            yield
            worked_s = monotonic() - began
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._jobs_max = int(min(JOBS_MAX, max(JOBS_MIN, self._jobs_max * min(2.0, max(0.5, TURN_S / worked_s)))))
        self._rest(monotonic() - began)

    def _rest(self, took_s: float) -> None:
        """Leave the place to others for a while, as long as there are some."""
        version = self._value("PRAGMA data_version")  # it changes with the commits of others only
        if version != self._version:
            self._version = version
            self._others_until = monotonic() + OTHERS_S
        if monotonic() < self._others_until:
            sleep(max(took_s, REST_S))

    def _value(self, statement: str, *values: int) -> int | None:
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else row[0]


def _is_about(left: Sequence[int], first: int, last: int, packed: bytes | None) -> bool:
    """Whether a line of the history is about any of the jobs that are left, which are ascending."""
    at = bisect_left(left, first)
    if at == len(left) or left[at] > last:
        return False
    return packed is None or not set(left[at:]).isdisjoint(members(packed, first))
