"""A ledger of a million open jobs: how soon a grid works again once its ventilator or its sink was killed."""

import time

import photographs
import pytest

from zgrid.protocol.job import Offer
from zgrid.store.ledger import Ledger

pytestmark = [pytest.mark.grid, pytest.mark.timeout(300)]

JOBS = 1_000_000
REAL = 2000
"""So many of them are images that are there; no test gets further."""

CHAIN = "marked:work_ms=20"
AGAIN_MS_MAX = 10_000
ROUNDS = 3
"""A round is spoilt when another program has the CPU."""

BATCH = 10_000


def fill(grid, folder):
    """Make a ledger with a million jobs that nobody has done."""
    photographs.tiny(folder, REAL)
    offers = []
    for path in sorted(folder.rglob("*.jpg")):
        stat = path.stat()
        offers.append(Offer(path.as_uri(), stat.st_size, stat.st_mtime_ns))
    assert len(offers) == REAL
    offers += [Offer(f"file:///away/{number:07d}.jpg", 64, 1) for number in range(REAL, JOBS)]
    ledger = Ledger(grid.ledger)
    for start in range(0, JOBS, BATCH):
        ledger.accept(offers[start : start + BATCH], ledger.chain_id(CHAIN), 1)
        ledger.commit()
    ledger.close()


def again_ms(grid, name, event):
    """Kill a process, start it, and return after how many ms something of that kind is in the ledger's record again."""
    before = len(grid.rows())
    grid.until(lambda: len(grid.rows()) > before + 20, what="it works")
    grid.kill(name)
    began_ms = time.time_ns() // 1_000_000
    grid.restart(name)

    def again():
        return [one.at_ms for one in grid.history() if one.event == event and one.at_ms > began_ms]

    return min(grid.until(again, what=f"jobs are {event} again")) - began_ms


def test_works_again_at_once(grid, tmp_path, record_property):
    """After kill -9 of ventilator or sink, what is in the ledger costs its successor next to nothing.

    On a machine that has nothing else to do that takes less than a second, most of it Python's start; here it may be
    anything that does not grow with a million jobs.
    """
    fill(grid, tmp_path / "in")
    grid.ventilator(filter=CHAIN.split())
    grid.sink()
    grid.worker("w1", procs=2)
    for name, event in (("ventilator", "sent"), ("sink", "stored")):
        measured = sorted(again_ms(grid, name, event) for _ in range(ROUNDS))
        record_property(f"a million jobs, kill -9 of the {name}: started -> {event} (ms)", measured)
        print(name, measured)
        assert measured[0] <= AGAIN_MS_MAX
    assert sum(grid.counts().values()) == JOBS
