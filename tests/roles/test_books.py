"""The ventilator's bookkeeping on a disk that is full for a while."""

import select
import time

import pytest

from zgrid.protocol.job import Offer, State
from zgrid.roles.books import Books
from zgrid.store.ledger import Ledger
from zgrid.transport.loop import Loop


@pytest.fixture
def desk(tmp_path):
    """Yield (books, ledger, accepted rows, sentences of failure) on a real ledger."""
    loop = Loop()
    rows, failures = [], []
    ledger = Ledger(tmp_path / "ledger.sqlite")
    books = Books(ledger, 0.0, wake=loop.wake, accepted=rows.extend, failed=failures.append)
    yield books, ledger, rows, failures
    books.close(time.monotonic())
    loop.close()


def turn_until(books, condition, start=0.0):
    """Turn until the condition holds, with a clock that runs ahead so that pauses do not last."""
    deadline = time.monotonic() + 10
    now = time.monotonic() + start
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it"
        now += 1.0
        books.turn(now)
        select.select([], [], [], 0.005)
    return now


def offers(first, count):
    """Return offers with long names, so that they need pages."""
    return [Offer(f"file:///{number:08d}{'x' * 400}.jpg", 1, number) for number in range(first, first + count)]


def test_full_disk_loses_nothing_and_repeats_nothing(desk):
    """While the disk is full nothing is said to be accepted; when there is room again everything is entered, once."""
    books, ledger, rows, failures = desk
    books.offer(offers(0, 10), "null", 1)
    turn_until(books, lambda: len(rows) == 10)
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    books.enter(lambda: ledger.settle([1, 2], State.STORED, 2))
    books.offer(offers(100, 500), "null", 3)
    turn_until(books, lambda: len(failures) >= 2)
    assert books.failing
    assert "full" in failures[0]
    assert len(rows) == 10
    assert ledger.counts()[State.STORED] == 0
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    turn_until(books, lambda: len(rows) == 510, start=100.0)
    assert not books.failing
    assert ledger.counts()[State.STORED] == 2
    assert ledger.counts()[State.READY] == 508
    assert books.offers == 0


def test_people_are_answered_while_the_disk_is_full(desk):
    """Questions read what is on disk though nothing can be written; the machine reads only what is up to date."""
    books, ledger, rows, failures = desk
    books.offer(offers(0, 10), "null", 1)
    turn_until(books, lambda: len(rows) == 10)
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    books.offer(offers(100, 500), "null", 3)
    turn_until(books, lambda: failures)
    answered = []
    books.read(lambda: answered.append(ledger.counts()[State.READY]), for_people=True)
    turn_until(books, lambda: answered)
    assert answered == [10]
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    turn_until(books, lambda: len(rows) == 510, start=100.0)
