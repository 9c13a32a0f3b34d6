"""Searches in threads of their own: told where the loop asks for them, and given up when the ventilator ends."""

import select
import time

import pytest

from zgrid.protocol.job import Offer
from zgrid.roles.inquiries import Inquiries
from zgrid.store.ledger import Ledger
from zgrid.transport.loop import Loop

ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def inquiries(tmp_path):
    """Inquiries into a ledger with three jobs."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accept([Offer(f"file:///{number}.jpg", 1, 1) for number in range(3)], ledger.chain_id("null"), 1)
    ledger.commit()
    loop = Loop()
    inquiries = Inquiries(ledger.path, loop.wake)
    yield inquiries
    inquiries.close()
    loop.close()
    ledger.close()


def tell_until(inquiries, told):
    """Pass on what is found until something is told."""
    deadline = time.monotonic() + 20
    while not told:
        assert time.monotonic() < deadline
        inquiries.tell()
        select.select([], [], [], 0.002)


def test_found_and_failed(inquiries):
    """What is found is passed on by ``tell`` alone; an error of the ledger is a sentence."""
    found, failed = [], []
    inquiries.search(lambda reader: reader.find("2"), found.append, failed.append)
    tell_until(inquiries, found)
    assert found[0].uri == "file:///1.jpg"
    inquiries.search(lambda reader: endless(reader, 0.05), found.append, failed.append)
    tell_until(inquiries, failed)
    assert "took longer than 0.05 s" in failed[0]
    assert len(found) == 1


def endless(reader, seconds_max):
    """Search without end."""
    reader._seconds_max = seconds_max
    with reader._asking():
        return reader._value(ENDLESS)


def test_end_waits_for_no_search(inquiries):
    """Long searches, and those that wait behind them, are given up at the end; nobody is told."""
    told = []
    for _ in range(5):
        inquiries.search(lambda reader: [endless(reader, 60.0) for _ in range(3)], told.append, told.append)
    began = time.monotonic()
    inquiries.close()
    assert time.monotonic() - began < 10
    assert told == []
