"""The sink's results in SQL: SQLite by default, PostgreSQL by URL. ``tables.py`` has the tables.

It may be called from any thread, but from one at a time.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from zgrid.errors import SettingsError, StoreError
from zgrid.store import sqlite, tables
from zgrid.store.batches import Batches, PostgresqlBatches, Rows, SqliteBatches
from zgrid.store.lock import FileLock
from zgrid.store.tables import FaceRow, ImageRow, Sheet, joined

_MAKING = 0x7A67726964
"""PostgreSQL's advisory lock while the tables are made: "zgrid" as a number."""


def nothing(_: str) -> None:
    """Do nothing at a step: what the store does unless a test asks for more."""


class Results:
    """The database at ``url``, whose tables are made if they are not there.

    ``at_step`` is called with a name before each step of an insert. Raises SettingsError where the URL cannot work, the
    file is in use by another sink, or the tables are a newer zgrid's; StoreError where the database refuses.
    """

    def __init__(self, url: str, at_step: Callable[[str], None] = nothing) -> None:
        self._at_step = at_step
        self._url = _checked(url)
        self.name = self._url.render_as_string(hide_password=True)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._lock: FileLock | None = None
        if self._is_sqlite:
            sqlite.check_version()
            path = Path(str(self._url.database))
            self._lock = FileLock(
                path.with_name(path.name + ".lock"),
                f"another sink uses the database {path}: stop it, or name another with --db",
            )
        self._engine = self._connect()
        self._batches: Batches = SqliteBatches() if self._is_sqlite else PostgresqlBatches(self._engine.dialect)
        try:
            with self._errors(), self._engine.begin() as db:
                self._prepare(db)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Engine:
        options: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}
        if self._is_sqlite:
            options["connect_args"] = {"timeout": sqlite.BUSY_TIMEOUT_S}
        else:
            options["pool_pre_ping"] = True  # a server that was restarted in between is not an error
        try:
            engine = create_engine(self._url, **options)
        except ModuleNotFoundError as error:
            raise SettingsError(f"{self.name} needs the driver {error.name}: pip install 'zgrid[postgres]'") from error
        if self._is_sqlite:
            event.listen(engine, "connect", _set_up)
        return engine

    def _prepare(self, db: Connection) -> None:
        """Make the tables in one transaction, so that a kill leaves none of them; or check their version."""
        if self._is_sqlite:
            db.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver would begin only at the first INSERT
        else:
            db.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        there = set(inspect(db).get_table_names())
        if tables.schema_version.name in there:
            version = db.execute(tables.schema_version.select()).scalar()
            if version != tables.SCHEMA:
                raise SettingsError(
                    f"{self.name} has schema {version}, but this zgrid knows {tables.SCHEMA}: use that which made it"
                )
            return
        if there & set(tables.metadata.tables):
            raise SettingsError(f"{self.name} has a table images or faces of something else: name another with --db")
        tables.metadata.create_all(db)
        db.execute(tables.schema_version.insert().values(version=tables.SCHEMA))

    def close(self) -> None:
        """Close the database, and let other sinks use it; a second time does nothing."""
        if self._is_sqlite and self._lock is not None and self._lock.held:
            try:
                with self._errors(), self._engine.connect() as db:
                    db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            except StoreError:
                pass  # the WAL is read at the next start
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = error.orig if isinstance(error, DBAPIError) else None
            if self._is_sqlite and isinstance(cause, sqlite3.Error):
                raise sqlite.refusal(cause, Path(str(self._url.database))) from error
            what = " ".join(str(cause or error).split())
            raise StoreError(f"the database {self.name} refuses ({what}): see that it runs and has space") from error

    # -- questions

    def known(self, rows: Sequence[ImageRow]) -> set[bytes]:
        """Return the keys of those rows that are stored already."""
        return {bytes.fromhex(key) for key in self._ask("known", self._batches.asked(rows))}

    def stored(self, ledger: bytes, seqs: Sequence[int]) -> set[bytes]:
        """Return the keys of what is stored under those numbers of a ledger.

        After a ledger was restored from an older copy, a number may mean another image than it did: compare the key. A
        result that another ledger's job brought is not found: that job's own result is taken for known when it comes.
        """
        return {bytes.fromhex(key) for key in self._ask("stored", [(seq,) for seq in seqs], ledger)}

    def named(self, pictures: Sequence[str]) -> set[str]:
        """Return those of the pictures (relative paths) that a row names."""
        return set(self._ask("named", [(picture,) for picture in pictures]))

    def _ask(self, name: str, asked: Rows, *values: Any) -> Iterator[str]:
        """Yield what is found of all that is asked for; ``values`` stand in front of it in the statement."""
        with self._errors(), self._engine.connect() as db:
            for statement, flat in self._batches.of(name, asked, *values):
                found = db.exec_driver_sql(statement, flat).scalar()
                yield from found.split(",") if found else ()

    # -- inserts

    def insert(self, rows: Sequence[ImageRow], faces: Sequence[FaceRow]) -> None:
        """Insert rows in one transaction, on disk when this returns; those that are there already stay as they are."""
        with self._errors(), self._engine.begin() as db:
            self._at_step("insert rows")
            for statement, flat in chain(self._batches.of("images", rows), self._batches.of("faces", faces)):
                db.exec_driver_sql(statement, flat)
            self._at_step("commit")

    def insert_new(self, sheets: Iterable[Sheet]) -> bool:
        """Insert rows in one transaction if all of them are new; else insert nothing and return false.

        That is what nearly every batch is, and it spares asking first which of them are known.
        """
        with self._errors(), self._engine.connect() as db, db.begin() as transaction:
            self._at_step("insert rows")
            for sheet in joined(sheets):
                inserted = sum(db.exec_driver_sql(*batch).rowcount for batch in self._batches.of_sheet(sheet))
                if inserted != len(sheet):
                    transaction.rollback()
                    return False
            self._at_step("commit")
        return True


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as error:
        raise SettingsError(
            f"{url!r} is no database URL: write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        ) from error
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise SettingsError(f"{backend} is not supported: write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:") or parsed.query:
        raise SettingsError(
            "results must be kept on disk: write sqlite:///FILE, with the path of a file and no options"
        )
    return parsed.set(drivername="sqlite")


def _set_up(db: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    sqlite.set_up(db)
