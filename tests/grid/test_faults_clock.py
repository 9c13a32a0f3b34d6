"""A wall clock that is set by an hour, forth or back, while a grid works: it dates what people read, and no more."""

import time
from pathlib import Path

import photographs
import pytest
import skewed
from ends import check_end
from harness import query

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid

HOUR_MS = 3_600_000
BEAT_MS = 100
PICTURE_BYTES = 2000


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS], ids=["forth", "back"])
def test_wall_clock_is_set(grid, tmp_path, record_property, jump_ms):
    """Nobody is blamed for it, delayed jobs wait as long as they would have, and no time is negative."""
    ahead, go = tmp_path / "ahead", tmp_path / "go"
    skewed.set_ahead(ahead, 0)
    grid.environment[skewed.AHEAD_FILE] = str(ahead)
    grid.program = (str(Path(skewed.__file__)),)
    photographs.tiny(tmp_path / "in", 150, f"picture {PICTURE_BYTES}")
    photographs.tiny(tmp_path / "in", 4, f"unless {go}", name="a")
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked:work_ms=10"], beat_interval_ms=BEAT_MS)
    grid.sink()
    grid.worker(procs=2)
    grid.until(lambda: grid.counts()[State.DELAYED] == 4, what="some are delayed")
    stored = grid.counts()[State.STORED]
    skewed.set_ahead(ahead, jump_ms)
    go.touch()
    began = time.monotonic()
    grid.until(lambda: grid.counts()[State.STORED] > stored, what="it goes on")
    grid.until(lambda: not grid.counts()[State.DELAYED], 10.0, "what was delayed for a second or two is not any more")
    delayed_s = time.monotonic() - began
    record_property("clock set -> delayed jobs ready again (ms)", round(delayed_s * 1000))
    print(f"clock set -> delayed jobs ready again: {delayed_s * 1000:.0f} ms")
    check_end(grid, 154, charged=8, picture_bytes=PICTURE_BYTES, pictures=150)
    for event in ("worker_silent", "worker_gone", "sink_gone", "job_buried"):
        assert not ventilator.events(event)
    ((least,),) = query(grid.database, "SELECT min(min(wait_ms, read_ms, work_ms)) FROM images")
    assert least >= 0


def test_wall_clock_is_set_back_before_a_restart(grid, tmp_path, record_property):
    """A delay is kept as a date; where the clock is an hour behind at the next start, nothing waits an hour more."""
    ahead, go = tmp_path / "ahead", tmp_path / "go"
    skewed.set_ahead(ahead, 0)
    grid.environment[skewed.AHEAD_FILE] = str(ahead)
    grid.program = (str(Path(skewed.__file__)),)
    photographs.tiny(tmp_path / "in", 4, f"unless {go}")
    grid.ventilator(tmp_path / "in", filter=["marked"])
    grid.sink()
    grid.worker()
    grid.until(lambda: grid.counts()[State.DELAYED] == 4, what="all are delayed")
    skewed.set_ahead(ahead, -HOUR_MS)
    go.touch()
    grid.kill("ventilator")
    grid.restart("ventilator")
    began = time.monotonic()
    check_end(grid, 4, charged=8)
    took_ms = round((time.monotonic() - began) * 1000)
    record_property("clock set back, ventilator started again -> delayed jobs stored (ms)", took_ms)
