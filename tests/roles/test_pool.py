"""A pool of real child processes: what goes in, what comes out, and what a chunk costs."""

import os
import re
import signal
import time
from hashlib import sha256
from pathlib import Path

import pytest
from pool_rig import Rig, descriptors, inline

from zgrid.protocol.messages import Code
from zgrid.roles.member import Chunk
from zgrid.roles.pool import ChainMade, Died, Ready, Results

pytestmark = pytest.mark.grid


@pytest.fixture(scope="module")
def rig():
    """One child, shared by the tests that leave it whole."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        rig = Rig(monkeypatch)
        with rig.pool:
            yield rig.warm()


@pytest.fixture(autouse=True)
def _clean(rig):
    """Each test sees its own events only."""
    rig.events.clear()
    rig.results.clear()


def test_ready_says_what_a_child_can_do(monkeypatch):
    """A new child names its filters with versions, and what it made of each chain, good or bad."""
    rig = Rig(monkeypatch, chains={1: "act", 2: "nosuch"})
    with rig.pool:
        rig.until(lambda rig: rig.of(Ready))
        ready = rig.of(Ready)[0]
        assert ready.filters["act"] == "7"
        assert ready.filters["null"] == "1"
        assert [(made.chain, made.version) for made in ready.chains] == [(1, "act/7"), (2, None)]
        assert "nosuch" in ready.chains[1].problem
        rig.give(b"keep", chain=2)
        rig.until(lambda rig: rig.results)
        assert rig.results[100].code == Code.TROUBLED
        assert "nosuch" in rig.results[100].reasons


def test_outcomes_come_back_in_order(rig):
    """Each kind of outcome has its code, reason, notes and picture, under the token that was given."""
    rig.give(
        b"keep", b"note hello", b"picture 5", b"discard no face", b"fail broken", b"later busy", b"raise cut short"
    )
    rig.until(lambda rig: len(rig.results) == 7)
    assert list(rig.results) == list(range(100, 107))
    found = [rig.results[token] for token in range(100, 107)]
    assert [result.code for result in found] == [0, 0, 0, Code.DISCARDED, Code.FAILED, Code.TROUBLED, Code.FAILED]
    assert [result.reasons for result in found] == [None, None, None, "no face", "broken", "busy", "cut short"]
    assert found[1].notes == {"said": "hello"}
    assert (found[2].pictures, found[2].media) == (b"ppppp", "image/png")
    assert found[0].notes is found[0].pictures is found[0].widths is found[0].digests is None
    assert found[4].digests == sha256(b"fail broken").digest(), "whoever looks at a failure wants to know which bytes"


def test_what_a_filter_may_not_return_is_a_failure_of_that_image(rig):
    """Pictures that are no bytes, too long notes and texts that cannot be encoded cost their job, not the child."""
    rig.give(b"odd", b"long", b"surrogate", b"picture 67108865", b"keep")
    rig.until(lambda rig: len(rig.results) == 5)
    found = [rig.results[token] for token in range(100, 105)]
    assert [result.code for result in found] == [2, 2, Code.DISCARDED, 2, 0]
    assert "not bytes" in found[0].reasons
    assert "notes have" in found[1].reasons
    assert found[2].reasons == "no face in ?.jpg"
    assert "67108864 are the most" in found[3].reasons
    assert not rig.of(Died)


def test_by_reference_is_read_by_the_child(rig, tmp_path):
    """A job without bytes is read from its URI, with the time that took; a missing file fails with its name."""
    path = tmp_path / "a b.jpg"
    path.write_bytes(b"note from the file")
    uri, size, mtime_ns = f"file://{tmp_path}/a%20b.jpg", path.stat().st_size, path.stat().st_mtime_ns
    gone = f"file://{tmp_path}/gone.jpg"
    assert rig.pool.assign(0, Chunk(10, 1, [uri, gone, uri], [size, 1, size + 1], [mtime_ns, 1, mtime_ns]))
    rig.until(lambda rig: len(rig.results) == 3)
    assert rig.results[10].notes == {"said": "from the file"}
    assert rig.results[10].reads > 0
    assert rig.results[11].code == Code.FAILED
    assert "gone.jpg is gone" in rig.results[11].reasons
    assert "changed" in rig.results[12].reasons


def test_what_a_child_may_not_read_is_told_apart(rig, tmp_path):
    """To the ventilator it is trouble that may pass, and the mark in its evidence says that nothing was tried."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"later busy")
    version = [path.stat().st_size], [path.stat().st_mtime_ns]
    for token, uri in ((10, "file:///etc/passwd"), (11, f"file://{path}")):
        assert rig.pool.assign(0, Chunk(token, 1, [uri], *version))
    rig.until(lambda rig: len(rig.results) == 2)
    assert [rig.results[token].code for token in (10, 11)] == [Code.TROUBLED] * 2
    reasons = [why for event in rig.of(Results) for why in event.returned.reasons.values()]
    assert "is not at or below a path that this worker may read" in reasons[0]["reason"]
    assert [why.get("unread") for why in reasons] == [True, None]


