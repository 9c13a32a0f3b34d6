"""What a ledger gives back, and the seam that both ledgers (on disk and in memory) keep.

Open jobs are given as ``zgrid.protocol.window.Row``.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from os import fsencode
from os.path import abspath
from typing import Any, NamedTuple, Protocol, TypedDict
from urllib.parse import quote_from_bytes

import orjson

from zgrid.protocol.job import Offer, State
from zgrid.protocol.window import Row

KEPT = tuple(state for state in State if state < State.SENT)
"""The states that a ledger knows."""


class Found(NamedTuple):
    """All that the ledger's row of one job says. Times are wall clock in ms; ``chain`` is the chain's text."""

    seq: int
    key: bytes
    uri: str
    size: int
    mtime_ns: int
    priority: int
    failures: int
    chain: str
    accepted_ms: int
    state: State
    due_ms: int | None
    settled_ms: int | None
    reason: str | None
    ttr_ms: int | None = None
    attempts_max: int | None = None
    spent: int = 0


class JobTerms(NamedTuple):
    """What jobs are accepted under. None: DELAYED until no time at all; the ventilator's time-to-run and attempts."""

    priority: int = 0
    due_ms: int | None = None
    ttr_ms: int | None = None
    attempts_max: int | None = None

    @property
    def state(self) -> State:
        """The state that such a job begins in."""
        return State.READY if self.due_ms is None else State.DELAYED


PLAIN_TERMS = JobTerms()
"""As most jobs are accepted: at once, in their turn, and as the ventilator is set."""


class Placed(NamedTuple):
    """The job of an image that was put; ``row`` only where it is new."""

    seq: int
    state: State
    row: Row | None


class Tally(TypedDict):
    """What one worker did, ever: for how many jobs each event is recorded of it, and when first and last (in ms)."""

    first_ms: int
    last_ms: int
    events: dict[str, int]


class Happening(NamedTuple):
    """One event in the life of a job; ``at_ms`` is wall clock."""

    at_ms: int
    event: str
    worker: str | None
    lane: int | None
    attempt: int | None
    note: str | None


class Evidence(NamedTuple):
    """What is known of one failure of a job. ``failures``: how many had counted against it then."""

    seq: int
    at_ms: int
    failures: int
    reason: str
    detail: dict[str, Any]


class Named(NamedTuple):
    """What somebody who asks for a job means; one of the three is set."""

    seq: int | None = None
    key: bytes | None = None
    uri: str | None = None


def named(job: str) -> Named:
    """Tell what ``job`` names: a number, a key of 32 hexadecimal digits, a URI, or else the path of a file."""
    if re.fullmatch("[0-9a-fA-F]{32}", job):
        return Named(key=bytes.fromhex(job))
    if re.fullmatch("[0-9]{1,18}", job):
        return Named(seq=int(job))
    if re.match("[a-z][a-z0-9+]*:", job):
        return Named(uri=job)
    path = abspath(job)  # noqa: PTH100  resolve() would follow symbolic links, and a URI names the link
    return Named(uri="file://" + quote_from_bytes(fsencode(path)))


def plain_json(detail: Mapping[str, Any]) -> str:
    """Return plain data as JSON; bytes become hexadecimal, and what JSON cannot hold becomes its text."""
    return json.dumps(detail, default=lambda item: item.hex() if isinstance(item, bytes) else str(item), skipkeys=True)


_row = partial(tuple.__new__, Row)
"""Makes a row of a tuple in half of the time that its class takes."""


def rows_next(found: Iterable[tuple[Any, ...]], chain: int, priority: int) -> list[Row]:
    """Return the rows that ``statements.NEXT_OPEN`` has found."""
    return [
        _row((seq, key, uri, size, mtime_ns, priority, 0, chain, accepted_ms, None, None, 0))
        if own is None
        else _own(Row(seq, key, uri, size, mtime_ns, priority, 0, chain, accepted_ms), own)
        for seq, key, uri, size, mtime_ns, accepted_ms, own in found
    ]


def _own(row: Row, own: str) -> Row:
    failures, ttr_ms, attempts_max, spent = orjson.loads(own)
    return row._replace(failures=failures, ttr_ms=ttr_ms, attempts_max=attempts_max, spent=spent)


