"""How a ledger's file becomes a connection to one of our version: made, migrated, or refused."""

import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Any

from zgrid.errors import ForeignError, SettingsError
from zgrid.store import sqlite
from zgrid.store.trouble import damaged, explained
from zgrid.store.wal import lost_commits, wal_of

SCHEMA = 2
"""The version of ``schema.sql``. To change it: first write the migration from the one before, ``migrations/N.sql``."""

APPLICATION_ID = int.from_bytes(b"zgLd")
"""In the file's header (``PRAGMA application_id``), so that nothing else is taken for a ledger."""

LEDGER_ID_BYTES = 16

NAMES = frozenset({"schema", "ledger_id"})
"""What stands in ``meta`` beside what the ventilator remembers."""

MAGIC = b"SQLite format 3\0"


def opened(path: Path) -> sqlite3.Connection:
    """Return a connection to the ledger at ``path``, which is made if it is not there.

    Raises SettingsError where it is something else or a newer zgrid's, DamagedError, and StoreError where the disk
    refuses.
    """
    refuse_strangers(path)
    with explained(path):
        db = sqlite3.connect(path, timeout=sqlite.BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            _set_up(db, path)
        except BaseException:
            db.close()
            raise
    return db


def refuse_strangers(path: Path) -> None:
    """Raise ForeignError where the file is plainly no ledger, DamagedError where it plainly was a better one.

    SQLite alone would take an empty file for a new one, and pass over what it cannot read of a log.
    """
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        head = b""
    except IsADirectoryError:
        raise ForeignError(f"{path} is a folder: name a file in it") from None
    except OSError:
        return  # SQLite will say why it cannot be read
    log = wal_of(path)
    if repaired_of(path).exists():
        raise damaged(path, "a repair of it was ended in the middle")
    if head.startswith(MAGIC):
        if lost := lost_commits(path):
            raise damaged(path, f"{lost} commits in {log.name} cannot be read")
    elif head:
        if head[68:72] != APPLICATION_ID.to_bytes(4) and head.strip(b"\0"):
            raise ForeignError(f"{path} is no ledger: name another file")
        raise damaged(path, "its header is overwritten")
    elif log.exists() and log.stat().st_size:
        raise damaged(path, f"there is nothing in it, but {log.name} is not empty")


def must_exist(path: Path) -> None:
    """Raise SettingsError where no ledger is at ``path``, nor a repaired one that waits to take its place.

    An empty file is one for nobody but a ventilator that begins.
    """
    if not path.name:
        raise SettingsError(f"{str(path)!r} is no file: name the ledger's file")
    try:
        is_empty = not path.stat().st_size and not wal_of(path).exists()
    except (FileNotFoundError, NotADirectoryError):
        is_empty = False
        if not repaired_of(path).exists():
            raise SettingsError(f"{path} is not there: name the ledger's file") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}): name a ledger that you may read") from None
    if is_empty and not repaired_of(path).exists():
        raise ForeignError(f"{path} is empty, so it is no ledger: name another file")


def repaired_of(path: Path) -> Path:
    """Return where a repaired ledger is, whole, until it takes the place of ``path``."""
    return path.with_name(path.name + ".repaired")


def _set_up(db: sqlite3.Connection, path: Path) -> None:
    schema = schema_of(db, path)
    set_up(db)
    if not schema:
        _make(db)
    for version in range(schema + 1, SCHEMA + 1) if schema else ():
        db.executescript(f"BEGIN IMMEDIATE; {_script(f'migrations/{version}.sql')} COMMIT")


def set_up(db: sqlite3.Connection) -> None:
    """Make a new connection to a ledger durable. Raises sqlite3.Error where the file cannot be written."""
    sqlite.set_up(db)
    db.execute("PRAGMA secure_delete = FAST").close()  # ON, some systems' default, writes an image that goes once more


def schema_of(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of the ledger's tables; 0 where there is nothing yet. Raises as ``opened`` does."""
    tables = _value(db, "SELECT count(*) FROM sqlite_schema")
    is_ours = _value(db, "PRAGMA application_id") == APPLICATION_ID
    if tables and not is_ours:
        raise ForeignError(f"{path} is a database of something else: name another file")
    if not tables:
        if is_ours or _value(db, "PRAGMA page_count") > 1:
            raise damaged(path, "its tables are gone")
        return 0
    schema = _meta(db, path, "schema")
    if type(schema) is not int or schema < 1:
        raise damaged(path, f"its schema is {schema}")
    if schema > SCHEMA:
        raise SettingsError(
            f"the ledger {path} has schema {schema}, but this zgrid knows {SCHEMA}: use the zgrid that made it"
        )
    return schema


def _make(db: sqlite3.Connection) -> None:
    db.executescript(f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; {_script('schema.sql')}")
    meta = [("schema", SCHEMA), ("ledger_id", os.urandom(LEDGER_ID_BYTES))]
    db.executemany("INSERT INTO meta VALUES (?, ?)", meta)
    db.execute("COMMIT")


def ledger_id(db: sqlite3.Connection, path: Path) -> bytes:
    """Return the 16 random bytes that the sinks know this ledger by."""
    found = _meta(db, path, "ledger_id")
    if type(found) is not bytes or len(found) != LEDGER_ID_BYTES:
        raise damaged(path, "its identity is gone")
    return found


def _meta(db: sqlite3.Connection, path: Path, name: str) -> Any:
    try:
        return _value(db, "SELECT value FROM meta WHERE name = ?", name)
    except sqlite3.OperationalError as error:
        if sqlite.is_damage(error) or error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        raise damaged(path, str(error)) from error  # no such table


def _script(name: str) -> str:
    return resources.files("zgrid.store").joinpath(name).read_text("utf-8")


def _value(db: sqlite3.Connection, statement: str, *values: Any) -> Any:
    row = db.execute(statement, values).fetchone()
    return None if row is None else row[0]