def test_what_the_ventilator_took_is_read_however_large(rig, tmp_path):
    """By reference the limit is the ventilator's --job-bytes-max, which its operator may have raised."""
    path = tmp_path / "large.tif"
    path.write_bytes(b"note large")
    os.truncate(path, (64 << 20) + 1)
    found = path.stat()
    assert rig.pool.assign(0, Chunk(10, 1, [f"file://{path}"], [found.st_size], [found.st_mtime_ns]))
    rig.until(lambda rig: rig.results)
    assert rig.results[10].notes == {"said": "large"}, rig.results[10].reasons


def test_an_image_that_was_looked_at_is_described(rig, tmp_path):
    """Size, format and digest come along when the chain looked; a file that is no image has its digest."""
    cv2 = pytest.importorskip("cv2")
    numpy = pytest.importorskip("numpy")
    rig.pool.chain(2, "look")
    rig.until(lambda rig: rig.of(ChainMade))
    assert rig.of(ChainMade)[0].made.version == "look/1"
    png = cv2.imencode(".png", numpy.zeros((20, 30, 3), numpy.uint8))[1].tobytes()
    rig.give(png, b"no image at all", chain=2)
    rig.until(lambda rig: len(rig.results) == 2)
    good, bad = rig.results[100], rig.results[101]
    assert (good.widths, good.heights, good.formats, good.notes) == (30, 20, "PNG", {"size": [30, 20]})
    assert len(good.digests) == len(bad.digests) == 32
    assert (bad.code, bad.widths) == (Code.FAILED, None)


def test_images_larger_than_the_arena_arrive_whole(rig):
    """The shared memory grows for a large image, also while an earlier chunk is in it, and nothing is mixed up."""
    sizes = [100, 3 << 20, 40 << 20, 0, 65, 1000]
    for index, size in enumerate(sizes):
        data = b"sum " + bytes([index + 1]) * size
        rig.give(data, b"keep", data, first=100 + 10 * index)
    rig.until(lambda rig: len(rig.results) == 3 * len(sizes))
    for index, size in enumerate(sizes):
        expected = {"sum": sum(b"sum ") + (index + 1) * size, "size": size + 4}
        for token in (100 + 10 * index, 102 + 10 * index):
            assert rig.results[token].notes == expected


def test_large_pictures_come_back_whole(rig):
    """Pictures larger than any socket buffer come back as they were made."""
    rig.give(b"picture 30000000", b"picture 1", b"picture 300000")
    rig.until(lambda rig: len(rig.results) == 3)
    assert [len(rig.results[token].pictures) for token in (100, 101, 102)] == [30_000_000, 1, 300_000]


def test_filters_cannot_write_what_is_shared(rig):
    """The image is read-only in the child, and the child cannot cut the memory short under the agent."""
    rig.give(b"write", b"shrink")
    rig.until(lambda rig: len(rig.results) == 2)
    assert [rig.results[token].reasons for token in (100, 101)] == ["read only", "it may not"]


def test_progress_shows_the_job_and_its_touches(rig, tmp_path):
    """The agent sees which job runs since when, how far it says it is, and that a touch is a movement."""
    before = rig.pool.progress(0, 5.0)
    assert (before.token, before.owed) == (None, 0)
    flag = tmp_path / "go"
    rig.give(b"keep", b"touches " + bytes(flag), b"wait " + bytes(flag))
    rig.until(lambda rig: rig.pool.progress(0, 10.0).fraction == 0.75)
    seen = rig.pool.progress(0, 20.0)
    assert (seen.token, seen.since, seen.moved, seen.touches - before.touches) == (101, 10.0, 10.0, 4)
    assert seen.owed in (2, 3)
    flag.touch()
    rig.until(lambda rig: len(rig.results) == 3)
    after = rig.pool.progress(0, 30.0)
    assert (after.token, after.owed, after.moved) == (None, 0, 30.0)


