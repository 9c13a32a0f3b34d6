"""What only the ledger on disk can do: survive, refuse, and be fast."""

import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from importlib import resources

import pytest

from zgrid.errors import DamagedError, SettingsError, StoreError
from zgrid.protocol.job import Offer, State
from zgrid.protocol.window import START
from zgrid.store import statements
from zgrid.store.committer import Committer
from zgrid.store.ledger import Ledger

NOW = 1_700_000_000_000


def offers(*numbers: int) -> list[Offer]:
    return [Offer(f"file:///photos/{number:04d}.jpg", 1000, number) for number in numbers]


def test_reopened_ledger_goes_on(tmp_path):
    """After a clean end everything is there again, in one file, under the same identity."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    identity = ledger.ledger_id
    ledger.accept(offers(1, 2, 3), ledger.chain_id("faces"), NOW)
    ledger.settle([1], State.STORED, NOW)
    ledger.record("stored", [1], NOW)
    ledger.commit()
    rows, counts = ledger.next_open(1, START, 9), ledger.counts()
    ledger.accept(offers(4), 1, NOW)
    ledger.close()
    ledger.close()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ledger.sqlite", "ledger.sqlite.lock"]
    again = Ledger(str(path))
    assert (again.ledger_id, len(identity)) == (identity, 16)
    assert (again.next_open(1, START, 9), again.counts(), again.durable_seq) == (rows, counts, 3)
    assert [event.event for event in again.story(1)] == ["stored"]
    assert (again.chain_id("faces"), again.dirty) == (1, False)
    again.close()


KILLED = """
import os, signal, sys
from zgrid.protocol.job import Offer, State
from zgrid.store.ledger import Ledger
ledger = Ledger(sys.argv[1])
ledger.accept([Offer("file:///1", 1, 1), Offer("file:///2", 1, 1)], ledger.chain_id("faces"), 1)
ledger.commit()
ledger.settle([1], State.STORED, 1)
ledger.accept([Offer("file:///3", 1, 1)], 1, 1)
if sys.argv[2] == "commit":
    ledger.commit()
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("last", "open_seqs"), [("commit", [2, 3]), ("nothing", [1, 2])])
def test_killed_ventilator_leaves_what_was_committed(tmp_path, last, open_seqs):
    """kill -9 loses what was not committed, and nothing else; the lock goes with its holder."""
    path = tmp_path / "ledger.sqlite"
    done = subprocess.run([sys.executable, "-c", KILLED, path, last], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "ready\n"), done.stderr
    ledger = Ledger(path)
    assert [row.seq for row in ledger.next_open(1, START, 9)] == open_seqs
    assert ledger.counts()[State.READY] == 2
    ledger.close()


def test_second_ventilator_is_refused(tmp_path):
    """Two ventilators on one ledger would send each job twice."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(SettingsError, match=r"another ventilator uses the ledger .*ledger\.sqlite: "):
        Ledger(tmp_path / "ledger.sqlite")
    ledger.close()
    Ledger(tmp_path / "ledger.sqlite").close()


def test_damaged_file_is_refused(tmp_path):
    """A ledger whose header is overwritten is named, with what to do, and left as it is."""
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    for garbage in (b"\0" * 16, b"\xa5" * 60, b"\0" * 4096):
        damaged = garbage + path.read_bytes()[len(garbage) :]
        path.write_bytes(damaged)
        for _ in range(2):  # the lock is not left behind either
            with pytest.raises(DamagedError, match=r"is damaged .*: stop .* zgrid ledger check /.*ledger\.sqlite$"):
                Ledger(path)
        assert path.read_bytes() == damaged


def test_foreign_and_newer_files_are_refused(tmp_path):
    """Another program's file or database, and a later zgrid's ledger, are not touched."""
    path = tmp_path / "photograph.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 not a database, but long enough to be read as one\n" * 100)
    with pytest.raises(SettingsError, match=r"photograph.jpg is no ledger: name another file"):
        Ledger(path)
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE addresses (name)")
    db.close()
    with pytest.raises(SettingsError, match="is a database of something else"):
        Ledger(path)
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    db.close()
    with pytest.raises(SettingsError, match="has schema 99, but this zgrid knows 2"):
        Ledger(path)


def test_damage_at_runtime_is_no_full_disk(tmp_path):
    """What SQLite finds malformed is another error than what passes when somebody makes room: it names the check."""
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.accept(offers(*range(3000)), 1, NOW)
    ledger.commit()
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * (path.stat().st_size - 3 * 4096))
    ledger._db.execute("PRAGMA shrink_memory").close()
    for use in (
        lambda: ledger.find("1500"),
        lambda: ledger.listed(State.READY, 9),
        lambda: ledger.settle(range(1, 3000), State.STORED, NOW),
        lambda: ledger.accept(offers(*range(3000, 4000)), 1, NOW),
    ):
        with pytest.raises(DamagedError, match=r"is damaged \(.*malformed.*\): .* zgrid ledger check /"):
            use()
    assert not ledger.dirty
    ledger.close()


def test_missing_folder_is_said(tmp_path):
    """A path that cannot be made says what to check."""
    with pytest.raises(StoreError, match="check that its folder exists"):
        Ledger(tmp_path / "nowhere" / "ledger.sqlite")


def test_full_database_rolls_back(tmp_path):
    """A write that finds no space undoes everything since the last commit, and says what to do; then it goes on."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accept(offers(1), 1, NOW)
    ledger.commit()
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    ledger.settle([1], State.STORED, NOW)
    with pytest.raises(StoreError, match=r"no space is left for .*: free some"):
        ledger.accept(offers(*range(2, 2000)), 1, NOW)
    assert (ledger.dirty, ledger.counts()[State.READY], ledger.durable_seq) == (False, 1, 1)
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    assert len(ledger.accept(offers(*range(1, 2000)), 1, NOW)) == 1998
    ledger.commit()
    ledger.close()


