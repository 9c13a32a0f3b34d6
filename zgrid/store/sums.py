"""How many jobs are in each state, and what each worker did: kept in memory, and written once for each commit."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable

from zgrid.protocol.job import OPEN, State
from zgrid.store import statements
from zgrid.store.rows import KEPT, Tally


class Sums:
    """The sums of one ledger, with what its open transaction adds to them.

    ``closed``: how many jobs came into each closed state since it was opened, as far as that is committed.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.by_state: dict[State, int] = dict.fromkeys(KEPT, 0)
        self._by_chain: dict[State, dict[int, int]] = {state: {} for state in KEPT}
        self._moved: Counter[tuple[int, State]] = Counter()
        self.closed: Counter[State] = Counter()
        self._tallied: dict[tuple[str, str], tuple[int, int, int]] = {}
        for chain, number, jobs in db.execute(statements.COUNTS):
            state = State(number)
            self._by_chain[state][chain] = jobs
            self.by_state[state] += jobs

    def add(self, chain: int, state: State, jobs: int) -> None:
        """Count so many jobs of a chain more (or fewer) in a state."""
        if jobs:
            self.by_state[state] += jobs
            mine = self._by_chain[state]
            mine[chain] = mine.get(chain, 0) + jobs
            self._moved[chain, state] += jobs

    def chains_in(self, state: State) -> list[int]:
        """Return the chains that have jobs in a state."""
        return [chain for chain, jobs in self._by_chain[state].items() if jobs]

    def by_chain(self) -> dict[int, dict[State, int]]:
        """Return the number of jobs by chain and state."""
        return by_chain((chain, state, jobs) for state, mine in self._by_chain.items() for chain, jobs in mine.items())

    def tally(self, worker: str, event: str, jobs: int, at_ms: int) -> None:
        """Add what a worker did."""
        known = self._tallied.get((worker, event))
        if known is None:
            self._tallied[worker, event] = jobs, at_ms, at_ms
        else:
            before, first_ms, last_ms = known
            self._tallied[worker, event] = before + jobs, min(first_ms, at_ms), max(last_ms, at_ms)

    def tallies(self, db: sqlite3.Connection) -> dict[str, Tally]:
        """Return what each worker did, with what is not written yet."""
        unwritten = ((*names, *values) for names, values in self._tallied.items())
        return tallies([*db.execute(statements.TALLIES), *unwritten])

    def write(self, db: sqlite3.Connection) -> None:
        """Add what is new to the tables, in the transaction that is open; ``written`` or ``undo`` follows."""
        if self._moved:
            db.executemany(statements.COUNT, [(*place, jobs) for place, jobs in self._moved.items() if jobs])
        if self._tallied:
            db.executemany(statements.TALLY, [(*names, *values) for names, values in self._tallied.items()])

    def written(self) -> None:
        """The transaction is committed."""
        for (_, state), jobs in self._moved.items():
            if jobs > 0 and state not in OPEN:
                self.closed[state] += jobs
        self._forget()

    def undo(self) -> None:
        """The transaction is rolled back. Nothing is read for that: the disk may be what failed."""
        for (chain, state), jobs in self._moved.items():
            self.by_state[state] -= jobs
            self._by_chain[state][chain] -= jobs
        self._forget()

    def _forget(self) -> None:
        self._moved.clear()
        self._tallied.clear()


def by_chain(rows: Iterable[tuple[int, int, int]]) -> dict[int, dict[State, int]]:
    """Return rows of (chain, state, jobs) as jobs by chain and state."""
    chains: defaultdict[int, dict[State, int]] = defaultdict(dict)
    for chain, state, jobs in rows:
        chains[chain][State(state)] = jobs
    return dict(chains)


def tallies(rows: Iterable[tuple[str, str, int, int, int]]) -> dict[str, Tally]:
    """Return rows of (worker, event, jobs, first_ms, last_ms) by worker; of one worker and event twice, both count."""
    found: dict[str, Tally] = {}
    for worker, event, jobs, first_ms, last_ms in rows:
        mine = found.setdefault(worker, {"first_ms": first_ms, "last_ms": last_ms, "events": {}})
        mine["first_ms"] = min(mine["first_ms"], first_ms)
        mine["last_ms"] = max(mine["last_ms"], last_ms)
        mine["events"][event] = mine["events"].get(event, 0) + jobs
    return found
