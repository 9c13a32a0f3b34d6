"""What can be asked of a ledger's file, over whichever connection."""

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from zgrid.protocol.job import State
from zgrid.store import statements
from zgrid.store.history import block_of, holds
from zgrid.store.rows import Evidence, Found, Happening, named
from zgrid.store.trouble import damaged

FEW = 20_000
"""So many jobs are found by an index and then sorted; more of them are read in the table's own order."""

_WILDCARDS = frozenset("*?[")

_INDEXES = {State.READY: "jobs_ready", State.DELAYED: "jobs_delayed"}


class Questions(ABC):
    """Answers from ``_db``; raises StoreError where the file does not give them."""

    path: Path
    _db: sqlite3.Connection

    @abstractmethod
    def _reading(self) -> AbstractContextManager[None]:
        """Make every error of SQLite one of ours."""

    @abstractmethod
    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each of the states that a ledger knows."""

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._reading():
            try:
                yield
            except ValueError as error:  # a state or JSON that we never wrote
                raise damaged(self.path, str(error)) from error

    def find(self, job: str) -> Found | None:
        """Return the row of the job with this number, key in hexadecimal, URI or path; of several the newest."""
        name = named(job)
        with self._asking():
            if name.uri is not None:
                seq = self._value(statements.SEQ_OF_URI, name.uri)
            elif name.key is not None:
                seq = self._value(statements.SEQ_OF_KEY, name.key)
            else:
                seq = name.seq
            row = self._db.execute(statements.FIND, (seq,)).fetchone()
            return None if row is None else _found(row)

    def listed(
        self, state: State | None = None, limit: int = 100, *, pattern: str | None = None, chain: int | None = None
    ) -> list[Found]:
        """Return up to ``limit`` jobs, newest first; ``pattern`` is a GLOB over the whole URI.

        Quick where few are in the state or below the pattern's beginning, or where new ones match; else it reads all.
        """
        with self._asking():
            rows = self._search(statements.FOUND, state, pattern, chain, limit, "ORDER BY seq DESC")
            return [_found(row) for row in rows]

    def pick(
        self, state: State | None, pattern: str | None, chain: int | None, after_seq: int, limit: int
    ) -> list[int]:
        """Return the numbers of up to ``limit`` such jobs above ``after_seq``, ascending: chunks of any size of set.

        All the chunks together read each job once at most.
        """
        with self._asking():
            order = "AND seq > :after_seq ORDER BY seq"
            return [seq for (seq,) in self._search("seq", state, pattern, chain, limit, order, after_seq=after_seq)]

    def _search(
        self, columns: str, state: State | None, pattern: str | None, chain: int | None, limit: int, order: str,
        **values: Any,
    ) -> Iterator[Any]:  # fmt: skip
        counts = self.counts()
        # Who knows that there are no more does not read on to the table's end.
        limit = min(limit, sum(counts.values()) if state is None else counts[state])
        low, high = _bounds(pattern)
        values |= {"pattern": pattern, "low": low, "high": high, "chain": chain, "limit": limit}
        way, within = "NOT INDEXED", ""
        if state is State.BURIED:
            way = "INDEXED BY jobs_buried"
        elif low and self._value(statements.FEW_BELOW, low, high, FEW) < FEW:
            way, within = "INDEXED BY jobs_source", "AND uri >= :low AND uri < :high"
        elif state in _INDEXES and counts[state] ** 2 < max(limit, 1) * sum(counts.values()):
            way = f"INDEXED BY {_INDEXES[state]}"
        which = f"{'true' if state is None else f'state = {state:d}'} {within}"
        which += " AND uri GLOB :pattern" if pattern is not None else ""
        which += " AND chain = :chain" if chain is not None else ""
        # All of it is ours but the values. A state is written out: only so SQLite uses an index for one state.
        search = f"SELECT {columns} FROM jobs {way} WHERE {which} {order} LIMIT :limit"  # noqa: S608
        return self._db.execute(search, values)

    def story(self, seq: int) -> list[Happening]:
        """Return what happened to one job, in order."""
        with self._asking():
            rows = self._db.execute(statements.STORY, (block_of(seq), seq, seq))
            return [Happening(*row) for first, packed, *row in rows if holds(packed, first, seq)]

    def evidence(self, seq: int) -> list[Evidence]:
        """Return what is known of each failure of one job, in order."""
        with self._asking():
            found = map(Evidence._make, self._db.execute(statements.EVIDENCE, (seq,)))
            return [item._replace(detail=_plain(item.detail)) for item in found]

    def recall(self, name: str) -> Any | None:
        """Return what was remembered under this name; None if nothing."""
        with self._asking():
            value = self._value(statements.RECALL, name)
            return None if value is None else _plain(value)

    def next_delayed(self) -> int | None:
        """Return the number of the DELAYED job that is due first; None when there is none."""
        with self._reading():
            seq: int | None = self._value(statements.FIRST_DUE)
            return seq

    def image(self, seq: int) -> bytes | None:
        """Return the bytes of an image that was put; None where there are none for this job."""
        with self._asking():
            image: bytes | None = self._value(statements.IMAGE, seq)
            return image

    def _value(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row, or None where there is no row."""
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else row[0]


def _bounds(pattern: str | None) -> tuple[str, str]:
    """Return between which texts everything lies that a GLOB pattern fits; the first is empty for no bounds."""
    pattern = pattern or ""
    low = pattern[: next((at for at, letter in enumerate(pattern) if letter in _WILDCARDS), len(pattern))]
    return low, low + "\U0010ffff"


def _found(row: tuple[Any, ...]) -> Found:
    found = Found._make(row)
    return found._replace(state=State(found.state))


def _plain(text: Any) -> Any:
    return json.loads(str(text))
