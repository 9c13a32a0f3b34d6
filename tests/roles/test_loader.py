"""Images on their way to lanes: from files and from the ledger, in each lane's order, inline or by reference."""

import gc
import io
import os
import select
import tarfile
import threading
import time

import pytest

from zgrid.protocol.effects import Send
from zgrid.protocol.lane import Job
from zgrid.protocol.reach import Reach
from zgrid.roles.loader import Loader, is_slow
from zgrid.sources import member_to_uri, path_to_uri
from zgrid.store.ledger import Ledger
from zgrid.transport.loop import Loop


@pytest.fixture
def depot(tmp_path):
    """Yield a function that makes a loader, and jobs: five of files, five that were put, alternating."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    images = [(f"{number}.jpg", b"put %d" % number) for number in range(5)]
    placed = ledger.put(images, ledger.chain_id("null"), 1)
    ledger.commit()
    jobs = []
    for number, one in enumerate(placed):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(b"file %d" % number)
        uri, found = path_to_uri(str(path)), path.stat()
        jobs += [Job(1000 + number, b"k" * 16, uri, found.st_size, found.st_mtime_ns, 0, 0, 1, 1), Job(*one.row)]
    loop, loaders = Loop(), []

    def make(**settings):
        loaders.append(Loader(loop.wake, 1 << 20, tmp_path / "ledger.sqlite", **settings))
        return loaders[-1]

    yield make, jobs, ledger
    for loader in loaders:
        loader.close()
    loop.close()
    ledger.close()


def loaded(loader, jobs):
    """Return what comes out until so many jobs have."""
    parts, deadline = [], time.monotonic() + 20
    while sum(len(part.jobs) + len(part.failed) for part in parts) < jobs:
        assert time.monotonic() < deadline
        parts += loader.take()
        select.select([], [], [], 0.002)
    return parts


def test_inline(depot):
    """Inline, a batch stays one message, whatever its images come from."""
    make, jobs, _ = depot
    loader = make(reach=None)
    loader.load(Send(1, jobs, single=True))
    (part,) = loaded(loader, 10)
    assert (part.jobs, part.single, part.failed) == (jobs, True, [])
    assert part.images == [b"%s %d" % (kind, number) for number in range(5) for kind in (b"file", b"put")]


def test_by_reference_keeps_the_order(depot):
    """By reference, only what was put has its images; messages have one kind each, and the lane's order is kept."""
    make, jobs, _ = depot
    loader = make(reach=lambda _: Reach(["file:///"]))
    loader.load(Send(1, jobs[:4], single=False))
    loader.load(Send(2, jobs[4:5], single=False))
    parts = loader.take()
    assert [part.jobs for part in parts if part.lane == 2] == [jobs[4:5]]  # no other lane waits for it
    loader.load(Send(1, [jobs[6], jobs[8]], single=False))
    parts += loaded(loader, 7 - sum(len(part.jobs) for part in parts))
    mine = [part.jobs for part in parts if part.lane == 1]
    assert mine == [jobs[0:1], jobs[1:2], jobs[2:3], jobs[3:4], [jobs[6], jobs[8]]]
    assert all(bool(part.images) == part.jobs[0].uri.startswith("put:") for part in parts)


def test_image_that_is_gone(depot):
    """An image that the ledger does not keep any more fails its own job for good, and no other."""
    make, jobs, ledger = depot
    ledger.settle([jobs[1].seq], 5, 2)
    ledger.commit()
    loader = make(reach=None)
    loader.load(Send(1, jobs[:4], single=False))
    (part,) = loaded(loader, 4)
    assert part.jobs == [jobs[0], *jobs[2:4]]
    ((job, reason, transient),) = part.failed
    assert (job, transient) == (jobs[1], False)
    assert "put it again under another name" in reason


def test_what_a_worker_may_not_read_travels(depot, tmp_path):
    """By reference, what lies outside of a worker's places is sent whole, and what failed or could not be read."""
    make, jobs, _ = depot
    files = jobs[::2]
    files[3].failures = 1
    files[4].unread = True
    places = {1: [path_to_uri(f"{tmp_path}/{number}.jpg") for number in (0, 1, 3, 4)], 2: []}
    loader = make(reach=lambda lane: Reach(places[lane]))
    loader.load(Send(1, files, single=False))
    parts = loaded(loader, 5)
    assert [(part.jobs, bool(part.images)) for part in parts] == [(files[:2], False), (files[2:], True)]
    loader.load(Send(2, files[:2], single=False))
    (part,) = loaded(loader, 2)
    assert part.images == [b"file 0", b"file 1"]


# A loader's threads leave their archives open: nothing may wait for a thread that reads from a share that is gone.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")
def test_slow_sources_are_read_several_at_once(depot, tmp_path):
    """After an image that took long to come, more threads read; each lane's order stays."""
    make, jobs, _ = depot
    loader = make(reach=None)
    with tarfile.open(tmp_path / "slow.tar.bz2", "w:bz2") as tar:  # some tens of milliseconds to unpack
        member = tarfile.TarInfo("a.jpg")
        member.size = 900_000
        tar.addfile(member, io.BytesIO(b"\xff\xd8\xff\xe0" + os.urandom(member.size - 4)))
    uri = member_to_uri("tar", os.fsencode(tmp_path / "slow.tar.bz2"), "a.jpg")
    slow = Job(2000, b"k" * 16, uri, member.size, 0, 0, 0, 1, 1)
    loader.load(Send(1, [slow], single=False))
    (part,) = loaded(loader, 1)
    assert not part.failed
    assert len(part.images[0]) == member.size
    for number, job in enumerate(jobs):
        loader.load(Send(1 + number % 2, [job], single=False))
    parts = loaded(loader, 10)
    assert any(thread.name.startswith("slow-loader") for thread in threading.enumerate())
    assert [part.jobs[0] for part in parts if part.lane == 1] == jobs[0::2]
    assert [part.jobs[0] for part in parts if part.lane == 2] == jobs[1::2]
    loader.close()
    for thread in threading.enumerate():
        if "loader" in thread.name:
            thread.join(20)
            assert not thread.is_alive()
    gc.collect()  # what they have left open is found now, and not in whichever test comes next


def test_crowded_machine_is_no_slow_disk():
    """Images in memory that take five times as usual, for others want the cores, are still read by one thread."""
    images, size, usual_s = 40, 4_000_000, 0.0016
    assert not is_slow(5 * usual_s + 0.001, images, size, disk=False)
    assert is_slow(5 * usual_s + 0.001, images, size, disk=True)
    assert is_slow(0.1, images, size, disk=False), "a share far away, whose reads the kernel does not count"
