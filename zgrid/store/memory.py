"""The ledger in dicts, for the simulator and for tests; its ``crash`` loses what was not committed."""

import json
import sqlite3
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple

from zgrid.protocol.job import CLOSED, Offer, State, job_key
from zgrid.protocol.window import Row
from zgrid.store.rows import (
    KEPT,
    PLAIN_TERMS,
    Evidence,
    Found,
    Happening,
    JobLedger,
    JobTerms,
    Placed,
    Tally,
    named,
    plain_json,
)
from zgrid.store.spool import is_put, put_offer


class _Entry(NamedTuple):
    row: Row
    state: State
    due_ms: int | None
    settled_ms: int | None
    reason: str | None
    image: bytes | None = None


class MemoryLedger(JobLedger):
    """Keeps the seam ``JobLedger``, and can crash."""

    def __init__(self, ledger_id: bytes = b"ledger in memory") -> None:
        self.ledger_id = ledger_id
        self._jobs: dict[int, _Entry] = {}
        self._by_key: dict[bytes, int] = {}
        self._ready: list[tuple[int, int]] = []
        self._counts: Counter[State] = Counter(dict.fromkeys(KEPT, 0))
        self._chain_counts: Counter[tuple[int, State]] = Counter()
        self._remembered: dict[str, str] = {}
        self._remembered_before: dict[str, str] = {}
        self._chains: dict[str, int] = {}
        self._history: list[tuple[frozenset[int], Happening]] = []
        self._evidence: list[Evidence] = []
        self._before: dict[int, _Entry | None] = {}
        self._dirty = False
        self._keep()

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
        """Make everything durable that was written."""
        self._before.clear()
        self._dirty = False
        self._keep()

    def _keep(self) -> None:
        self._durable_seq = next(reversed(self._jobs), 0)
        self._durable_lengths = len(self._chains), len(self._history), len(self._evidence)
        self._remembered_before = self._remembered.copy()

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        for seq, entry in reversed(self._before.items()):
            self._put(seq, entry)
        self._before.clear()
        chains, history, evidence = self._durable_lengths
        self._chains = dict(list(self._chains.items())[:chains])
        del self._history[history:]
        del self._evidence[evidence:]
        self._remembered = self._remembered_before.copy()
        self._dirty = False

    def crash(self) -> None:
        """Lose what was not committed, as a power cut would; then it is what a ledger is after a restart."""
        self.rollback()

    def close(self) -> None:
        """Undo what was not committed."""
        self.rollback()

    def _change(self, seq: int, entry: _Entry) -> None:
        if entry.state in (State.STORED, State.DISCARDED, State.CANCELLED):
            entry = entry._replace(image=None)
        self._dirty = True
        self._before.setdefault(seq, self._jobs.get(seq))
        self._put(seq, entry)

    def _put(self, seq: int, entry: _Entry | None) -> None:
        old = self._jobs.get(seq)
        if old is not None:
            self._counts[old.state] -= 1
            self._chain_counts[old.row.chain, old.state] -= 1
            if old.state is State.READY:
                del self._ready[bisect_right(self._ready, (old.row.priority, seq)) - 1]
        if entry is None:
            del self._by_key[self._jobs.pop(seq).row.key]
            return
        self._jobs[seq] = entry
        self._by_key[entry.row.key] = seq
        self._counts[entry.state] += 1
        self._chain_counts[entry.row.chain, entry.state] += 1
        if entry.state is State.READY:
            insort(self._ready, (entry.row.priority, seq))

    def _open(self, seq: int) -> _Entry | None:
        entry = self._jobs.get(seq)
        return None if entry is None or entry.state in CLOSED else entry

    # -- jobs

    def accept(self, offers: Sequence[Offer], chain: int, now_ms: int, terms: JobTerms = PLAIN_TERMS) -> list[Row]:
        """Enter the offers that are new and return them as rows, in order; known ones are passed over."""
        rows = (self._enter(offer, chain, now_ms, terms) for offer in offers)
        return [row for row in rows if row is not None]

    def _enter(self, offer: Offer, chain: int, now_ms: int, terms: JobTerms, image: bytes | None = None) -> Row | None:
        key = job_key(*offer)
        if key in self._by_key:
            return None
        seq = next(reversed(self._jobs), 0) + 1
        row = Row(seq, key, *offer, terms.priority, 0, chain, now_ms, terms.ttr_ms, terms.attempts_max)
        self._change(seq, _Entry(row, terms.state, terms.due_ms, None, None, image))
        return row

    def put(
        self, images: Sequence[tuple[str, bytes]], chain: int, now_ms: int, terms: JobTerms = PLAIN_TERMS
    ) -> list[Placed]:
        """Enter images, each with its name, together with their bytes, and return the job of each."""
        placed = []
        for name, image in images:
            offer = put_offer(name, image)
            row = self._enter(offer, chain, now_ms, terms, image)
            seq = self._by_key[job_key(*offer)]
            placed.append(Placed(seq, self._jobs[seq].state, row))
        return placed

    def settle(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> int:
        """Close those of the jobs that are open, and return how many changed. STORED is true of closed ones too."""
        assert state in CLOSED, f"{state} does not close a job"
        undone = (State.DISCARDED, State.BURIED, State.CANCELLED) if state is State.STORED else ()
        return len(self._close(seqs, (State.READY, State.DELAYED, *undone), state, now_ms, reason))

    def settle_late(self, seqs: Sequence[int], now_ms: int) -> list[int]:
        """Close as STORED those of the jobs that are not, add that to their history, and return them, ascending."""
        known = {seq for seq in seqs if seq in self._jobs}
        late = sorted(seq for seq in known if self._jobs[seq].state is not State.STORED)
        if late:
            self.settle(late, State.STORED, now_ms)
            self.record("stored", late, now_ms)
        return late

    def close_by_hand(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> list[int]:
        """Bury or cancel those of the jobs that are open, or cancel buried ones; return which, ascending."""
        assert state in (State.BURIED, State.CANCELLED), f"{state} is nothing that people close jobs as"
        buried = (State.BURIED,) if state is State.CANCELLED else ()
        return self._close(seqs, (State.READY, State.DELAYED, *buried), state, now_ms, reason)

    def _close(
        self, seqs: Sequence[int], states: Sequence[State], to: State, now_ms: int, reason: str | None
    ) -> list[int]:
        closed = sorted({seq for seq in seqs if seq in self._jobs and self._jobs[seq].state in states})
        for seq in closed:
            entry = self._jobs[seq]
            self._change(seq, _Entry(entry.row, to, None, now_ms, reason, entry.image))
        return closed

    def kick(self, seqs: Sequence[int], now_ms: int) -> list[Row]:  # noqa: ARG002  every write has it
        """Make those of the jobs READY that are BURIED or DELAYED; return them by (priority, seq)."""
        return self._reopen(seqs, (State.BURIED, State.DELAYED))

    def reopen(self, seqs: Sequence[int], now_ms: int) -> list[Row]:  # noqa: ARG002
        """Make those of the jobs READY that are BURIED, DELAYED, DISCARDED or CANCELLED, as ``kick`` does."""
        return self._reopen(seqs, (State.BURIED, State.DELAYED, State.DISCARDED, State.CANCELLED))

    def _reopen(self, seqs: Sequence[int], states: Sequence[State]) -> list[Row]:
        rows = []
        for seq in set(seqs):
            entry = self._jobs.get(seq)
            if entry is None or entry.state not in states or (is_put(entry.row.uri) and entry.image is None):
                continue
            row = entry.row._replace(spent=entry.row.spent + max(1, entry.row.failures), failures=0)
            self._change(seq, _Entry(row, State.READY, None, None, None, entry.image))
            rows.append(row)
        return sorted(rows, key=lambda row: (row.priority, row.seq))

    def charge(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> bool:
        """Note one more failure of a job, ``failures`` with this one; it stays as it is. Return whether it is open."""
        entry = self._failed(seq, failures, reason, evidence, now_ms)
        if entry is not None:
            self._change(seq, entry)
        return entry is not None

    def postpone(
        self, seq: int, failures: int, due_ms: int, reason: str, evidence: Mapping[str, Any], now_ms: int
    ) -> bool:
        """Put an open job off until ``due_ms`` (wall clock), after a failure. Return whether it was open."""
        entry = self._failed(seq, failures, reason, evidence, now_ms)
        if entry is not None:
            self._change(seq, _Entry(entry.row, State.DELAYED, due_ms, None, None, entry.image))
        return entry is not None

    def bury(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> bool:
        """Close an open job as buried. Return whether it was open; the evidence is kept in any case."""
        entry = self._failed(seq, failures, reason, evidence, now_ms)
        if entry is not None:
            self._change(seq, _Entry(entry.row, State.BURIED, None, now_ms, reason, entry.image))
        return entry is not None

    def _failed(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> _Entry | None:
        """Keep the evidence; return the job as it is with so many failures, if it is open."""
        self._dirty = True
        self._evidence.append(Evidence(seq, now_ms, failures, reason, json.loads(plain_json(evidence))))
        entry = self._open(seq)
        return None if entry is None else entry._replace(row=entry.row._replace(failures=failures))

    def due(self, now_ms: int, limit: int = 1000) -> list[Row]:
        """Make up to ``limit`` DELAYED jobs READY whose time has come, and return them by (priority, seq)."""
        ripe = [(due_ms, seq) for due_ms, seq in self._delayed() if due_ms <= now_ms]
        rows = [self._jobs[seq].row for _, seq in sorted(ripe)[:limit]]
        for row in rows:
            self._change(row.seq, _Entry(row, State.READY, None, None, None, self._jobs[row.seq].image))
        return sorted(rows, key=lambda row: (row.priority, row.seq))

    def _delayed(self) -> list[tuple[int, int]]:
        if not self._counts[State.DELAYED]:
            return []
        return [(entry.due_ms, seq) for seq, entry in self._jobs.items() if entry.due_ms is not None]

    # -- questions

    def next_open(self, chain: int, after: tuple[int, int], limit: int) -> list[Row]:
        """Return up to ``limit`` READY jobs of a chain behind the place ``after`` = (priority, seq), in that order."""
        rows = (self._jobs[seq].row for _, seq in self._ready[bisect_right(self._ready, after) :])
        return list(islice((row for row in rows if row.chain == chain), limit))

    def aside(self, since_ms: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (seq, key) of up to ``limit`` jobs that were buried or cancelled since then, the latest first."""
        found = [
            (entry.settled_ms or 0, seq, entry.row.key)
            for seq, entry in self._jobs.items()
            if entry.state in (State.BURIED, State.CANCELLED) and (entry.settled_ms or 0) >= since_ms
        ]
        return [(seq, key) for _, seq, key in sorted(found, reverse=True)[:limit]]

    def next_due_ms(self) -> int | None:
        """Return when the next DELAYED job is due, by the wall clock; None when there is none."""
        return min((due_ms for due_ms, _ in self._delayed()), default=None)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each of the states that a ledger knows."""
        return dict(self._counts)

    def chain_counts(self) -> dict[int, dict[State, int]]:
        """Return the same for each chain, by its number; states without jobs may be missing."""
        found: dict[int, dict[State, int]] = {}
        for (chain, state), jobs in self._chain_counts.items():
            found.setdefault(chain, {})[state] = jobs
        return found

    def tallies(self) -> dict[str, Tally]:
        """Return what each worker did, by its name."""
        found: dict[str, Tally] = {}
        for seqs, event in self._history:
            if event.worker is not None and seqs:
                mine = found.setdefault(
                    event.worker, {"first_ms": event.at_ms, "last_ms": event.at_ms, "events": Counter()}
                )
                mine["first_ms"] = min(mine["first_ms"], event.at_ms)
                mine["last_ms"] = max(mine["last_ms"], event.at_ms)
                mine["events"][event.event] += len(seqs)
        return found

    def find(self, job: str) -> Found | None:
        """Return the row of the job with this number, key in hexadecimal, URI or path; of several the newest."""
        name = named(job)
        if name.uri is not None:
            seqs = [seq for seq, entry in self._jobs.items() if entry.row.uri == name.uri]
            seq = max(seqs, default=0)
        elif name.key is not None:
            seq = self._by_key.get(name.key, 0)
        else:
            seq = name.seq or 0
        entry = self._jobs.get(seq)
        if entry is None:
            return None
        row = entry.row
        text = self.chain_texts().get(row.chain, "")
        return Found(
            row.seq, row.key, row.uri, row.size, row.mtime_ns, row.priority, row.failures, text, row.accepted_ms,
            entry.state, entry.due_ms, entry.settled_ms, entry.reason, row.ttr_ms, row.attempts_max, row.spent,
        )  # fmt: skip

    def listed(
        self, state: State | None = None, limit: int = 100, *, pattern: str | None = None, chain: int | None = None
    ) -> list[Found]:
        """Return up to ``limit`` jobs, newest first; ``pattern`` is a GLOB over the whole URI."""
        seqs = sorted(self._sought(state, pattern, chain), reverse=True)
        return [found for seq in seqs[:limit] if (found := self.find(str(seq))) is not None]

    def pick(
        self, state: State | None, pattern: str | None, chain: int | None, after_seq: int, limit: int
    ) -> list[int]:
        """Return the numbers of up to ``limit`` such jobs above ``after_seq``, ascending."""
        return sorted(seq for seq in self._sought(state, pattern, chain) if seq > after_seq)[:limit]

    def _sought(self, state: State | None, pattern: str | None, chain: int | None) -> Iterator[int]:
        with closing(sqlite3.connect(":memory:")) as glob:  # only SQLite knows all that its GLOB means
            for seq, (row, its_state, *_) in self._jobs.items():
                fits = pattern is None or glob.execute("SELECT ? GLOB ?", (row.uri, pattern)).fetchone()[0]
                if fits and (state is None or its_state is state) and (chain is None or row.chain == chain):
                    yield seq

    def image(self, seq: int) -> bytes | None:
        """Return the bytes of an image that was put; None where there are none for this job."""
        entry = self._jobs.get(seq)
        return None if entry is None else entry.image

    # -- history

    def record(
        self, event: str, seqs: Sequence[int], at_ms: int, worker: str | None = None, lane: int | None = None,
        attempt: int | None = None, note: str | None = None,
    ) -> None:  # fmt: skip
        """Add one event to the history of all these jobs: ``at_ms`` is wall clock, ``event`` one word."""
        self._dirty = True
        self._history.append((frozenset(seqs), Happening(at_ms, event, worker, lane, attempt, note)))

    def story(self, seq: int) -> list[Happening]:
        """Return what happened to one job, in order."""
        return [happening for seqs, happening in self._history if seq in seqs]

    def evidence(self, seq: int) -> list[Evidence]:
        """Return what is known of each failure of one job, in order."""
        return [item for item in self._evidence if item.seq == seq]

    def chain_id(self, text: str) -> int:
        """Return the number of this chain, which is new if the ledger has not seen it."""
        if text not in self._chains:
            self._dirty = True
            self._chains[text] = len(self._chains) + 1
        return self._chains[text]

    def chain_texts(self) -> dict[int, str]:
        """Return every chain that the ledger has seen, by its number."""
        return {number: text for text, number in self._chains.items()}

    def recall(self, name: str) -> Any | None:
        """Return what was remembered under this name; None if nothing."""
        text = self._remembered.get(name)
        return None if text is None else json.loads(text)

    def remember(self, name: str, value: Any) -> None:
        """Keep plain data under this name; None forgets it."""
        self._dirty = True
        if value is None:
            self._remembered.pop(name, None)
        else:
            self._remembered[name] = json.dumps(value)