def test_failed_commit_rolls_back(tmp_path):
    """A disk that fills up during the commit itself leaves the ledger as it was, and usable."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accept(offers(1), 1, NOW)
    ledger.commit()
    ledger.accept(offers(*range(2, 2000)), 1, NOW)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "ledger.sqlite-wal").stat().st_size + 5000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"(no space|the disk failed)"):
            ledger.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (ledger.dirty, ledger.counts()[State.READY], ledger.durable_seq) == (False, 1, 1)
    ledger.accept(offers(2), 1, NOW)
    ledger.commit()
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert [row.seq for row in again.next_open(1, START, 9)] == [1, 2]
    again.close()


def test_commit_in_another_thread(tmp_path):
    """The committer's thread commits what this one wrote, and a failure there comes back as a result."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    committer = Committer(lambda: None)
    for number in range(1, 4):
        ledger.accept(offers(number), 1, NOW)
        committer.submit(ledger.commit, ledger.counts())
        while not (done := committer.take()):
            assert not committer._thread.join(0.001)
        assert (done[0].error, ledger.durable_seq, ledger.dirty) == (None, number, False)
    committer.close()
    ledger.close()


def test_commits_are_durable(tmp_path):
    """WAL with synchronous=FULL: a commit is on the disk, not only in its cache."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
    ledger.close()


STATEMENTS = {
    name: text
    for name, text in vars(statements).items()
    if name[0].isupper() and isinstance(text, str) and name != "FOUND"
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_uses_an_index(tmp_path, name):
    """No statement reads a table from end to end: with ten million jobs each would take seconds."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    text = STATEMENTS[name]
    names = re.findall(r":([a-z_]+)", text)
    values = dict.fromkeys(names, 0) | {"uris": "[]", "seqs": "[]"}
    parameters = values if names else (0,) * text.count("?")
    plan = [row[3] for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]
    ledger.close()
    scans = tuple(f"SCAN {table}" for table in ("jobs", "history", "evidence", "chains"))
    small = "SCAN jobs USING INDEX jobs_delayed"  # this index holds the delayed jobs alone, and LIMIT ends the scan
    assert [step for step in plan if step.startswith(scans) and step != small] == []


def test_next_page_is_found_directly(tmp_path):
    """Reading on behind a place does not walk over what stands before it, which took 0.7 s among ten million."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    plans = [
        " ".join(row[3] for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {text}", (0,) * text.count("?")))
        for text in (statements.NEXT_OPEN, statements.NEXT_PRIORITY)
    ]
    ledger.close()
    assert plans == [
        "SEARCH jobs USING INDEX jobs_ready (chain=? AND priority=? AND seq>?)",
        "SEARCH jobs USING INDEX jobs_ready (chain=? AND priority>?)",
    ]


def test_block_size_is_the_same_in_the_schema():
    """The index by key splits jobs as the history does."""
    schema = resources.files("zgrid.store").joinpath("schema.sql").read_text("utf-8")
    assert "jobs_key ON jobs (seq >> 12, key)" in schema
    assert "seq >> 12 = block" in statements.SEQ_OF_KEY


def test_cost_per_job_does_not_explode(tmp_path):
    """Twenty thousand jobs are accepted, recorded and settled in far less time than one statement each would take."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    began = time.perf_counter()
    for start in range(0, 20_000, 500):
        numbers = [row.seq for row in ledger.accept(offers(*range(start, start + 500)), 1, NOW)]
        ledger.record("accepted", numbers, NOW)
        ledger.settle(numbers, State.STORED, NOW)
    ledger.commit()
    assert (time.perf_counter() - began) / 20_000 < 100e-6
    ledger.close()


def test_what_was_closed_is_counted_once_it_is_on_disk(tmp_path):
    """Jobs closed since the ledger was opened, by outcome: committed ones only, also if they are opened again."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accept(offers(1, 2, 3, 4), 1, NOW)
    ledger.settle([1, 2], State.STORED, NOW)
    ledger.close_by_hand([3], State.CANCELLED, NOW)
    assert ledger.closed() == {}
    ledger.commit()
    assert ledger.closed() == {State.STORED: 2, State.CANCELLED: 1}
    ledger.settle([4], State.DISCARDED, NOW)
    ledger.rollback()
    ledger.reopen([3], NOW)
    ledger.commit()
    assert ledger.closed() == {State.STORED: 2, State.CANCELLED: 1}
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.closed() == {}
    again.close()
