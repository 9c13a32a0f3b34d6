"""What the ledger and the results have in common as SQLite files: how they are opened, and what their errors mean."""

import sqlite3
from contextlib import suppress
from pathlib import Path

from zgrid.errors import DamagedError, FullError, SettingsError, StoreError

VERSION_MIN = (3, 38, 0)
"""The first with STRICT tables (3.37) and with the JSON functions always built in (3.38)."""

CACHE_BYTES = 16 << 20
"""How much of a file SQLite may keep in memory: it grows with the file until then, and is flat from there on."""

WAL_PAGES = 4000
"""So many pages are moved from the WAL into the file at once: 16 MB, four times SQLite's default. What many commits
have changed is then moved once, which spared a fiftieth of what a job takes."""

PRAGMAS = (
    "journal_mode=WAL", "synchronous=FULL", f"cache_size=-{CACHE_BYTES >> 10}", "journal_size_limit=67108864",
    f"wal_autocheckpoint={WAL_PAGES}",
)  # fmt: skip
"""WAL and FULL: a commit is one fsync, and survives a power cut. The size of the cache is in KiB, as its sign says."""

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
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}").close()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    db.close()


def is_damage(error: BaseException) -> bool:
    """Whether an error of SQLite says that the file itself is damaged; then trying again changes nothing."""
    if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return True
    return str(error).startswith("Could not decode to UTF-8")  # found by Python, which gives it no code


def refusal(error: BaseException, path: Path) -> StoreError:
    """Return what an error of SQLite means for ``path``, as an error of ours."""
    if is_damage(error):
        return DamagedError(sentence(error, path))
    return (FullError if _code(error) == sqlite3.SQLITE_FULL else StoreError)(sentence(error, path))


def sentence(error: BaseException, path: Path) -> str:
    """Say in one sentence what an error of SQLite means for ``path`` and what to do about it."""
    code = _code(error)
    meanings = {
        sqlite3.SQLITE_FULL: f"no space is left for {path}: free some on its disk, which is full",
        sqlite3.SQLITE_READONLY: f"{path} is read-only: let this user write to it and to its folder",
        sqlite3.SQLITE_CANTOPEN: f"{path} cannot be opened: check that its folder exists and may be written to",
        sqlite3.SQLITE_NOTADB: f"{path} is damaged, or no SQLite database: restore a copy of it, or name another file",
        sqlite3.SQLITE_CORRUPT: f"{path} is damaged: restore a copy of it, or move it away to start with an empty one",
        sqlite3.SQLITE_IOERR: f"the disk failed under {path} ({error}): look at the system's log",
        sqlite3.SQLITE_BUSY: f"{path} is locked by another program: close that",
        sqlite3.SQLITE_LOCKED: f"{path} is locked by another program: close that",
    }
    return meanings.get(code, f"{path} refused a statement ({error}): see whether it is a file of zgrid's")


def _code(error: BaseException) -> int:
    """Return SQLite's primary code of an error, 0 for none."""
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return sqlite3.SQLITE_FULL  # the index of a WAL cannot grow: that is all a full disk says of it
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
