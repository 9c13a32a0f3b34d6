"""A ledger whose tail is torn, that has lost what was synced, or that is damaged: nothing is lost, nothing guessed."""

import os
import random
import signal

import photographs
import pytest
from ends import check_end

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid

JOBS = 150
PICTURE_BYTES = 2000


@pytest.fixture
def crashed(grid, tmp_path):
    """A grid at work whose ventilator was killed, so that part of its ledger is in the log beside it (-wal) alone."""
    photographs.tiny(tmp_path / "in", JOBS, f"picture {PICTURE_BYTES}")
    grid.ventilator(tmp_path / "in", filter=["marked:work_ms=10"])
    grid.sink()
    grid.worker(procs=2)
    grid.until(lambda: sum(grid.counts().values()) == JOBS, what="all are accepted")
    grid.until(lambda: grid.counts()[State.STORED] >= 40, what="some are stored")
    grid.kill("ventilator")
    return grid


def log_of(grid):
    """Return the ledger's write-ahead log."""
    return grid.ledger.with_name(grid.ledger.name + "-wal")


@pytest.mark.parametrize("how", ["cut", "scribbled"])
def test_torn_tail(crashed, how):
    """The last bytes of the ledger were not whole when the power went: it goes on from the last whole commit."""
    size = log_of(crashed).stat().st_size
    assert size > 100_000
    with log_of(crashed).open("r+b") as log:
        if how == "cut":
            log.truncate(size - 1000)
        else:
            log.seek(size - 5000)
            log.write(random.Random(3).randbytes(9000))
    crashed.restart("ventilator")
    check_end(crashed, JOBS, picture_bytes=PICTURE_BYTES)


def test_disk_that_lied(crashed, tmp_path):
    """Half of what was synced is gone, and jobs get other numbers than before: each image has its row in the end."""
    photographs.tiny(tmp_path / "in", 3, f"picture {PICTURE_BYTES}", name="before")
    os.truncate(log_of(crashed), log_of(crashed).stat().st_size // 2)
    crashed.restart("ventilator")
    check_end(crashed, JOBS + 3, picture_bytes=PICTURE_BYTES)


def damage(path):
    """Write nonsense over every third page but the first; return what the file was."""
    whole = path.read_bytes()
    with path.open("r+b") as file:
        for at in range(4096, len(whole), 3 * 4096):
            file.seek(at)
            file.write(b"\xa5" * 4096)
    return whole


def test_damaged_ledger(crashed, tmp_path):
    """A damaged ledger is refused with a sentence that says what to do, and left as it is; a whole one goes on."""
    crashed.restart("ventilator")
    crashed.until(lambda: crashed.status().get("workers"), what="it is there again")
    assert crashed.kill("ventilator", signal.SIGTERM) == 0
    whole = damage(crashed.ledger)
    damaged = crashed.ledger.read_bytes()
    crashed.expected.append("zgrid: ")
    ventilator = crashed.restart("ventilator")
    assert ventilator.wait() in (1, 2)
    sentence = ventilator.said()[-1]
    print(sentence)
    assert "is damaged" in sentence
    assert f"zgrid ledger check {crashed.ledger}" in sentence
    assert "Traceback" not in ventilator.text()
    assert crashed.ledger.read_bytes() == damaged, "it was changed"
    crashed.ledger.write_bytes(whole)
    crashed.restart("ventilator")
    check_end(crashed, JOBS, picture_bytes=PICTURE_BYTES)
