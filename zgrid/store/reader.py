"""A ledger seen from another thread while its ventilator writes: what is committed, over a connection of its own.

In WAL mode readers and the writer do not wait for each other.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from zgrid.errors import StoreError
from zgrid.protocol.job import State
from zgrid.store import sqlite, statements
from zgrid.store.questions import Questions
from zgrid.store.rows import KEPT, Tally
from zgrid.store.sums import by_chain, tallies
from zgrid.store.trouble import explained

_STEPS = 20_000
"""Of SQLite's machine between two looks at the clock: about a millisecond."""


class LedgerReader(Questions):
    """Answers questions about the ledger in the file ``path``, which is there. One thread uses it at a time.

    A question that takes longer than ``seconds_max`` ends with StoreError. Raises StoreError where it cannot be read.
    """

    def __init__(self, path: Path | str, seconds_max: float | None = None) -> None:
        self.path = Path(path)
        self._seconds_max = seconds_max
        self._deadline = 0.0
        with explained(self.path):
            self._db = connected(self.path)
            if seconds_max is not None:
                self._db.set_progress_handler(self._is_late, _STEPS)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each of the states that a ledger knows."""
        found = dict.fromkeys(KEPT, 0)
        for states in self.chain_counts().values():
            for state, jobs in states.items():
                found[state] += jobs
        return found

    def chain_counts(self) -> dict[int, dict[State, int]]:
        """Return the same for each chain, by its number; states without jobs may be missing."""
        with self._asking():
            return by_chain(self._db.execute(statements.COUNTS))

    def tallies(self) -> dict[str, Tally]:
        """Return what each worker did, by its name."""
        with self._asking():
            return tallies(self._db.execute(statements.TALLIES))

    def chain_texts(self) -> dict[int, str]:
        """Return every chain that the ledger has seen, by its number."""
        with self._asking():
            return dict(self._db.execute("SELECT id, text FROM chains"))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def interrupt(self) -> None:
        """Have the question that is under way end with StoreError; from any thread."""
        self._db.interrupt()

    def _is_late(self) -> bool:
        return monotonic() > self._deadline

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._deadline = monotonic() + (self._seconds_max or 0.0)
        with explained(self.path):
            try:
                yield
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
                raise StoreError(
                    f"the search took longer than {self._seconds_max:g} s: narrow it, to fewer jobs or a state"
                ) from error


def connected(path: Path) -> sqlite3.Connection:
    """Return a connection that can only read. Raises sqlite3.Error where the file is not there."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", timeout=sqlite.BUSY_TIMEOUT_S, isolation_level=None,
        check_same_thread=False, uri=True,
    )  # fmt: skip
