"""The ventilator's ledger on disk: every job it has accepted and what became of it. ``schema.sql`` explains the tables.

One thread calls it; only ``commit`` may run in another, while no other call does.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from zgrid.protocol.job import CLOSED, Offer, State, job_key
from zgrid.protocol.window import Row
from zgrid.store import opening, sqlite, statements
from zgrid.store.history import Diary
from zgrid.store.lock import FileLock
from zgrid.store.questions import Questions
from zgrid.store.rows import PLAIN_TERMS, Happening, JobLedger, JobTerms, Placed, Tally, plain_json, rows_next
from zgrid.store.spool import put_offer
from zgrid.store.sums import Sums
from zgrid.store.trouble import explained
from zgrid.store.turns import begin, impatient

_UNDONE = (State.DISCARDED, State.BURIED, State.CANCELLED)
"""Closed without a result; one that comes all the same is true."""


class _Durable(NamedTuple):
    """What is in memory, as it was at the last commit."""

    last_seq: int
    chains: int
    spooling: bool


def lock(path: Path) -> FileLock:
    """Take the lock that keeps a second process from writing to the ledger at ``path``."""
    return FileLock(
        path.with_name(path.name + ".lock"),
        f"another ventilator uses the ledger {path}: stop it, or name another file with --ledger",
    )


class Ledger(Questions, JobLedger):
    """The ledger in the file ``path``, which is made if it is not there; ``path.lock`` keeps other ventilators out.

    Raises StoreError where the disk refuses, DamagedError where the file is damaged, SettingsError where it is another
    ventilator's, a newer zgrid's, or something else.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._dirty = self._committing = False
        sqlite.check_version()
        self._lock = lock(self.path)
        try:
            self._db = opening.opened(self.path)
        except BaseException:
            self._lock.close()
            raise
        try:
            with self._asking():
                self.ledger_id = opening.ledger_id(self._db, self.path)
                self._load()
                impatient(self._db)
        except BaseException:
            self._db.close()
            self._lock.close()
            raise

    def _load(self) -> None:
        """Read what is kept in memory."""
        self._sums = Sums(self._db)
        self._diary = Diary()
        self._chains: dict[str, int] = dict(self._db.execute("SELECT text, id FROM chains ORDER BY id"))
        self._last_seq = int(self._value("SELECT coalesce(max(seq), 0) FROM jobs"))
        self._spooling = bool(self._value(statements.SPOOLED))
        self._durable = _Durable(self._last_seq, len(self._chains), self._spooling)

    # -- transactions

    @property
    def dirty(self) -> bool:
        """Whether something waits for a commit."""
        return self._dirty

    @property
    def durable_seq(self) -> int:
        """The number of the last job that is on disk; 0 when there is none."""
        return self._durable.last_seq

    def commit(self) -> None:
        """Put everything on disk that was written: one fsync, now and then a checkpoint.

        This alone may run in another thread, while no other call does. Raises StoreError; then nothing since the last
        commit is kept.
        """
        if not self._dirty:
            return
        self._committing = True
        try:
            with explained(self.path):
                self._commit()
        finally:
            self._committing = False
        self._dirty = False
        self._sums.written()
        self._durable = _Durable(self._last_seq, len(self._chains), self._spooling)

    def _commit(self) -> None:
        try:
            self._sums.write(self._db)
            self._diary.write(self._db)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._undo()
            raise

    def rollback(self) -> None:
        """Undo everything since the last commit. Raises StoreError where even that fails."""
        with self._reading():
            self._undo()

    def close(self) -> None:
        """Undo what was not committed, move the WAL into the file and let go of it; a second time does nothing."""
        assert not self._committing, "close() during a commit"
        if self._lock.held:
            try:
                if self._dirty:
                    self.rollback()
            finally:
                sqlite.close(self._db)
                self._lock.close()

    def _undo(self) -> None:
        # SQLite has rolled back by itself after some errors (a full disk), not after others.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if self._dirty:
            self._dirty = False
            self._sums.undo()
            self._diary.undo()
            self._last_seq, chains, self._spooling = self._durable
            self._chains = dict(list(self._chains.items())[:chains])

    @contextmanager
    def _reading(self) -> Iterator[None]:
        assert not self._committing, "the ledger was used during a commit"
        with explained(self.path):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._reading():
            if not self._dirty:
                begin(self._db, sqlite.BUSY_TIMEOUT_S)
                self._dirty = True
            try:
                yield
            except BaseException:
                self._undo()
                raise

    # -- jobs

    def accept(self, offers: Sequence[Offer], chain: int, now_ms: int, terms: JobTerms = PLAIN_TERMS) -> list[Row]:
        """Enter the offers that are new and return them as rows, in order; known ones are passed over.

        ``chain`` is from ``chain_id``; ``now_ms`` and ``terms.due_ms`` (DELAYED until then) are wall clock.
        """
        if not offers:
            return []
        uris, sizes, mtimes_ns = zip(*offers, strict=True)
        keys = [job_key(*offer) for offer in offers]
        first, numbers = self._last_seq + 1, f"%{statements.NUMBER_CHARS}d".encode() * len(offers)
        values = {
            "first": first, "keys": b"".join(keys), "uris": orjson.dumps(uris).decode(),
            "sizes": numbers % sizes, "mtimes_ns": numbers % mtimes_ns, "chain": chain, "now_ms": now_ms,
            "state": terms.state, **terms._asdict(),
        }  # fmt: skip
        with self._writing():
            entered = self._db.execute(statements.ACCEPT, values).rowcount
            self._sums.add(chain, terms.state, entered)
            if entered == len(offers):
                self._last_seq += entered
                seqs, same = range(first, first + entered), (chain, now_ms, terms.ttr_ms, terms.attempts_max, 0)
                columns = seqs, keys, uris, sizes, mtimes_ns, repeat(terms.priority), repeat(0), *map(repeat, same)
                return list(map(Row._make, zip(*columns, strict=False)))
            if not entered:
                return []
            rows = list(map(Row._make, self._db.execute(statements.ENTERED, (first,))))
            self._last_seq = rows[-1].seq
            return rows

    def put(
        self, images: Sequence[tuple[str, bytes]], chain: int, now_ms: int, terms: JobTerms = PLAIN_TERMS
    ) -> list[Placed]:
        """Enter images, each with its name, together with their bytes, and return the job of each.

        The same bytes under the same name are the job that they were before, whatever became of it.
        """
        offers = [put_offer(name, image) for name, image in images]
        placed: list[Placed] = []
        with self._writing():
            new = {row.key: row for row in self.accept(offers, chain, now_ms, terms)}
            for offer, (_, image) in zip(offers, images, strict=True):
                row = new.pop(job_key(*offer), None)
                if row is None:
                    seq, state = self._db.execute(statements.PLACE, offer).fetchone()
                    placed.append(Placed(seq, State(state), None))
                else:
                    self._db.execute(statements.SPOOL, (row.seq, image))
                    self._spooling = True
                    placed.append(Placed(row.seq, terms.state, row))
        return placed

    def settle(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> int:
        """Close those of the jobs that are open, and return how many changed. ``state`` is a closed one.

        STORED is what the sink says, and so the truth: it also becomes of jobs that were closed without a result.
        """
        assert state in CLOSED, f"{state} does not close a job"
        changed = 0
        values = {"seqs": _numbers(seqs), "to": state, "now_ms": now_ms, "reason": reason}
        with self._writing():
            for old in (State.READY, State.DELAYED, *(_UNDONE if state is State.STORED else ())):
                if changed < len(seqs) and self._sums.by_state[old]:
                    changed += self._settle(old, state, values)
            self._unspool(changed, values)
        return changed

    def settle_late(self, seqs: Sequence[int], now_ms: int) -> list[int]:
        """Close as STORED those of the jobs that are not, add that to their history, and return them, ascending."""
        with self._writing():
            values = {"seqs": _numbers(seqs), "state": State.STORED}
            late = [seq for (seq,) in self._db.execute(statements.OTHERWISE, values)]
        if late:
            self.settle(late, State.STORED, now_ms)
            self.record("stored", late, now_ms)
        return late

    def _settle(self, old: State, new: State, values: dict[str, Any]) -> int:
        values = {**values, "state": old}
        chains = self._sums.chains_in(old)
        if len(chains) == 1:  # as nearly always; else the jobs have to be looked at before
            by_chain = {chains[0]: self._db.execute(statements.SETTLE, values).rowcount}
        else:
            by_chain = dict(self._db.execute(statements.BY_CHAIN, values).fetchall())
            if by_chain:
                self._db.execute(statements.SETTLE, values)
        return self._moved(by_chain, old, new)

    def _moved(self, by_chain: Mapping[int, int], old: State, new: State) -> int:
        """Count jobs of these chains from one state into another; return how many."""
        for chain, jobs in by_chain.items():
            self._sums.add(chain, old, -jobs)
            self._sums.add(chain, new, jobs)
        return sum(by_chain.values())

    def _unspool(self, changed: int, values: Mapping[str, Any]) -> None:
        """Forget the images of those jobs that were closed for good."""
        if changed and self._spooling and self._db.execute(statements.UNSPOOL, values).rowcount:
            self._spooling = bool(self._value(statements.SPOOLED))

    def close_by_hand(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> list[int]:
        """Bury or cancel those of the jobs that are open, or cancel buried ones; return which, ascending."""
        assert state in (State.BURIED, State.CANCELLED), f"{state} is nothing that people close jobs as"
        closed: list[int] = []
        values = {"seqs": _numbers(seqs), "to": state, "now_ms": now_ms, "reason": reason}
        with self._writing():
            for old in (State.READY, State.DELAYED, *((State.BURIED,) if state is State.CANCELLED else ())):
                if self._sums.by_state[old]:
                    found = self._db.execute(statements.CLOSE, {**values, "state": old}).fetchall()
                    self._moved(Counter(chain for _, chain in found), old, state)
                    closed += [seq for seq, _ in found]
            self._unspool(len(closed), values)
        return sorted(closed)

    def kick(self, seqs: Sequence[int], now_ms: int) -> list[Row]:  # noqa: ARG002  every write has it
        """Make those of the jobs READY that are BURIED or DELAYED; return them by (priority, seq).

        They begin anew, but their attempts go on being counted, so that no attempt has an earlier one's number.
        """
        return self._reopen(seqs, (State.BURIED, State.DELAYED))

    def reopen(self, seqs: Sequence[int], now_ms: int) -> list[Row]:  # noqa: ARG002
        """Make those of the jobs READY that are BURIED, DELAYED, DISCARDED or CANCELLED, as ``kick`` does.

        A job that was put stays as it is where its image is gone.
        """
        return self._reopen(seqs, (State.BURIED, State.DELAYED, State.DISCARDED, State.CANCELLED))

    def _reopen(self, seqs: Sequence[int], states: Sequence[State]) -> list[Row]:
        rows: list[Row] = []
        numbers = _numbers(seqs)
        with self._writing():
            for old in states:
                if self._sums.by_state[old]:
                    found = self._db.execute(statements.REOPEN, {"seqs": numbers, "state": old}).fetchall()
                    rows += self._made_ready(found, old)
        return sorted(rows, key=_place)

    def _made_ready(self, found: Sequence[tuple[Any, ...]], old: State) -> list[Row]:
        rows = list(map(Row._make, found))
        self._moved(Counter(row.chain for row in rows), old, State.READY)
        return rows

    def charge(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> bool:
        """Note one more failure of a job, ``failures`` with this one; it stays as it is. Return whether it is open."""
        with self._writing():
            self._testify(seq, failures, reason, evidence, now_ms)
            return self._db.execute(statements.CHARGE, (failures, seq)).rowcount == 1

    def postpone(
        self, seq: int, failures: int, due_ms: int, reason: str, evidence: Mapping[str, Any], now_ms: int
    ) -> bool:
        """Put an open job off until ``due_ms`` (wall clock), after a failure. Return whether it was open."""
        with self._writing():
            self._testify(seq, failures, reason, evidence, now_ms)
            return self._move(seq, State.DELAYED, failures, due_ms, None, None)

    def bury(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> bool:
        """Close an open job as buried. Return whether it was open; the evidence is kept in any case."""
        with self._writing():
            self._testify(seq, failures, reason, evidence, now_ms)
            return self._move(seq, State.BURIED, failures, None, now_ms, reason)

    def due(self, now_ms: int, limit: int = 1000) -> list[Row]:
        """Make up to ``limit`` DELAYED jobs READY whose time has come, and return them by (priority, seq)."""
        due_ms = self.next_due_ms()
        if due_ms is None or due_ms > now_ms:
            return []
        with self._writing():
            rows = self._made_ready(self._db.execute(statements.DUE, (now_ms, limit)).fetchall(), State.DELAYED)
        return sorted(rows, key=_place)

    def _move(
        self, seq: int, to: State, failures: int, due_ms: int | None, settled_ms: int | None, reason: str | None
    ) -> bool:
        values = {
            "seq": seq, "to": to, "failures": failures, "due_ms": due_ms, "settled_ms": settled_ms, "reason": reason,
        }  # fmt: skip
        for state in (State.READY, State.DELAYED):
            moved = self._db.execute(statements.MOVE, {**values, "state": state}).fetchall()
            if moved:
                self._moved({moved[0][0]: 1}, state, to)
                return True
        return False

    def _testify(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> None:
        self._db.execute(statements.TESTIFY, (seq, now_ms, failures, reason, plain_json(evidence)))

    # -- questions

    def next_open(self, chain: int, after: tuple[int, int], limit: int) -> list[Row]:
        """Return up to ``limit`` READY jobs of a chain behind the place ``after`` = (priority, seq), in that order.

        Those numbered above ``durable_seq`` are not on disk yet.
        """
        with self._reading():
            found = self._db.execute(statements.NEXT_OPEN, (chain, *after, limit)).fetchall()
            rows = rows_next(found, chain, after[0])
            if len(rows) < limit:
                found = self._db.execute(statements.NEXT_PRIORITY, (chain, after[0], limit - len(rows))).fetchall()
                rows += map(Row._make, found)
        return rows

    def aside(self, since_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (seq, key) of up to ``limit`` jobs that were buried or cancelled since then, the latest first."""
        with self._reading():
            rows: list[tuple[int, bytes]] = self._db.execute(statements.ASIDE, (since_ms, limit)).fetchall()
            return rows

    def next_due_ms(self) -> int | None:
        """Return when the next DELAYED job is due, by the wall clock; None when there is none."""
        if not self._sums.by_state[State.DELAYED]:
            return None
        with self._reading():
            due_ms: int | None = self._value(statements.NEXT_DUE)
            return due_ms

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each of the states that a ledger knows. Costs nothing."""
        return dict(self._sums.by_state)

    def chain_counts(self) -> dict[int, dict[State, int]]:
        """Return the same for each chain, by its number; states without jobs may be missing. Costs nothing."""
        return self._sums.by_chain()

    def closed(self) -> dict[State, int]:
        """Return how many jobs were closed since the ledger was opened, by outcome, and are on disk. Costs nothing."""
        return dict(self._sums.closed)

    def tallies(self) -> dict[str, Tally]:
        """Return what each worker did, by its name."""
        with self._asking():
            return self._sums.tallies(self._db)

    # -- history

    def record(
        self, event: str, seqs: Sequence[int], at_ms: int, worker: str | None = None, lane: int | None = None,
        attempt: int | None = None, note: str | None = None,
    ) -> None:  # fmt: skip
        """Add one event to the history of all these jobs: ``at_ms`` is wall clock, ``event`` one word."""
        with self._writing():
            jobs = self._diary.add(Happening(at_ms, event, worker, lane, attempt, note), seqs)
            if worker is not None and jobs:
                self._sums.tally(worker, event, jobs, at_ms)

    def story(self, seq: int) -> list[Happening]:
        """Return what happened to one job, in order."""
        with self._asking():
            self._diary.write(self._db)
        return super().story(seq)

    def remember(self, name: str, value: Any) -> None:
        """Keep plain data under this name; None forgets it."""
        assert name not in opening.NAMES, f"{name} is the ledger's own"
        with self._writing():
            if value is None:
                self._db.execute(statements.FORGET, (name,))
            else:
                self._db.execute(statements.REMEMBER, (name, orjson.dumps(value).decode()))

    def chain_id(self, text: str) -> int:
        """Return the number of this chain, which is new if the ledger has not seen it."""
        if text not in self._chains:
            with self._writing():
                number: int = self._value(statements.CHAIN, text)
                self._chains[text] = number
        return self._chains[text]

    def chain_texts(self) -> dict[int, str]:
        """Return every chain that the ledger has seen, by its number."""
        return {number: text for text, number in self._chains.items()}


def _numbers(seqs: Sequence[int]) -> str:
    return orjson.dumps(seqs if isinstance(seqs, list) else list(seqs)).decode()


def _place(row: Row) -> tuple[int, int]:
    return row.priority, row.seq
