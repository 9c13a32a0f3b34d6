"""Taking the one place for writing to a ledger, which a ventilator and a prune may want at the same time."""

import sqlite3
from time import monotonic, sleep

LOOK_S = 0.0005
"""Between two tries. SQLite's own way of waiting grows to a tenth of a second, and misses the gaps between turns."""


def begin(db: sqlite3.Connection, patience_s: float) -> None:
    """Begin a transaction that writes, as soon as nobody else has one. The connection's ``busy_timeout`` is 0.

    Raises sqlite3.OperationalError (SQLITE_BUSY) where that takes longer than ``patience_s``, and what else goes wrong.
    """
    deadline: float | None = None
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            now = monotonic()
            deadline = deadline or now + patience_s
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or now > deadline:
                raise
            sleep(LOOK_S)
        else:
            return


def impatient(db: sqlite3.Connection) -> None:
    """Make a connection ready for ``begin``."""
    db.execute("PRAGMA busy_timeout = 0").close()
