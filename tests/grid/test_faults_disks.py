"""Disks that are full, databases that are locked, folders that are read-only: work waits, and goes on by itself."""

import signal
import sqlite3
import subprocess
import time
from contextlib import ExitStack, closing

import photographs
import pytest
from ends import check_end
from small_disks import Disks, protect, release

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid

PICTURE_BYTES = 20_000


@pytest.fixture
def disks():
    """Disks that this test alone can see."""
    with ExitStack() as stack:
        yield Disks(stack)


@pytest.fixture
def timed(record_property):
    """Remember how long something took, for the report and for whoever reads the output."""

    def note(what, seconds):
        record_property(what, round(seconds, 3))
        print(f"{what}: {seconds * 1000:.0f} ms")

    return note


def start_sinking(grid, tmp_path, jobs=150, **sink):
    """Start a grid whose images all get pictures; return its sink when some of them are stored."""
    photographs.tiny(tmp_path / "in", jobs, f"picture {PICTURE_BYTES}")
    grid.ventilator(tmp_path / "in", filter=["marked:work_ms=5"])
    process = grid.sink(**sink)
    grid.worker(procs=2)
    grid.until(lambda: grid.counts()[State.STORED] >= 20, what="some are stored")
    return process


def check_waiting(grid, sink, event):
    """See that the sink takes no more, acknowledges nothing that it has not, and says so once; return its rows."""
    grid.until(lambda: sink.events(event), what=f"the sink says {event}")
    grid.until(lambda: grid.status(grid.sink_address)["held_bytes"] > 0, what="results wait at the sink")
    (line,) = sink.events(event)
    assert line["level"] == "warning"
    stored = len(grid.rows())
    assert grid.counts()[State.STORED] <= stored
    return line["reason"], stored


def goes_on(grid, stored):
    """Wait until more is stored than was; return how many seconds it took."""
    began = time.monotonic()
    grid.until(lambda: len(grid.rows()) > stored, 40.0, "it goes on by itself")
    return time.monotonic() - began


def test_no_space_at_the_sink(grid, disks, tmp_path, timed):
    """Results wait, none is acknowledged and none lost; when there is space again, all are stored."""
    home = disks.small(tmp_path / "small", 16 << 20)
    grid.database, grid.pictures_folder = home / "results.sqlite", home / "pictures"
    sink = start_sinking(grid, tmp_path)
    disks.fill(home)
    reason, stored = check_waiting(grid, sink, "disk_full")
    assert "no space is left for" in reason
    assert str(home) in reason
    disks.free(home)
    timed("space again -> going on", goes_on(grid, stored))
    check_end(grid, 150, picture_bytes=PICTURE_BYTES)
    assert len(sink.events("disk_full")) == 1


def test_locked_database_at_the_sink(grid, tmp_path, timed):
    """While another program holds the database, results wait; the sink says so once, answers people, and goes on."""
    sink = start_sinking(grid, tmp_path)
    with closing(sqlite3.connect(grid.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        reason, stored = check_waiting(grid, sink, "store_failed")
        assert reason == f"{grid.database} is locked by another program: close that"
        assert len(grid.rows()) == stored
    timed("unlocked -> going on", goes_on(grid, stored))
    check_end(grid, 150, picture_bytes=PICTURE_BYTES)


def test_database_damaged_under_the_sink(grid, tmp_path):
    """Where the database turns out damaged at work, trying again is no use: it ends, says so, and nothing is lost."""
    jobs = 150
    start_sinking(grid, tmp_path, jobs)
    assert grid.kill("sink", signal.SIGTERM) == 0
    whole = grid.rows()
    with closing(sqlite3.connect(grid.database)) as database:
        (page,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'images_source'").fetchone()
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
    aside = grid.database.with_name("damaged.sqlite")
    with grid.database.open("r+b") as file:  # no start needs this page: it is found when a row is inserted
        file.seek((page - 1) * page_bytes)
        file.write(b"\xa5" * page_bytes)
    grid.expected.append("is damaged")
    sink = grid.restart("sink")
    assert sink.wait() == 2, "a supervisor must not start it again and again"
    assert sink.events("listening")[1:], "it began to work"
    assert sink.said()[-1].startswith(f"zgrid: {grid.database} is damaged: restore a copy of it, or move it away")
    assert "Traceback" not in sink.text()
    grid.database.rename(aside)
    grid.restart("sink")
    counts = grid.until_settled(jobs)
    assert counts[State.STORED] == jobs
    assert len(whole) + len(grid.rows()) == jobs, "what was stored before is in the copy"


def test_read_only_pictures(grid, disks, tmp_path, timed):
    """While the folder of pictures cannot be written, no row is either; then all are, with their pictures."""
    sink = start_sinking(grid, tmp_path)
    protect(grid.pictures_folder)
    reason, stored = check_waiting(grid, sink, "store_failed")
    assert str(grid.pictures_folder) in reason
    assert "let this user write to that folder" in reason
    release(grid.pictures_folder)
    timed("writable again -> going on", goes_on(grid, stored))
    check_end(grid, 150, picture_bytes=PICTURE_BYTES)


def test_no_space_for_the_ledger(grid, disks, tmp_path, timed):
    """Nothing new is accepted, which log and status say; what was accepted is done; then all the rest is."""
    home = disks.small(tmp_path / "small", 4 << 20)
    grid.ledger = home / "ledger.sqlite"
    paths = photographs.tiny(tmp_path / "in", 600, f"picture {PICTURE_BYTES}")
    ventilator = grid.ventilator("-", filter=["marked:work_ms=20"], stdin=subprocess.PIPE)
    grid.sink()
    grid.worker(procs=2)

    def queue(some):
        ventilator.popen.stdin.write(b"".join(bytes(path) + b"\n" for path in some))
        ventilator.popen.stdin.flush()

    queue(paths[:100])
    grid.until(lambda: grid.counts()[State.STORED] >= 10, what="some are stored")
    disks.fill(home)
    queue(paths[100:])
    (line,) = grid.until(lambda: ventilator.events("disk_full"), what="the log says so")
    assert f"no space is left for {grid.ledger}" in line["reason"]
    grid.until(lambda: len(grid.rows()) >= 100, what="what was accepted is done")
    status = grid.status()
    assert any("no space is left for" in one for one in status["waiting"])
    assert len(grid.rows()) == status["accepted"] < 600
    disks.free(home)
    began = time.monotonic()
    grid.until(lambda: sum(grid.counts().values()) == 600, 40.0, "the rest is accepted")
    timed("space again -> accepting", time.monotonic() - began)
    check_end(grid, 600, picture_bytes=PICTURE_BYTES)
    assert len(ventilator.events("disk_full")) == 1
    assert not ventilator.events("worker_silent")
