"""How the jobs of one event are kept: in blocks of neighbours, each packed into a few bytes."""

import sqlite3
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from zgrid.store import statements
from zgrid.store.rows import Happening

BLOCK_BITS = 12
"""Jobs whose numbers agree above these bits are one block of 4096. ``schema.sql`` has the same number in an index."""


class Span(NamedTuple):
    """Jobs of one block. ``packed`` is None where it is all from ``first`` to ``last``."""

    block: int
    first: int
    last: int
    packed: bytes | None

    @property
    def jobs(self) -> int:
        """How many jobs these are."""
        return self.last - self.first + 1 if self.packed is None else len(self.packed) // 2


def block_of(seq: int) -> int:
    """Return the number of the block that a job is in."""
    return seq >> BLOCK_BITS


def spans(seqs: Sequence[int]) -> Iterator[Span]:
    """Pack job numbers, in any order, into one span for each block that they touch."""
    ordered = sorted(set(seqs))
    if not ordered:
        return
    if block_of(ordered[0]) == block_of(ordered[-1]):
        yield _span(ordered)
        return
    for _, members in groupby(ordered, block_of):
        yield _span(list(members))


class Diary:
    """What happened since the last commit, written with one statement when it is committed or looked at.

    A statement for each line as it comes took half of what a line costs, and the main loop's time.
    """

    def __init__(self) -> None:
        self._lines: list[tuple[Any, ...]] = []

    def add(self, happening: Happening, seqs: Sequence[int]) -> int:
        """Note one event of all these jobs; return of how many."""
        jobs = 0
        for span in spans(seqs):
            self._lines.append((*happening, *span))
            jobs += span.jobs
        return jobs

    def write(self, db: sqlite3.Connection) -> None:
        """Write the lines, in the transaction that is open."""
        if self._lines:
            db.executemany(statements.RECORD, self._lines)
            self._lines = []

    def undo(self) -> None:
        """The transaction is rolled back."""
        self._lines = []


def _span(ordered: list[int]) -> Span:
    first, last = ordered[0], ordered[-1]
    if last - first + 1 == len(ordered):
        return Span(block_of(first), first, last, None)
    offsets = array("H", [seq - first for seq in ordered])
    if sys.byteorder == "big":
        offsets.byteswap()
    return Span(block_of(first), first, last, offsets.tobytes())


def holds(packed: bytes | None, first: int, seq: int) -> bool:
    """Say whether a job is in a span that begins at ``first`` and does not end before the job."""
    return packed is None or seq - first in _offsets(packed)


def members(packed: bytes, first: int) -> list[int]:
    """Return the jobs of a span that begins at ``first``."""
    return [first + offset for offset in _offsets(packed)]


def _offsets(packed: bytes) -> "array[int]":
    offsets = array("H", packed)
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets
