"""A ledger whose tail is torn, that has lost what was synced, or that is damaged: nothing is lost, nothing guessed."""

import os
import random
import signal
import subprocess
import sys
import time

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


def test_torn_tail(crashed):
    """The last bytes of the ledger were not whole when the power went: it goes on from the last whole commit."""
    size = log_of(crashed).stat().st_size
    assert size > 100_000
    os.truncate(log_of(crashed), size - 1000)
    crashed.restart("ventilator")
    stored = crashed.counts()[State.STORED]
    crashed.until(lambda: crashed.counts()[State.STORED] > stored + 10, what="it goes on")
    crashed.kill("ventilator")
    with log_of(crashed).open("r+b") as log:
        log.seek(-5000, os.SEEK_END)
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
    """Write nonsense over every third page but the first."""
    with path.open("r+b") as file:
        for at in range(4096, path.stat().st_size, 3 * 4096):
            file.seek(at)
            file.write(b"\xa5" * 4096)


def zgrid(grid, *words):
    """Run a command; return its exit status and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "zgrid", *words], env=grid.environment, check=False, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_damaged_ledger(crashed, record_property):
    """A damaged ledger is refused with a sentence that says what to do; done so, each image has its row in the end."""
    crashed.restart("ventilator")
    crashed.until(lambda: crashed.status().get("workers"), what="it is there again")
    assert crashed.kill("ventilator", signal.SIGTERM) == 0
    damage(crashed.ledger)
    damaged = crashed.ledger.read_bytes()
    crashed.expected.append("zgrid: ")
    ventilator = crashed.restart("ventilator")
    assert ventilator.wait() == 2, "a supervisor must not start it again and again"
    sentence = ventilator.said()[-1]
    assert "is damaged" in sentence
    assert f"zgrid ledger check {crashed.ledger}" in sentence
    assert "Traceback" not in ventilator.text()
    assert crashed.ledger.read_bytes() == damaged, "it was changed"
    status, said = zgrid(crashed, "ledger", "check", str(crashed.ledger))
    assert status == 2
    assert "zgrid ledger repair FILE" in said
    began = time.monotonic()
    status, said = zgrid(crashed, "ledger", "repair", str(crashed.ledger), "--chain", "marked:work_ms=10")
    assert status == 0, said
    took_ms = round((time.monotonic() - began) * 1000)
    record_property("a damaged ledger of 150 jobs -> repaired (ms)", took_ms)
    print(f"repaired in {took_ms} ms: {said}")
    assert zgrid(crashed, "ledger", "check", str(crashed.ledger))[0] == 0
    crashed.restart("ventilator")
    crashed.until(lambda: len(crashed.rows()) == JOBS, what="each image has its row")
    counts = crashed.until_settled(JOBS)
    assert counts[State.STORED] == JOBS
    assert crashed.pictures() == {picture for _, picture in crashed.rows().values()}
