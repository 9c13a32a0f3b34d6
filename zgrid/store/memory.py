"""The ledger in dicts, for the simulator and for tests; its ``crash`` loses what was not committed."""

import json
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zgrid.protocol.job import CLOSED, Offer, State, job_key
from zgrid.protocol.window import Row
from zgrid.store.rows import Evidence, Found, Happening, JobLedger, named, plain_json

_KEPT = tuple(state for state in State if state < State.SENT)


class _Entry(NamedTuple):
    row: Row
    state: State
    due_ms: int | None
    settled_ms: int | None
    reason: str | None


class MemoryLedger(JobLedger):
    """Keeps the seam ``JobLedger``, and can crash."""

    def __init__(self, ledger_id: bytes = b"ledger in memory") -> None:
        self.ledger_id = ledger_id
        self._jobs: dict[int, _Entry] = {}
        self._by_key: dict[bytes, int] = {}
        self._ready: list[tuple[int, int]] = []
        self._counts: Counter[State] = Counter(dict.fromkeys(_KEPT, 0))
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

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        for seq, entry in reversed(self._before.items()):
            self._put(seq, entry)
        self._before.clear()
        chains, history, evidence = self._durable_lengths
        self._chains = dict(list(self._chains.items())[:chains])
        del self._history[history:]
        del self._evidence[evidence:]
        self._dirty = False

    def crash(self) -> None:
        """Lose what was not committed, as a power cut would; then it is what a ledger is after a restart."""
        self.rollback()

    def close(self) -> None:
        """Undo what was not committed."""
        self.rollback()

    def _change(self, seq: int, entry: _Entry) -> None:
        self._dirty = True
        self._before.setdefault(seq, self._jobs.get(seq))
        self._put(seq, entry)

    def _put(self, seq: int, entry: _Entry | None) -> None:
        old = self._jobs.get(seq)
        if old is not None:
            self._counts[old.state] -= 1
            if old.state is State.READY:
                del self._ready[bisect_right(self._ready, (old.row.priority, seq)) - 1]
        if entry is None:
            del self._by_key[self._jobs.pop(seq).row.key]
            return
        self._jobs[seq] = entry
        self._by_key[entry.row.key] = seq
        self._counts[entry.state] += 1
        if entry.state is State.READY:
            insort(self._ready, (entry.row.priority, seq))

    def _open(self, seq: int) -> _Entry | None:
        entry = self._jobs.get(seq)
        return None if entry is None or entry.state in CLOSED else entry

    # -- jobs

    def accept(
        self, offers: Sequence[Offer], chain: int, now_ms: int, priority: int = 0, due_ms: int | None = None
    ) -> list[Row]:
        """Enter the offers that are new and return them as rows, in order; known ones are passed over."""
        rows: list[Row] = []
        state = State.READY if due_ms is None else State.DELAYED
        for offer in offers:
            key = job_key(*offer)
            if key not in self._by_key:
                row = Row(next(reversed(self._jobs), 0) + 1, key, *offer, priority, 0, chain, now_ms)
                self._change(row.seq, _Entry(row, state, due_ms, None, None))
                rows.append(row)
        return rows

    def settle(self, seqs: Sequence[int], state: State, now_ms: int, reason: str | None = None) -> int:
        """Close those of the jobs that are open, and return how many those were. ``state`` is a closed one."""
        assert state in CLOSED, f"{state} does not close a job"
        changed = 0
        for seq in seqs:
            entry = self._open(seq)
            if entry is not None:
                self._change(seq, _Entry(entry.row, state, None, now_ms, reason))
                changed += 1
        return changed

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
            self._change(seq, _Entry(entry.row, State.DELAYED, due_ms, None, None))
        return entry is not None

    def bury(self, seq: int, failures: int, reason: str, evidence: Mapping[str, Any], now_ms: int) -> bool:
        """Close an open job as buried. Return whether it was open; the evidence is kept in any case."""
        entry = self._failed(seq, failures, reason, evidence, now_ms)
        if entry is not None:
            self._change(seq, _Entry(entry.row, State.BURIED, None, now_ms, reason))
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
            self._change(row.seq, _Entry(row, State.READY, None, None, None))
        return sorted(rows, key=lambda row: (row.priority, row.seq))

    def _delayed(self) -> list[tuple[int, int]]:
        if not self._counts[State.DELAYED]:
            return []
        return [(entry.due_ms, seq) for seq, entry in self._jobs.items() if entry.due_ms is not None]

    # -- questions

    def next_open(self, after: tuple[int, int], limit: int) -> list[Row]:
        """Return up to ``limit`` READY jobs behind the place ``after`` = (priority, seq), in that order."""
        start = bisect_right(self._ready, after)
        return [self._jobs[seq].row for _, seq in self._ready[start : start + limit]]

    def next_due_ms(self) -> int | None:
        """Return when the next DELAYED job is due, by the wall clock; None when there is none."""
        return min((due_ms for due_ms, _ in self._delayed()), default=None)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each of the states that a ledger knows."""
        return dict(self._counts)

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
            entry.state, entry.due_ms, entry.settled_ms, entry.reason,
        )  # fmt: skip

    def listed(self, state: State, limit: int) -> list[Found]:
        """Return up to ``limit`` jobs in a state, newest first."""
        seqs = sorted((seq for seq, entry in self._jobs.items() if entry.state is state), reverse=True)
        return [found for seq in seqs[:limit] if (found := self.find(str(seq))) is not None]

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
