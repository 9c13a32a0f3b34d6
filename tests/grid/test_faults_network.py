"""Links that are cut without a word, come back, or are bad: jobs go elsewhere, and who was away is welcome again."""

import time
from contextlib import ExitStack
from pathlib import Path

import photographs
import pytest
from cable import FAR, NEAR, Cable
from ends import check_end

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid

PICTURE_BYTES = 20_000
BEAT_MS = 100


@pytest.fixture
def cable():
    """A cable of this test's own."""
    with ExitStack() as stack:
        yield Cable(stack)


@pytest.fixture
def wired(cable, grid):
    """A grid at the near end of the cable, for which other processes may be started at the far end."""
    grid.address = grid.address.replace("127.0.0.1", NEAR)
    grid.sink_address = grid.sink_address.replace("127.0.0.1", NEAR)
    grid.environment["ZGRID_INSECURE"] = "true"  # here it is about the link
    return grid


def ready(grid):
    """Return the lanes of the workers that are there, by their names."""
    return {one["name"]: one["lane"] for one in grid.status().get("workers", []) if one["state"] == "ready"}


def done(grid, name):
    """Return how many jobs this worker has finished."""
    return sum(len(one.seqs) for one in grid.history() if one.event == "finished" and one.worker == name)


def ms_until(grid, condition, what, within_s=25.0):
    """Wait for a condition; return after how many ms it was true."""
    began = time.monotonic()
    grid.until(condition, within_s, what)
    return round((time.monotonic() - began) * 1000)


def lost_and_sent(grid, since_ms):
    """Return after how many ms the jobs that were lost since then were all sent again; None before that."""
    lost, again = set(), {}
    for one in grid.history():
        if one.at_ms >= since_ms and one.event == "lost":
            lost.update(one.seqs)
        elif one.at_ms >= since_ms and one.event == "sent":
            again.update((seq, one.at_ms) for seq in lost.intersection(one.seqs))
    return max(again.values()) - since_ms if lost and set(again) == lost else None


@pytest.mark.parametrize(("how", "back"), [("cut", "mend"), ("pull", "plug")])
def test_cut_link_of_a_worker(wired, cable, tmp_path, record_property, how, back):
    """Without FIN or RST, the worker is silent after three beats, and its jobs go elsewhere; it is welcomed back."""
    photographs.tiny(tmp_path / "in", 400, f"picture {PICTURE_BYTES}")
    ventilator = wired.ventilator(tmp_path / "in", filter=["marked:work_ms=20"], beat_interval_ms=BEAT_MS)
    wired.sink()
    with cable.far_end():
        far = wired.worker("far")
    wired.worker("near")
    wired.until_joined("far", "near")
    wired.until(lambda: done(wired, "far") > 5 and done(wired, "near") > 5, what="both have done some")
    lane = ready(wired)["far"]
    since_ms = time.time_ns() // 1_000_000
    getattr(cable, how)()
    elsewhere_ms = wired.until(lambda: lost_and_sent(wired, since_ms), what="its jobs are sent again")
    (silent,) = ventilator.events("worker_silent")
    assert (silent["worker"], silent["reason"]) == ("far", "silent for 0.3 s")
    far_done, near_done = done(wired, "far"), done(wired, "near")
    wired.until(lambda: done(wired, "near") > near_done + 20, what="the other goes on")
    assert done(wired, "far") == far_done
    getattr(cable, back)()
    welcome_ms = ms_until(wired, lambda: ready(wired).get("far", lane) != lane, "it is welcome again")
    wired.until(lambda: done(wired, "far") > far_done, what="it works again")
    record_property(f"{how} -> jobs elsewhere (ms)", elsewhere_ms)
    record_property("restored -> welcome again (ms)", welcome_ms)
    print(f"{how} -> jobs elsewhere {elsewhere_ms} ms, restored -> welcome again {welcome_ms} ms")
    assert elsewhere_ms < 3 * BEAT_MS + 2000
    check_end(wired, 400, charged=1, picture_bytes=PICTURE_BYTES)
    assert far.events("ventilator_gone")
    assert not ventilator.events("job_buried")


def test_cut_link_of_the_sink(wired, cable, tmp_path, record_property):
    """While the sink is out of reach results wait at the workers; when it is back everything is stored, once."""
    photographs.tiny(tmp_path / "in", 300, f"picture {PICTURE_BYTES}")
    wired.sink_address = wired.sink_address.replace(NEAR, FAR)
    ventilator = wired.ventilator(tmp_path / "in", filter=["marked:work_ms=10"], beat_interval_ms=BEAT_MS)
    with cable.far_end():
        wired.sink()
    wired.worker(procs=2)
    wired.until(lambda: wired.counts()[State.STORED] >= 20, what="some are stored")
    cable.cut()
    wired.until(lambda: ventilator.events("sink_gone"), what="the ventilator says so")
    stored = wired.counts()[State.STORED]
    wired.until(lambda: done(wired, "w1") > stored + 50, what="the worker goes on meanwhile")
    assert wired.counts()[State.STORED] == stored, "something was acknowledged that cannot have come"
    cable.mend()
    restored_ms = ms_until(wired, lambda: wired.counts()[State.STORED] > stored, "it stores again")
    record_property("the sink's link restored -> storing again (ms)", restored_ms)
    print(f"the sink's link restored -> storing again {restored_ms} ms")
    check_end(wired, 300, picture_bytes=PICTURE_BYTES)
    assert not ventilator.events("worker_silent")


def test_link_that_comes_late(wired, cable, tmp_path, record_property):
    """A worker that was started while its link was down is there soon after it is up: TCP's long pauses are cut."""
    photographs.tiny(tmp_path / "in", 20)
    wired.ventilator(tmp_path / "in", filter=["marked"])
    wired.sink()
    with cable.far_end():
        linear = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
        if linear.exists():
            linear.write_text("0")  # pauses of 1, 2, 4, 8, ... s, as kernels before 6.5 have them from the start
        cable.cut()
        wired.worker("far")
    wired.until(lambda: cable.lost >= 5, what="it has tried for a while")
    cable.mend()
    joined_ms = ms_until(wired, lambda: "far" in ready(wired), "it is there")
    record_property("link up at last -> worker there (ms)", joined_ms)
    print(f"link up at last -> worker there {joined_ms} ms")
    check_end(wired, 20)
    assert joined_ms < 9000, "the fifth pause of TCP is one of 16 s"


def test_bad_link(wired, cable, tmp_path, record_property):
    """5 % loss and 200 ms each way cost time and no image, even where three beats in a row are late for once."""
    photographs.tiny(tmp_path / "in", 40, f"picture {PICTURE_BYTES}")
    by = cable.worsen(200, 5)
    ventilator = wired.ventilator(tmp_path / "in", filter=["marked:work_ms=30"])
    wired.sink()
    with cable.far_end():
        wired.worker("far", procs=2)
    joined_ms = ms_until(wired, lambda: "far" in ready(wired), "it is there")
    settled_ms = ms_until(wired, lambda: wired.counts()[State.STORED] == 40, "all are stored", 60.0)
    silences = sum(line.get("count", 0) + 1 for line in ventilator.events("worker_silent"))
    record_property("bad link made by", by)
    record_property("bad link: started -> there (ms)", joined_ms)
    record_property("bad link: there -> 40 jobs of 30 ms stored (ms)", settled_ms)
    print(f"bad link, by {by}: there after {joined_ms} ms, then 40 jobs in {settled_ms} ms, {silences} times silent")
    check_end(wired, 40, charged=2 * silences, picture_bytes=PICTURE_BYTES)