def test_a_child_that_does_not_read_never_blocks_the_agent(rig, tmp_path):
    """A stopped child takes nothing; megabytes of jobs are queued for it at once, and run when it goes on."""
    pid = rig.pool._members[0].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for chunk in range(20):
            name = "x" * 4000
            jobs = inline(chunk * 256, *[b"keep"] * 256)
            assert rig.pool.assign(0, jobs._replace(uris=[f"file:///{name}"] * 256))
        assert rig.pool._members[0].wants_write
        rig.step(0)
    finally:
        os.kill(pid, signal.SIGCONT)
    rig.until(lambda rig: len(rig.results) == 20 * 256)
    assert not rig.pool._members[0].wants_write


def test_small_jobs_are_batched_and_long_ones_are_not(rig, tmp_path):
    """A chunk of null jobs comes back in a few messages; a result does not wait for the slow job after the next."""
    rig.give(*[b"keep"] * 256)
    rig.until(lambda rig: len(rig.results) == 256)
    assert len(rig.of(Results)) <= 16
    rig.results.clear()
    rig.give(b"picture 300000", b"wait " + bytes(tmp_path / "go"), b"keep")
    rig.until(lambda rig: rig.results)
    assert list(rig.results) == [100]
    (tmp_path / "go").touch()
    rig.until(lambda rig: len(rig.results) == 3)


def test_quick_results_do_not_wait_for_a_slow_job(rig, tmp_path):
    """What was done in no time is with the agent while the next job of the same chunk takes as long as it likes."""
    rig.give(*[b"keep"] * 5, b"wait " + bytes(tmp_path / "go"), b"keep")
    rig.until(lambda rig: len(rig.results) == 5)
    assert rig.pool.progress(0, 0.0).token == 105
    (tmp_path / "go").touch()
    rig.until(lambda rig: len(rig.results) == 7)
    assert list(rig.results) == list(range(100, 107))


def test_children_run_single_threaded_and_shielded(rig):
    """A child has one OpenCV thread, no core dumps, its own session, and does not mind the terminal's Ctrl-C."""
    pid = rig.pool._members[0].pid
    assert os.getsid(pid) == pid
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16)
    assert all(ignored >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM))
    assert re.search(r"Max core file size\s+0\s+0", Path(f"/proc/{pid}/limits").read_text())
    os.kill(pid, signal.SIGINT)
    rig.give(b"keep")
    rig.until(lambda rig: rig.results)
    environment = Path(f"/proc/{pid}/environ").read_text()
    assert "OMP_NUM_THREADS=1\0" in environment
    assert "MAGICK_THREAD_LIMIT=1\0" in environment


def test_rss_is_that_of_the_child(rig):
    """The memory of each living child is known."""
    assert 10 << 20 < rig.pool.rss_bytes()[0] < 1 << 30


def test_stop_lets_the_job_end_and_returns_the_rest(monkeypatch, tmp_path):
    """A stopping child ends the job it is at, reports it, and hands back those not begun; nothing is started again."""
    before = descriptors()
    rig = Rig(monkeypatch, procs=2)
    with rig.pool:
        rig.warm()
        flag = tmp_path / "go"
        rig.give(b"wait " + bytes(flag), b"keep", b"keep")
        rig.until(lambda rig: rig.pool.progress(0, time.monotonic()).token == 100)
        rig.pool.stop(time.monotonic(), 30)
        flag.touch()
        rig.until(lambda rig: rig.pool.alive == 0)
        deaths = {death.child: death for death in rig.of(Died)}
        assert list(rig.results) == [100]
        assert (deaths[0].exit, deaths[0].started_token, deaths[0].rest) == (0, None, [101, 102])
        assert (deaths[1].exit, deaths[1].killed_because, deaths[1].again_in_s) == (0, None, None)
        assert rig.pool.wake_at() is None
    assert descriptors() == before


def test_stop_kills_at_the_deadline_and_blames_nobody(monkeypatch):
    """A child that does not end in time is killed; its job goes back without blame, for it was us who stopped."""
    rig = Rig(monkeypatch)
    with rig.pool:
        rig.warm()
        rig.give(b"spin", b"keep")
        rig.until(lambda rig: rig.pool.progress(0, time.monotonic()).token == 100)
        rig.pool.stop(time.monotonic(), 0.1)
        death = rig.death()
        assert (death.signal, death.started_token, death.rest) == (signal.SIGKILL, None, [100, 101])
        assert death.killed_because == "it did not end in time"
