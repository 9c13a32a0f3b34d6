"""The ventilator's ledger on disk: every job it has accepted and what became of it. ``schema.sql`` explains the tables.

One thread calls it; only ``commit`` may run in another, while no other call does.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from itertools import repeat
from pathlib import Path
from typing import Any

import orjson

from zgrid.errors import SettingsError, StoreError
from zgrid.protocol.job import CLOSED, Offer, State, job_key
from zgrid.protocol.window import Row
from zgrid.store import sqlite, statements
from zgrid.store.history import block_of, holds, spans
from zgrid.store.lock import FileLock
from zgrid.store.rows import Evidence, Found, Happening, JobLedger, named, plain_json

SCHEMA = 1
"""The version of ``schema.sql``. To change it: first write the migration from each older one."""

APPLICATION_ID = int.from_bytes(b"zgLd")
"""In the file's header (``PRAGMA application_id``), so that nothing else is taken for a ledger."""


class Ledger(JobLedger):
    """The ledger in the file ``path``, which is made if it is not there; ``path.lock`` keeps other ventilators out.

    Raises StoreError where the disk refuses or the file is damaged, SettingsError where the file is another
    ventilator's, a newer zgrid's, or something else.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._dirty = self._committing = False
        sqlite.check_version()
        self._lock = FileLock(
            self.path.with_name(self.path.name + ".lock"),
            f"another ventilator uses the ledger {self.path}: stop it, or name another file with --ledger",
        )
        try:
            with self._reading():
                self._db = sqlite3.connect(
                    self.path, sqlite.BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
                )
                self._open()
        except BaseException:
            if hasattr(self, "_db"):
                self._db.close()
            self._lock.close()
            raise

    def _open(self) -> None:
        tables = self._value("SELECT count(*) FROM sqlite_schema")
        if tables and self._value("PRAGMA application_id") != APPLICATION_ID:
            raise SettingsError(f"{self.path} is a database of something else: name another file with --ledger")
        sqlite.set_up(self._db)
        if not tables:
            self._make()
        schema = self._value("SELECT value FROM meta WHERE name = 'schema'")
        if schema != SCHEMA:
            raise SettingsError(
                f"the ledger {self.path} has schema {schema}, but this zgrid knows {SCHEMA}: use the zgrid that made it"
            )
        self.ledger_id: bytes = self._value("SELECT value FROM meta WHERE name = 'ledger_id'")
        self._reload()

    def _make(self) -> None:
        schema = resources.files("zgrid.store").joinpath("schema.sql").read_text("utf-8")
        self._db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {schema}")
        meta = [("schema", SCHEMA), ("ledger_id", os.urandom(16))]
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        self._db.execute("COMMIT")

    def _reload(self) -> None:
        """Read what is kept in memory as it is on disk."""
        self._counts = {State(state): jobs for state, jobs in self._db.execute("SELECT state, jobs FROM counts")}
        self._chains: dict[str, int] = dict(self._db.execute("SELECT text, id FROM chains"))
        self._last_seq = int(self._value("SELECT coalesce(max(seq), 0) FROM jobs"))
        self._durable_seq = self._last_seq

    # -- transactions

    @property
    def dirty(self) -> bool:
        """Whether something waits for a commit."""
        return self._dirty

    @property
    def durable_seq(self) -> int:
        """The number of the last job that is on disk; 0 when there is none."""
        return self._durable_seq

    def commit(self) -> None:
        """Put everything on disk that was written: one fsync, now and then a checkpoint.

        This alone may run in another thread, while no other call does. Raises StoreError; then nothing since the last
        commit is kept.
        """
        if not self._dirty:
            return
        self._committing = True
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise StoreError(sqlite.sentence(error, self.path)) from error
        finally:
            self._committing = False
        self._dirty = False
        self._durable_seq = self._last_seq

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
        self._dirty = False
        self._reload()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        assert not self._committing, "the ledger was used during a commit"
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(sqlite.sentence(error, self.path)) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._reading():
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            try:
                yield
            except BaseException:
                self._undo()
                raise

    def _value(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row, or None where there is no row."""
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else row[0]

    def _count(self, state: State, jobs: int) -> None:
        if jobs:
            self._counts[state] += jobs
            self._db.execute(statements.COUNT, (jobs, state))

    # -- jobs

    def accept(
        self, offers: Sequence[Offer], chain: int, now_ms: int, priority: int = 0, due_ms: int | None = None
    ) -> list[Row]:
        """Enter the offers that are new and return them as rows, in order; known ones are passed over.

        ``chain`` is from ``chain_id``; ``now_ms`` and ``due_ms`` (DELAYED until then) are wall clock.
        """
        if not offers:
            return []
        uris, sizes, mtimes_ns = zip(*offers, strict=True)
        keys = [job_key(*offer) for offer in offers]
        first, numbers = self._last_seq + 1, f"%{statements.NUMBER_CHARS}d".encode() * len(offers)
        state = State.READY if due_ms is None else State.DELAYED
        values = {
            "first": first, "keys": b"".join(keys), "uris": orjson.dumps(uris).decode(),
            "sizes": numbers % sizes, "mtimes_ns": numbers % mtimes_ns, "priority": priority, "chain": chain,
            "now_ms": now_ms, "state": state, "due_ms": due_ms,
        }  # fmt: skip
        with self._writing():
            entered = self._db.execute(statements.ACCEPT, values).rowcount
            self._count(state, entered)
            if entered == len(offers):
                self._last_seq += entered
                seqs = range(first, first + entered)
                columns = seqs, keys, uris, sizes, mtimes_ns, repeat(priority), repeat(0), repeat(chain), repeat(now_ms)
                return list(map(Row._make, zip(*columns, strict=False)))
            if not entered:
                return []
            rows = list(map(Row._make, self._db.execute(statements.ENTERED, (first,))))
            self._last_seq = rows[-1].seq
            return rows

    def settle(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> int:
        """Close those of the jobs that are open, and return how many those were. ``state`` is a closed one."""
        assert state in CLOSED, f"{state} does not close a job"
        changed = 0
        with self._writing():
            numbers = orjson.dumps(seqs if isinstance(seqs, list) else list(seqs)).decode()
            values = {"to": state, "now_ms": now_ms, "reason": reason, "seqs": numbers}
            for open_state in (State.READY, State.DELAYED):
                if self._counts[open_state] and changed < len(seqs):
                    closed = self._db.execute(statements.SETTLE, {**values, "state": open_state}).rowcount
                    self._count(open_state, -closed)
                    changed += closed
            self._count(state, changed)
        return changed

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
            rows = list(map(Row._make, self._db.execute(statements.DUE, (now_ms, limit)).fetchall()))
            self._count(State.DELAYED, -len(rows))
            self._count(State.READY, len(rows))
        return sorted(rows, key=lambda row: (row.priority, row.seq))

    def _move(
        self, seq: int, to: State, failures: int, due_ms: int | None, settled_ms: int | None, reason: str | None
    ) -> bool:
        values = {
            "seq": seq, "to": to, "failures": failures, "due_ms": due_ms, "settled_ms": settled_ms, "reason": reason,
        }  # fmt: skip
        for state in (State.READY, State.DELAYED):
            if self._db.execute(statements.MOVE, {**values, "state": state}).rowcount:
                self._count(state, -1)
                self._count(to, 1)
                return True
        return False

    def _testify(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> None:
        self._db.execute(statements.TESTIFY, (seq, now_ms, failures, reason, plain_json(evidence)))

    # -- questions

    def next_open(self, after: tuple[int, int], limit: int) -> list[Row]:
        """Return up to ``limit`` READY jobs behind the place ``after`` = (priority, seq), in that order.

        Those numbered above ``durable_seq`` are not on disk yet.
        """
        with self._reading():
            rows = self._db.execute(statements.NEXT_OPEN, (*after, limit)).fetchall()
            if len(rows) < limit:
                rows += self._db.execute(statements.NEXT_PRIORITY, (after[0], limit - len(rows))).fetchall()
        return list(map(Row._make, rows))

    def next_due_ms(self) -> int | None:
        """Return when the next DELAYED job is due, by the wall clock; None when there is none."""
        if not self._counts[State.DELAYED]:
            return None
        with self._reading():
            due_ms: int | None = self._value(statements.NEXT_DUE)
            return due_ms

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each of the states that a ledger knows. Costs nothing."""
        return dict(self._counts)

    def find(self, job: str) -> Found | None:
        """Return the row of the job with this number, key in hexadecimal, URI or path; of several the newest."""
        name = named(job)
        with self._reading():
            if name.uri is not None:
                seq = self._value(statements.SEQ_OF_URI, name.uri)
            elif name.key is not None:
                seq = self._value(statements.SEQ_OF_KEY, block_of(self._last_seq), name.key)
            else:
                seq = name.seq
            row = self._db.execute(statements.FIND, (seq,)).fetchone()
        if row is None:
            return None
        found = Found._make(row)
        return found._replace(state=State(found.state))

    def listed(self, state: State, limit: int) -> list[Found]:
        """Return up to ``limit`` jobs in a state, newest first. Quick for BURIED; other states cost a look at all."""
        with self._reading():
            rows = self._db.execute(statements.LISTED[state], (limit,)).fetchall()
        return [Found._make(row)._replace(state=state) for row in rows]

    # -- history

    def record(
        self, event: str, seqs: Sequence[int], at_ms: int, worker: str | None = None, lane: int | None = None,
        attempt: int | None = None, note: str | None = None,
    ) -> None:  # fmt: skip
        """Add one event to the history of all these jobs: ``at_ms`` is wall clock, ``event`` one word."""
        with self._writing():
            for span in spans(seqs):
                self._db.execute(statements.RECORD, (at_ms, event, worker, lane, attempt, note, *span))

    def story(self, seq: int) -> list[Happening]:
        """Return what happened to one job, in order."""
        with self._reading():
            rows = self._db.execute(statements.STORY, (block_of(seq), seq, seq))
            return [Happening(*row) for first, packed, *row in rows if holds(packed, first, seq)]

    def evidence(self, seq: int) -> list[Evidence]:
        """Return what is known of each failure of one job, in order."""
        with self._reading():
            found = map(Evidence._make, self._db.execute(statements.EVIDENCE, (seq,)))
            return [item._replace(detail=json.loads(str(item.detail))) for item in found]

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
