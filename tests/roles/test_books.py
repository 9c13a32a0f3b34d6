"""The ventilator's bookkeeping on a disk that is full for a while."""

import select
import time

import pytest

from zgrid.errors import DamagedError
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
    books = Books(ledger, 0.0, wake=loop.wake, accepted=rows.extend, failed=lambda error: failures.append(str(error)))
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


def test_order_is_told_when_it_is_on_disk(desk):
    """Who waits for something hears of it once it is on disk, with what it gave."""
    books, ledger, _, _ = desk
    heard = []
    books.order(lambda: ledger.remember("paused", {"since_ms": 1}) or 7, heard.append, heard.append)
    assert heard == []
    turn_until(books, lambda: heard)
    assert heard == [7]
    assert not ledger.dirty
    assert ledger.recall("paused") == {"since_ms": 1}


def test_order_is_refused_by_a_full_disk_and_not_done_later(desk):
    """What somebody waits for is refused with the sentence of the disk; all else is entered when there is room."""
    books, ledger, rows, failures = desk
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    done, refused = [], []

    def put(number):
        images = [(f"{number}.jpg", b"%d" % number + bytes(100_000))]
        books.order(lambda: ledger.put(images, ledger.chain_id("null"), 1), done.append, refused.append)

    put(1)
    turn_until(books, lambda: refused)
    put(2)  # at once, while it is known that the disk is full
    assert len(refused) == 2
    books.offer(offers(0, 500), "null", 3)
    turn_until(books, lambda: len(failures) >= 2)
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    turn_until(books, lambda: len(rows) == 500, start=100.0)
    put(3)
    turn_until(books, lambda: done, start=200.0)
    assert all("no space is left" in sentence for sentence in refused)
    assert sum(ledger.counts().values()) == 501


def test_refused_order_alone_keeps_nobody_out(desk):
    """When only what somebody waited for has failed, the next one is tried again after a moment."""
    books, ledger, _, _ = desk
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    done, refused = [], []
    image = [("x.jpg", bytes(100_000))]
    books.order(lambda: ledger.put(image, ledger.chain_id("null"), 1), done.append, refused.append)
    now = turn_until(books, lambda: refused)
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    now = turn_until(books, lambda: not books.failing, start=now - time.monotonic())
    books.order(lambda: ledger.put(image, ledger.chain_id("null"), 1), done.append, refused.append)
    turn_until(books, lambda: done, start=now - time.monotonic())
    assert len(refused) == 1


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


def test_damaged_ledger_is_not_tried_again(desk):
    """No pause mends a damaged file: its error ends the ventilator at once, with the sentence that says what to do."""
    books, ledger, rows, failures = desk
    books.offer(offers(0, 2000), "null", 1)
    turn_until(books, lambda: len(rows) == 2000)
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    with ledger.path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * (ledger.path.stat().st_size - 3 * 4096))
    ledger._db.execute("PRAGMA shrink_memory").close()
    books.enter(lambda: ledger.settle(range(1, 2000), State.STORED, 2))
    with pytest.raises(DamagedError, match="zgrid ledger check"):
        turn_until(books, lambda: failures)
    assert not failures
    books._waiting.clear()
