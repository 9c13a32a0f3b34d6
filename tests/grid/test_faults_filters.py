"""Filters that leak, eat, crash or never return: each costs its own images their attempts, and no others."""

from itertools import pairwise

import photographs
import pytest
from ends import check_end

pytestmark = pytest.mark.grid

PICTURE_BYTES = 2000
MIB = 1 << 20


def test_filter_that_leaks(grid, tmp_path, record_property):
    """A filter that keeps some memory of every image gets new processes at its limit, and no image pays for that."""
    photographs.tiny(tmp_path / "in", 24, "leak 96")
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked"])
    grid.sink()
    worker = grid.worker(child_memory_bytes_max=1024 * MIB)
    check_end(grid, 24, picture_bytes=PICTURE_BYTES, within_s=60.0)
    finished = [one.at_ms for one in grid.history() if one.event == "finished"]
    replaced_ms = max(after - before for before, after in pairwise(finished))
    record_property("a child at its memory's limit -> the next image done (ms)", replaced_ms)
    print(f"a child at its memory's limit -> the next image done: {replaced_ms} ms")
    assert "--child-memory-bytes-max" in worker.events("child_starved")[0]["reason"]
    assert not worker.events("child_died")
    assert not ventilator.events("job_retried")


def test_bad_filters_among_good_images(grid, tmp_path, record_property):
    """Images that crash, eat all memory, never return, and end their process are buried; all the others are stored."""
    photographs.tiny(tmp_path / "in", 120, f"picture {PICTURE_BYTES}")
    for verb in ("segv", "eat", "spin", "exit 3"):
        photographs.tiny(tmp_path / "in", 1, verb, name=f"bad-{verb[:4]}")
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked:work_ms=2"], ttr_ms=1500, attempts_max=2)
    grid.sink()
    worker = grid.worker(procs=2, child_memory_bytes_max=1024 * MIB)
    check_end(grid, 120, buried=4, charged=8, picture_bytes=PICTURE_BYTES, within_s=60.0)
    reasons = {uri.rpartition("/")[2][4:8]: why for uri, (why, failures) in grid.buried().items() if failures == 2}
    assert "signal 11" in reasons.pop("segv")
    assert "not enough memory for filter marked" in reasons.pop("eat-")
    assert "longer than its time-to-run of 1500 ms" in reasons.pop("spin")
    assert "status 3" in reasons.pop("exit")
    assert not reasons
    overran = next(one for one in grid.history() if one.event == "overran")
    sent = [one.at_ms for one in grid.history() if one.event == "sent" and set(overran.seqs) <= set(one.seqs)]
    again_ms = max(sent) - overran.at_ms
    record_property("a filter that never returns: killed -> sent again (ms)", again_ms)
    print(f"a filter that never returns: killed -> sent again: {again_ms} ms")
    assert worker.events("child_overran")
    assert not ventilator.events("worker_gone")
