"""What is entered into the ledger again and again, on a disk that is full for long."""

import io
import logging
import select
import time

import pytest

from zgrid.log import Log, Output
from zgrid.protocol.asking import REVIEW_ALL_MS, REVIEW_MS
from zgrid.protocol.effects import Bury, Review
from zgrid.protocol.flow import Terms
from zgrid.protocol.job import Offer, State
from zgrid.protocol.ventilator import Ventilator
from zgrid.roles.books import Books
from zgrid.roles.entries import Entries
from zgrid.roles.rate import Rate
from zgrid.store.ledger import Ledger
from zgrid.transport.loop import Loop

TICK_S = 0.1


@pytest.fixture
def desk(tmp_path):
    """Yield (books, entries) on a real ledger. Nothing comes of these entries that a machine would have to hear."""
    loop = Loop()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    books = Books(ledger, 0.0, wake=loop.wake, accepted=lambda _: None, failed=lambda _: None)
    yield books, Entries(books, None, None, None, lambda _: None)
    books.close(time.monotonic())
    loop.close()


def turn_until(books, condition, now):
    """Turn until the condition holds, with a clock that runs ahead so that pauses do not last."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it"
        now += 1.0
        books.turn(now)
        select.select([], [], [], 0.005)


def test_full_disk_piles_nothing_up(desk):
    """However long a disk is full, delays are looked at once and sinks asked once; afterwards both go on."""
    books, entries = desk
    books.offer([Offer("file:///0.jpg", 1, 0)], "null", 1)
    turn_until(books, lambda: books.idle, 0.0)
    pages = books.ledger._db.execute("PRAGMA page_count").fetchone()[0]
    books.ledger._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    books.enter(lambda: books.ledger.settle([1], State.STORED, 2))
    books.offer([Offer(f"file:///{number:08d}{'x' * 400}.jpg", 1, number) for number in range(500)], "null", 3)
    now = 1000.0
    for _ in range(1000):
        now += TICK_S
        entries.wake_delayed()
        entries.review(Review(REVIEW_MS, 10))
        books.turn(now)
    assert books.failing
    assert len(books._waiting) <= 4  # two of before, the clock, and one look at delays
    assert len(books._reads) <= 1
    for _ in range(2):  # what a sink that has just come is asked is not passed over for that
        entries.review(Review(REVIEW_ALL_MS, 10))
    assert len(books._reads) == 2
    books.ledger._db.execute("PRAGMA max_page_count = 1000000")
    turn_until(books, lambda: books.idle and not books._reads, now)
    assert books.ledger.counts()[State.READY] == 500
    entries.wake_delayed()
    entries.review(Review(REVIEW_MS, 10))
    assert (len(books._waiting), len(books._reads)) == (1, 1)


@pytest.mark.parametrize("ahead_ms", [(0, 0), (0, 3_600_000), (0, -3_600_000), (-3_600_000, 7_200_000)])
def test_review_finds_a_burial_however_the_clock_is_set(tmp_path, monkeypatch, ahead_ms):
    """A job that was buried a moment ago is one of those that sinks are asked about, whatever its date says."""
    true_ns = time.time_ns
    ahead = 0
    monkeypatch.setattr(time, "time_ns", lambda: true_ns() + ahead * 1_000_000)
    loop = Loop()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    books = Books(ledger, 0.0, wake=loop.wake, accepted=lambda _: None, failed=lambda _: None)
    machine = Ventilator(Terms(), "v", b"ventboot", ledger.ledger_id, "here", ["tcp://sink:1"])
    asked = []
    entries = Entries(books, machine, Log(Output(io.StringIO(), {}), logging.INFO, {}), Rate(0.0), asked.extend)
    books.offer([Offer("file:///0.jpg", 1, 0)], "null", 1)
    turn_until(books, lambda: books.idle, 0.0)
    ahead = ahead_ms[0]
    entries.bury(Bury(1, 1, "why", {}))
    turn_until(books, lambda: books.idle, 100.0)
    ahead = ahead_ms[1]
    entries.review(Review(REVIEW_MS, 10))
    turn_until(books, lambda: bool(asked), 1000.0)
    assert [effect.message.seqs for effect in asked] == [[1]]
    books.close(time.monotonic())
    loop.close()
