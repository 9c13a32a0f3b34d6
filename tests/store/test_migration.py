"""Ledgers of earlier versions: opened by this one they become what this one makes, with all that was in them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from zgrid.errors import StoreError
from zgrid.protocol.job import Offer, State, job_key
from zgrid.store.check import check
from zgrid.store.ledger import Ledger
from zgrid.store.opening import APPLICATION_ID, SCHEMA
from zgrid.store.repair import repair

OLD = Path(__file__).parent / "old"
NOW = 1_700_000_000_000


def old_ledger(path, chains=("faces",)):
    """Make a ledger of version 1: two jobs in each state, of the chains in turn, and some history."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; {(OLD / 'schema_1.sql').read_text()}")
        db.executemany("INSERT INTO meta VALUES (?, ?)", [("schema", 1), ("ledger_id", b"0123456789abcdef")])
        db.executemany("INSERT INTO chains (text) VALUES (?)", [(text,) for text in chains])
        for seq in range(1, 13):
            uri, state = f"file:///{seq}", (seq - 1) % 6
            db.execute(
                "INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    seq, job_key(uri, seq, seq), uri, seq, seq, 1 + seq % max(1, len(chains)), 0, 0, NOW, state,
                    NOW if state == 1 else None, NOW if state > 1 else None, None,
                ),
            )  # fmt: skip
        db.execute("UPDATE counts SET jobs = 2")
        insert = "INSERT INTO history (at_ms, event, worker, block, first, last, seqs) VALUES (?, ?, ?, 0, ?, ?, ?)"
        db.execute(insert, (NOW, "accepted", None, 1, 12, None))
        db.execute(insert, (NOW + 1, "sent", "w1", 1, 12, None))
        db.execute(insert, (NOW + 9, "sent", "w1", 3, 7, b"\0\0\4\0"))
        db.execute(insert, (NOW + 5, "stored", "w2", 3, 3, None))


@pytest.mark.parametrize("chains", [(), ("faces",), ("faces", "null")], ids=["no chain", "one chain", "two chains"])
def test_version_1_is_taken_over(tmp_path, chains):
    """Jobs, identity and history stay; counts by chain and the workers' tallies are made of what is there."""
    path = tmp_path / "ledger.sqlite"
    old_ledger(path, chains)
    for _ in range(2):
        ledger = Ledger(path)
        assert ledger.ledger_id == b"0123456789abcdef"
        assert ledger.counts() == dict.fromkeys((State(number) for number in range(6)), 2)
        real = ledger._db.execute("SELECT chain, state, count(*) FROM jobs GROUP BY chain, state").fetchall()
        counts = [(*place, jobs) for place, jobs in chain_counts(ledger).items()]
        assert sorted(counts) == sorted(real)
        assert ledger.tallies() == {
            "w1": {"first_ms": NOW + 1, "last_ms": NOW + 9, "events": {"sent": 14}},
            "w2": {"first_ms": NOW + 5, "last_ms": NOW + 5, "events": {"stored": 1}},
        }
        found = ledger.find("1")
        assert (found.spent, found.ttr_ms, found.attempts_max, found.uri) == (0, None, None, "file:///1")
        assert [event.event for event in ledger.story(3)] == ["accepted", "sent", "sent", "stored"]
        ledger.close()
    ledger = Ledger(path)
    assert [row.spent for row in ledger.kick([5], NOW)] == [1]
    ledger.put([("a", b"one")], 1, NOW)
    ledger.settle([7], State.STORED, NOW)
    assert len(ledger.accept([Offer("file:///1", 1, 1), Offer("file:///99", 1, 1)], 1, NOW)) == 1
    ledger.commit()
    ledger.close()


def chain_counts(ledger):
    return {
        (chain, state): jobs
        for chain, states in ledger.chain_counts().items()
        for state, jobs in states.items()
        if jobs
    }


def shape(path):
    """Return all that a schema means: tables with their columns, indexes, views."""
    with closing(sqlite3.connect(path)) as db:
        names = db.execute("SELECT type, name, tbl_name FROM sqlite_schema ORDER BY 1, 2").fetchall()
        columns = {name: db.execute(f"PRAGMA table_xinfo({name})").fetchall() for _, name, _ in names}
        strict = sorted(db.execute("SELECT name, type, ncol, wr, strict FROM pragma_table_list").fetchall())
        texts = db.execute("SELECT name, sql FROM sqlite_schema WHERE type IN ('index', 'view')").fetchall()
        return names, columns, strict, {name: " ".join((text or "").split()) for name, text in texts}


def test_migrations_lead_to_the_schema(tmp_path):
    """A ledger that came through all migrations is like one that is made today."""
    old_ledger(tmp_path / "old.sqlite")
    Ledger(tmp_path / "old.sqlite").close()
    Ledger(tmp_path / "new.sqlite").close()
    assert shape(tmp_path / "old.sqlite") == shape(tmp_path / "new.sqlite")


def test_failed_migration_changes_nothing(tmp_path):
    """A migration is one transaction: where it cannot be ended the ledger stays what it was, and it is tried again."""
    path = tmp_path / "ledger.sqlite"
    old_ledger(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE tallies (in_the_way)")
    before = shape(path)
    with pytest.raises(StoreError, match="tallies already exists"):
        Ledger(path)
    assert shape(path) == before
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE tallies")
    ledger = Ledger(path)
    assert (ledger.counts()[State.READY], SCHEMA) == (2, 2)
    ledger.close()


def test_damaged_version_1_is_repaired(tmp_path):
    """A repair makes a ledger of this version of whatever it can read of an earlier one."""
    path = tmp_path / "ledger.sqlite"
    old_ledger(path)
    assert check(path) == []
    data = bytes(100) + path.read_bytes()[100:]
    path.write_bytes(data)
    repair(path, NOW)
    ledger = Ledger(path)
    assert ledger.counts() == dict.fromkeys((State(number) for number in range(6)), 2)
    assert ledger.tallies()["w1"]["events"] == {"sent": 14}
    assert len(ledger.story(3)) == 4
    ledger.close()
