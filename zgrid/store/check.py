"""Whether a ledger is what it should be: its file, its indexes, and what its tables say of each other.

Nothing is changed, and a ventilator may run meanwhile: all is read as it was at one moment.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from zgrid.errors import DamagedError
from zgrid.protocol.job import job_key
from zgrid.store import opening, sqlite, statements
from zgrid.store.reader import connected
from zgrid.store.spool import is_whole
from zgrid.store.trouble import explained
from zgrid.store.wal import wal_of

SENTENCES_MAX = 20
"""Of SQLite's own check, and of each of ours: who has more should repair and not read."""

_BATCH = 10_000


def check(path: Path) -> list[str]:
    """Return what is wrong with the ledger at ``path``, in sentences; none where all is well.

    Raises SettingsError where it is no ledger or not there, StoreError where it cannot be read now.
    """
    opening.must_exist(path)
    found: list[str] = []
    try:
        opening.refuse_strangers(path)
        with explained(path), closing(_looking(path)) as db:
            db.execute("BEGIN")
            found.extend(_found(db, path))
    except DamagedError as error:  # what was found before is in the list
        found.append(error.what)
    return found


def _looking(path: Path) -> sqlite3.Connection:
    """Return a connection that leaves no trace: without a log nobody writes, and the file is read as it stands."""
    if wal_of(path).exists():
        return connected(path)
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", isolation_level=None, uri=True)


def _found(db: sqlite3.Connection, path: Path) -> Iterator[str]:
    schema = opening.schema_of(db, path)
    if not schema:
        return  # there is nothing in it yet
    opening.ledger_id(db, path)
    yield from _damage_of_file(db)
    for sentence, statement in CHECKS + (CHECKS_SINCE_2 if schema > 1 else []):
        for row in db.execute(f"{statement} LIMIT {SENTENCES_MAX}"):
            yield sentence.format(*row)
    real: Counter[tuple[int, int]] = Counter()
    yield from _wrong_keys(db, real)
    if schema > 1:
        yield from _wrong_counts(db, real)
        yield from _wrong_images(db)


def _damage_of_file(db: sqlite3.Connection) -> Iterator[str]:
    try:
        for (line,) in db.execute(f"PRAGMA integrity_check({SENTENCES_MAX})"):
            if line != "ok":
                yield f"the file: {' '.join(line.split())}"
    except sqlite3.DatabaseError as error:
        if not sqlite.is_damage(error):
            raise
        yield f"the file: {error}"


def _wrong_keys(db: sqlite3.Connection, real: Counter[tuple[int, int]]) -> Iterator[str]:
    """A job's key is a digest of what it is made of, so each proves itself. Also count the jobs by chain and state."""
    told = 0
    rows = db.execute("SELECT chain, state, key, uri, size, mtime_ns, seq FROM jobs")
    while some := rows.fetchmany(_BATCH):
        real.update(row[:2] for row in some)
        for *_, key, uri, size, mtime_ns, seq in some:
            if key != job_key(uri, size, mtime_ns) and told < SENTENCES_MAX:
                told += 1
                yield f"job {seq} has not the key of its source"


def _wrong_counts(db: sqlite3.Connection, real: Counter[tuple[int, int]]) -> Iterator[str]:
    """All jobs were counted, and of those that were pruned it is known how many they are."""
    expected = Counter({(chain, state): jobs for chain, state, jobs in db.execute(statements.COUNTS)})
    expected.subtract({(chain, state): jobs for chain, state, jobs in db.execute(statements.PRUNED)})
    for chain, state in sorted(expected | real):
        jobs, counted = real[chain, state], expected[chain, state]
        if jobs != counted:
            yield f"of chain {chain} there are {jobs} jobs in state {state}, but {counted} were counted"


def _wrong_images(db: sqlite3.Connection) -> Iterator[str]:
    for seq, uri, image in db.execute("SELECT seq, uri, image FROM spool JOIN jobs USING (seq)"):
        if not is_whole(uri, image):
            yield f"the image of job {seq} is not what was put"


CHECKS = [
    ("job {0} has the state {1}, which does not exist", "SELECT seq, state FROM jobs WHERE state NOT BETWEEN 0 AND 5"),
    ("job {0} is delayed, but until no time", "SELECT seq FROM jobs WHERE state = 1 AND due_ms IS NULL"),
    (
        "job {0} has the chain {1}, whose text is not there",
        "SELECT seq, chain FROM jobs WHERE chain NOT IN (SELECT id FROM chains)",
    ),
    (
        "line {0} of the history names jobs of another block than its own",
        "SELECT id FROM history WHERE block <> first >> 12 OR block <> last >> 12 OR last < first",
    ),
    ("evidence {0} cannot be read", "SELECT id FROM evidence WHERE NOT json_valid(detail)"),
    (
        "what is remembered as {0} cannot be read",
        "SELECT name FROM meta WHERE name NOT IN ('schema', 'ledger_id') AND NOT json_valid(value)",
    ),
]
"""What is wrong in sentences, and the rows of which it is true."""

CHECKS_SINCE_2 = [
    (
        "an image is kept of job {0}, which is not there",
        "SELECT seq FROM spool WHERE seq NOT IN (SELECT seq FROM jobs)",
    ),
    (
        "an image is kept of job {0}, which is closed for good",
        "SELECT seq FROM spool JOIN jobs USING (seq) WHERE state IN (2, 3, 5)",
    ),
    (
        "the image of job {0} is not there",
        "SELECT seq FROM jobs WHERE uri GLOB 'put:*' AND state IN (0, 1) AND seq NOT IN (SELECT seq FROM spool)",
    ),
]
