"""What the ledger and the results have in common as SQLite files: how they are opened, and what their errors mean."""

import sqlite3
from contextlib import suppress
from pathlib import Path

from zgrid.errors import SettingsError

VERSION_MIN = (3, 38, 0)
"""The first with STRICT tables (3.37) and with the JSON functions always built in (3.38)."""

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "cache_size=-16384", "journal_size_limit=67108864")
"""WAL and FULL: a commit is one fsync, and survives a power cut. 16 MB of pages at most are kept in memory."""

BUSY_TIMEOUT_S = 5.0
"""How long to wait for somebody who holds the file's own lock, such as an administrator's ``sqlite3``."""


def check_version() -> None:
    """Raise SettingsError where Python's SQLite is older than what we need."""
    if sqlite3.sqlite_version_info < VERSION_MIN:
        raise SettingsError(
            f"Python's SQLite is {sqlite3.sqlite_version}, but zgrid needs {VERSION_MIN[0]}.{VERSION_MIN[1]} or later: "
            "use another Python"
        )


def set_up(db: sqlite3.Connection) -> None:
    """Make a new connection durable. Raises sqlite3.Error where the file is damaged or cannot be written."""
    for pragma in PRAGMAS:
        db.execute(f"PRAGMA {pragma}").close()


def close(db: sqlite3.Connection) -> None:
    """Close a connection after moving the WAL into the file, as far as the disk lets us."""
    with suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    db.close()


def sentence(error: BaseException, path: Path) -> str:
    """Say in one sentence what an error of SQLite means for ``path`` and what to do about it."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    meanings = {
        sqlite3.SQLITE_FULL: f"no space is left for {path}: free some on its disk, then start again",
        sqlite3.SQLITE_READONLY: f"{path} is read-only: let this user write to it and to its folder",
        sqlite3.SQLITE_CANTOPEN: f"{path} cannot be opened: check that its folder exists and may be written to",
        sqlite3.SQLITE_NOTADB: f"{path} is damaged, or no SQLite database: restore a copy of it, or name another file",
        sqlite3.SQLITE_CORRUPT: f"{path} is damaged: restore a copy of it, or move it away to start with an empty one",
        sqlite3.SQLITE_IOERR: f"the disk failed under {path} ({error}): look at the system's log, then start again",
        sqlite3.SQLITE_BUSY: f"{path} is locked by another program: close that, then start again",
        sqlite3.SQLITE_LOCKED: f"{path} is locked by another program: close that, then start again",
    }
    return meanings.get(code, f"{path} refused a statement ({error}): see whether it is a file of zgrid's")