class JobLedger(Protocol):
    """The ventilator's ledger, as ``Ledger`` keeps it on disk and ``MemoryLedger`` in dicts.

    Nothing that was written counts before ``commit`` has returned. Every write may raise StoreError; then everything
    since the last commit is undone.
    """

    ledger_id: bytes

    @property
    def dirty(self) -> bool:
        """Whether something waits for a commit."""

    @property
    def durable_seq(self) -> int:
        """The number of the last job that is on disk; 0 when there is none."""

    def accept(self, offers: Sequence[Offer], chain: int, now_ms: int, terms: JobTerms = PLAIN_TERMS) -> list[Row]:
        """Enter the offers that are new and return them as rows, in order."""

    def put(
        self, images: Sequence[tuple[str, bytes]], chain: int, now_ms: int, terms: JobTerms = PLAIN_TERMS
    ) -> list[Placed]:
        """Enter images, each with its name, together with their bytes, and return the job of each."""

    def settle(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> int:
        """Close those of the jobs that are open, and return how many changed. STORED is true of closed ones too."""

    def settle_late(self, seqs: Sequence[int], now_ms: int) -> list[int]:
        """Close as STORED those of the jobs that are not, add that to their history, and return them, ascending."""

    def close_by_hand(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> list[int]:
        """Bury or cancel those of the jobs that are open, or cancel buried ones; return which, ascending."""

    def kick(self, seqs: Sequence[int], now_ms: int) -> list[Row]:
        """Make those of the jobs READY that are BURIED or DELAYED; return them by (priority, seq)."""

    def reopen(self, seqs: Sequence[int], now_ms: int) -> list[Row]:
        """Make those of the jobs READY that are BURIED, DELAYED, DISCARDED or CANCELLED, as ``kick`` does."""

    def charge(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> bool:
        """Note one more failure of a job; it stays as it is. Return whether it is open."""

    def postpone(
        self, seq: int, failures: int, due_ms: int, reason: str, evidence: Mapping[str, Any], now_ms: int
    ) -> bool:
        """Put an open job off until ``due_ms``, after a failure. Return whether it was open."""

    def bury(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> bool:
        """Close an open job as buried. Return whether it was open."""

    def record(
        self, event: str, seqs: Sequence[int], at_ms: int, worker: str | None = None, lane: int | None = None,
        attempt: int | None = None, note: str | None = None,
    ) -> None:  # fmt: skip
        """Add one event to the history of all these jobs."""

    def next_open(self, chain: int, after: tuple[int, int], limit: int) -> list[Row]:
        """Return up to ``limit`` READY jobs of a chain behind the place ``after`` = (priority, seq), in that order."""

    def aside(self, since_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (seq, key) of up to ``limit`` jobs that were buried or cancelled since then, the latest first."""

    def due(self, now_ms: int, limit: int = 1000) -> list[Row]:
        """Make up to ``limit`` DELAYED jobs READY whose time has come, and return them by (priority, seq)."""

    def next_due_ms(self) -> int | None:
        """Return when the next DELAYED job is due, by the wall clock; None when there is none."""

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each of the states that a ledger knows."""

    def chain_counts(self) -> dict[int, dict[State, int]]:
        """Return the same for each chain, by its number; states without jobs may be missing."""

    def tallies(self) -> dict[str, Tally]:
        """Return what each worker did, by its name."""

    def find(self, job: str) -> Found | None:
        """Return the row of the job with this number, key in hexadecimal, URI or path; of several the newest."""

    def listed(
        self, state: State | None = None, limit: int = 100, *, pattern: str | None = None, chain: int | None = None
    ) -> list[Found]:
        """Return up to ``limit`` jobs, newest first; ``pattern`` is a GLOB over the whole URI."""

    def pick(
        self, state: State | None, pattern: str | None, chain: int | None, after_seq: int, limit: int
    ) -> list[int]:
        """Return the numbers of up to ``limit`` such jobs above ``after_seq``, ascending: chunks of any size of set."""

    def story(self, seq: int) -> list[Happening]:
        """Return what happened to one job, in order."""

    def evidence(self, seq: int) -> list[Evidence]:
        """Return what is known of each failure of one job, in order."""

    def chain_id(self, text: str) -> int:
        """Return the number of this chain, which is new if the ledger has not seen it."""

    def chain_texts(self) -> dict[int, str]:
        """Return every chain that the ledger has seen, by its number."""

    def recall(self, name: str) -> Any | None:
        """Return what was remembered under this name; None if nothing."""

    def remember(self, name: str, value: Any) -> None:
        """Keep plain data under this name; None forgets it."""

    def commit(self) -> None:
        """Put everything on disk that was written. This alone may run in another thread, while no other call does."""

    def rollback(self) -> None:
        """Undo everything since the last commit."""

    def close(self) -> None:
        """Undo what was not committed and let go of the file."""
