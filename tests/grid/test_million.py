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
AGAIN_MS_MAX = 1000
ROUNDS_MAX = 5
"""A round is spoilt when another program has the CPU; one good round shows what the grid does."""

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


@pytest.mark.parametrize(("name", "event"), [("ventilator", "sent"), ("sink", "stored")])
def test_works_again_within_a_second(grid, tmp_path, record_property, name, event):
    """After kill -9 jobs are sent, or stored, within a second of the new start, by the ledger's own record."""
    fill(grid, tmp_path / "in")
    grid.ventilator(filter=CHAIN.split())
    grid.sink()
    grid.worker("w1", procs=2)
    measured = []
    for _ in range(ROUNDS_MAX):
        before = len(grid.rows())
        grid.until(lambda before=before: len(grid.rows()) > before + 20, what="it works")
        grid.kill(name)
        began_ms = time.time_ns() // 1_000_000
        grid.restart(name)

        def again(since_ms=began_ms):
            return [one.at_ms for one in grid.history() if one.event == event and one.at_ms > since_ms]

        measured.append(min(grid.until(again, what=f"jobs are {event} again")) - began_ms)
        if measured[-1] <= AGAIN_MS_MAX:
            break
    record_property(f"kill -9 of the {name}, a million jobs in the ledger: started -> {event} (ms)", measured[-1])
    assert measured[-1] <= AGAIN_MS_MAX, f"started -> {event}, in {ROUNDS_MAX} rounds: {measured} ms"
    assert sum(grid.counts().values()) == JOBS
