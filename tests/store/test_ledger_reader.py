"""A ledger that is read by one thread while another writes it."""

import re
import sqlite3
from threading import Event, Thread

import pytest

from zgrid.errors import StoreError
from zgrid.protocol.job import Offer, State
from zgrid.store import questions
from zgrid.store.ledger import Ledger
from zgrid.store.reader import LedgerReader
from zgrid.store.rows import JobTerms

NOW = 1_700_000_000_000


def offers(*numbers: int) -> list[Offer]:
    return [Offer(f"file:///photos/{number // 100:02d}/{number:04d}.jpg", 1000, number) for number in numbers]


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(tmp_path / "ledger.sqlite")
    yield made
    made.close()


def test_reader_sees_what_is_committed(ledger):
    """Nothing that may be rolled back is told; everything else is, at once, over a connection that cannot write."""
    reader = LedgerReader(ledger.path)
    placed = ledger.put([("a", b"one")], ledger.chain_id("null"), NOW)[0]
    ledger.record("sent", [placed.seq], NOW, "w1")
    assert (reader.find("1"), reader.image(1), reader.tallies(), reader.counts()[State.READY]) == (None, None, {}, 0)
    ledger.commit()
    assert (reader.find("1"), reader.image(1), reader.tallies()) == (ledger.find("1"), b"one", ledger.tallies())
    assert (reader.counts(), reader.chain_counts()[1][State.READY]) == (ledger.counts(), 1)
    assert (reader.chain_texts(), reader.story(1), reader.evidence(1)) == ({1: "null"}, ledger.story(1), [])
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._db.execute("DELETE FROM jobs")
    reader.close()


def test_reader_and_writer_wait_for_nobody(ledger):
    """A reader in another thread looks on while the ledger writes and commits; neither is ever refused."""
    stop, wrong = Event(), []

    def look():
        reader = LedgerReader(ledger.path)
        while not stop.is_set():
            counts = reader.counts()
            found = len(reader.listed(State.READY, 10_000))
            if sum(counts.values()) % 50 or found % 50:
                wrong.append((counts, found))
        reader.close()

    thread = Thread(target=look)
    thread.start()
    for start in range(0, 5000, 50):
        ledger.accept(offers(*range(start, start + 50)), 1, NOW)
        ledger.commit()
    stop.set()
    thread.join()
    assert not wrong


def test_long_search_is_given_up(ledger):
    """A search that takes too long ends with a sentence, and the reader can be asked again."""
    ledger.accept(offers(*range(20_000)), 1, NOW)
    ledger.commit()
    reader = LedgerReader(ledger.path, seconds_max=0.0)
    with pytest.raises(StoreError, match="took longer than 0 s: narrow it"):
        reader.listed(None, 5, pattern="*a*b*c*nothing*")
    reader._seconds_max = 60.0
    assert reader.listed(None, 5, pattern="*a*b*c*nothing*") == []
    reader.close()


def test_reader_of_nothing(tmp_path):
    """A file that is not there is not made."""
    with pytest.raises(StoreError, match="cannot be opened"):
        LedgerReader(tmp_path / "ledger.sqlite")
    assert not list(tmp_path.iterdir())


SEARCHES = {
    "buried": ((State.BURIED, None, None), "jobs_buried"),
    "few ready": ((State.READY, None, None), "jobs_ready"),
    "few delayed": ((State.DELAYED, None, None), "jobs_delayed"),
    "one folder": ((None, "file:///photos/03/*", None), "jobs_source"),
    "one folder's stored": ((State.STORED, "file:///photos/03/*", 1), "jobs_source"),
    "one file": ((None, "file:///photos/03/0300.jpg", None), "jobs_source"),
    "many of a folder": ((None, "file:///photos/*", None), None),
    "any folder": ((State.STORED, "*/0300.jpg", None), None),
    "stored": ((State.STORED, None, None), None),
    "all": ((None, None, None), None),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_take_the_shortest_way(ledger, monkeypatch, name):
    """Few jobs are found by an index and sorted; many are read in the table's own order, where the limit ends it."""
    monkeypatch.setattr(questions, "FEW", 200)
    ledger.accept(offers(*range(1000)), 1, NOW)
    ledger.accept(offers(1000), 1, NOW, JobTerms(due_ms=NOW))
    for seq in (2, 3, 6, 7, 8):
        ledger.bury(seq, 1, "broken", {}, NOW)
    ledger.settle(range(15, 1000), State.STORED, NOW)
    asked = []
    ledger._db.set_trace_callback(asked.append)
    (state, pattern, chain), index = SEARCHES[name]
    ledger.listed(state, 5, pattern=pattern, chain=chain)
    ledger.pick(state, pattern, chain, 3, 5)
    ledger._db.set_trace_callback(None)
    searches = [text for text in asked if "ORDER BY seq" in text]
    assert len(searches) == 2
    for search in searches:
        plan = [row[3] for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {search}")]
        used = [found[1] for step in plan if (found := re.match(r".* jobs USING (?:COVERING )?INDEX (\w+)", step))]
        assert used == ([index] if index else []), plan
        sorts = any("TEMP B-TREE" in step for step in plan)
        assert sorts == (index not in (None, "jobs_buried")), plan
