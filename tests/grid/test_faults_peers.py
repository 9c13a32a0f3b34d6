"""Workers that answer garbage, or never, or twice, or an hour late, or are called like another: all of it is boring."""

import os
import random
import time
from dataclasses import replace

import photographs
import pytest
import zmq
from ends import check_end
from harness import query
from peer import Peer, results_of

from zgrid.protocol import wire
from zgrid.protocol.job import State
from zgrid.protocol.messages import Acks, Ask, Beat, Bye, Code, Hello, Holds, Jobs, Outcomes, Who
from zgrid.transport.clock import host_identity

pytestmark = pytest.mark.grid

PICTURE_BYTES = 2000
BEAT_MS = 100


@pytest.fixture
def context():
    """Where the sockets of bad peers come from."""
    context = zmq.Context()
    yield context
    context.destroy()


def events_of(process, *names):
    """Return the lines of a log with one of these events."""
    return [line for name in names for line in process.events(name)]


def garbage(chance, peer):
    """Yield frames that a worker may send by a fault of its own: torn, scribbled upon, of the wrong kind, or unfit."""
    jobs = peer.batches[0]
    head, header = wire.encode(
        Outcomes(boot=jobs.boot, lane=jobs.lane, serial=1, seqs=[10**6], attempts=[1], codes=b"\0")
    )
    for at in range(len(header)):
        yield [head, header[:at]]
        yield [head, header[:at] + bytes([header[at] ^ (1 << chance.randrange(8))]) + header[at + 1 :]]
    for kind in range(32):
        yield [head[:3] + bytes([kind]), chance.randbytes(40)]
        yield [head[:3] + bytes([kind]), header, b"an image that does not belong there"]
    yield [head]
    yield [head, b"\xdf\xff\xff\xff\xff"]
    yield [head, b"\x81" * 100_000]


def wrong(peer):
    """Yield messages that are well-formed, and none of the worker's business."""
    jobs = peer.batches[0]
    mine, others, boot = jobs.seqs[:1], [max(peer.seqs()) + 9], jobs.boot
    for code in Code:
        said = {"boot": boot, "lane": jobs.lane, "attempts": [1], "codes": bytes([code])}
        yield Outcomes(**{**said, "serial": 10**9 + code, "seqs": [10**6]})
        yield Outcomes(**{**said, "serial": 10**8 + code, "seqs": others})
        yield Outcomes(**{**said, "serial": 10**7 + code, "seqs": mine, "attempts": [77]})
        yield Outcomes(**{**said, "serial": 1, "seqs": mine, "lane": jobs.lane + 1})
        yield Outcomes(**{**said, "serial": 1, "seqs": mine, "boot": b"somebody"})
    yield Acks(ledger=jobs.ledger, seqs=peer.seqs())
    yield Holds(ledger=jobs.ledger, held=[], unknown=peer.seqs())
    yield Ask(ledger=jobs.ledger, seqs=jobs.seqs, keys=jobs.keys)
    yield Beat(boot=jobs.boot, lane=jobs.lane, seqs=[10**6, 10**7], progress=[0.5, 1.0])
    yield Beat(boot=b"somebody", lane=99, leaving=True)
    yield Bye(boot=jobs.boot, lane=jobs.lane + 1, reason="not mine")
    yield Hello(role="sink", name="odd", boot=peer.boot, host=host_identity(), ledger=jobs.ledger)
    yield Hello(role="ventilator", name="odd", boot=peer.boot, host="elsewhere", ledger=b"of nobody at all")
    yield jobs


def test_worker_that_answers_garbage(grid, context, tmp_path):
    """Whatever a worker says that has jobs, to ventilator and sink: it harms nobody, and only its own jobs are lost."""
    photographs.tiny(tmp_path / "in", 150, f"picture {PICTURE_BYTES}")
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked:work_ms=20"])
    sink = grid.sink()
    grid.worker()
    grid.until_joined("w1")
    peer = Peer(context, grid.address)
    peer.until_given(grid, 2)
    chance = random.Random(3)
    stranger = peer.connect(zmq.DEALER, grid.sink_address)
    for frames in garbage(chance, peer):
        for socket in (peer.control, stranger, peer.intake()):
            socket.send_multipart(frames)
    for message in wrong(peer):
        for socket in (peer.control, stranger, peer.intake()):
            peer.say(message, socket)
    nobody = results_of(peer.batches[0], "odd", ledger=b"of nobody at all")
    uris = [f"file:///nowhere/{seq}.jpg" for seq in nobody.seqs]
    peer.say(replace(nobody, uris=uris, keys=os.urandom(len(nobody.keys))), peer.intake())
    grid.until(lambda: peer.beat() and grid.counts()[State.STORED] > 60, what="the others go on")
    open_seqs = {seq for (seq,) in query(grid.ledger, "SELECT seq FROM jobs WHERE state = 0")}
    assert set(peer.seqs()) <= open_seqs
    peer.close()
    check_end(grid, 150, charged=2, picture_bytes=PICTURE_BYTES, strangers=len(nobody.seqs))
    assert [line["worker"] for line in events_of(ventilator, "worker_gone", "worker_silent")] == ["odd"]
    assert ventilator.events("peer_error")
    assert sink.events("peer_error")


def until_sink_is_up(grid):
    """Wait until a ventilator has accepted its jobs and has a sink."""
    grid.until(lambda: [one for one in grid.status().get("sinks", []) if one["state"] == "up"], what="a sink is there")
    grid.until(lambda: not grid.status()["scanning"], what="all is accepted")


def test_workers_that_never_answer(grid, context, tmp_path, record_property):
    """One that is mute, one that only beats, and one that says it runs its job for ever: others get their jobs."""
    photographs.tiny(tmp_path / "in", 200, f"picture {PICTURE_BYTES}")
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked:work_ms=10"], beat_interval_ms=BEAT_MS, ttr_ms=400)
    grid.sink()
    until_sink_is_up(grid)
    mute, idle, busy = (Peer(context, grid.address, name, procs=1) for name in ("mute", "idle", "busy"))
    given_at = {}
    for peer in (mute, idle, busy):
        peer.until_given(grid, 2)
        given_at[peer.name] = time.monotonic()
    grid.worker()

    def noticed():
        idle.beat()
        busy.beat(seqs=busy.seqs()[:1], progress=[-1.0])
        for line in events_of(ventilator, "worker_silent", "worker_gone"):
            given_at.setdefault(f"-{line['worker']}", time.monotonic())
        return len(given_at) == 6

    grid.until(noticed, 40.0, "all three are given up")
    for name in ("mute", "busy", "idle"):
        took_ms = round((given_at[f"-{name}"] - given_at[name]) * 1000)
        record_property(f"a worker that is {name}: jobs given -> given up (ms)", took_ms)
        print(f"a worker that is {name}: given up after {took_ms} ms")
    for peer in (mute, idle, busy):
        grid.until(lambda peer=peer: peer.beat() and peer.listen() and peer.heard_of(Who), what="it is asked who it is")
        peer.close()
    check_end(grid, 200, charged=2, picture_bytes=PICTURE_BYTES)
    lost = {one.worker: len(one.seqs) for one in grid.history() if one.event == "lost"}
    assert lost == {peer.name: len(peer.seqs()) for peer in (mute, idle, busy)}


def test_results_twice_and_very_late(grid, context, tmp_path, record_property):
    """The first result that is committed wins, whoever made it and however late; all later ones are counted."""
    go = tmp_path / "go"
    photographs.tiny(tmp_path / "in", 1, f"wait {go}", name="a")
    photographs.tiny(tmp_path / "in", 40, f"picture {PICTURE_BYTES}")
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked:work_ms=5"], beat_interval_ms=BEAT_MS)
    grid.sink()
    until_sink_is_up(grid)
    peer = Peer(context, grid.address)
    peer.until_given(grid, 3)
    grid.worker(procs=2)
    grid.until(lambda: ventilator.events("worker_silent"), what="it is given up")
    grid.until(lambda: grid.counts()[State.STORED] == 40, what="all but one are stored")
    for batch in peer.batches:
        peer.results(batch, b"p" * PICTURE_BYTES)  # for one of them it is the first, for the others the second
    began = time.monotonic()
    grid.until_settled(41)
    record_property("late result -> stored (ms)", round((time.monotonic() - began) * 1000))
    for batch in peer.batches * 3:
        peer.results(batch, b"x" * 7)
        peer.outcomes(batch, Code.FAILED)
    go.touch()
    jobs = len(peer.seqs())
    grid.until(lambda: grid.status(grid.sink_address)["duplicates"] == 4 * jobs, what="every other result is counted")
    grid.until(lambda: peer.listen() and grid.status()["late"].get("ack", 0) >= 3 * jobs, what="the late word, too")
    peer.close()
    check_end(grid, 41, charged=2, picture_bytes=PICTURE_BYTES)
    workers = dict(query(grid.database, "SELECT uri, worker FROM images"))
    (late,) = [uri for uri, worker in workers.items() if worker == "odd"]
    assert late.endswith("a-00000.jpg")
    assert not ventilator.events("job_buried")


def test_death_of_one_of_two_workers_of_one_name(grid, tmp_path):
    """Two workers are called the same; one is killed: its own jobs are lost, and the other's stay where they are."""
    photographs.tiny(tmp_path / "in", 200, f"picture {PICTURE_BYTES}")
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked:work_ms=20"])
    first = grid.worker("a")
    grid.until_joined("a")
    grid.start("worker", "b", first.words)
    grid.until_joined("a", "a#2")
    grid.sink()
    grid.until(lambda: min(one["sent"] for one in grid.status()["workers"]) >= 2, what="both have some")
    first.kill()
    check_end(grid, 200, charged=1, picture_bytes=PICTURE_BYTES)
    assert [line["worker"] for line in ventilator.events("worker_gone")] == ["a"]
    lost = {one.worker for one in grid.history() if one.event == "lost"}
    assert lost - {None} == {"a"}  # without a worker: it had reported them, and their results died in its buffers
    first.start()
    grid.until_joined("a", "a#2")


def test_number_that_means_another_image(grid, context):
    """A ventilator whose ledger was restored from an older copy asks for a new image by a number that was used."""
    grid.sink()
    grid.until(lambda: grid.status(grid.sink_address), what="the sink answers")
    peer = Peer(context, grid.sink_address)
    ledger, old, new = os.urandom(16), os.urandom(16), os.urandom(16)
    peer.say(Hello(role="ventilator", name="v", boot=peer.boot, host=host_identity(), ledger=ledger))
    grid.until(lambda: peer.listen() and peer.welcome, what="it is welcome")
    jobs = Jobs(
        boot=peer.boot, ledger=ledger, lane=1, chain="marked", ttr_ms=1, single=False, seqs=[7], attempts=[1], keys=old,
        uris=["file:///old.jpg"], sizes=[1], mtimes_ns=[0], waits=[0],
    )  # fmt: skip
    peer.say(results_of(jobs, "w1"), peer.connect(zmq.PUSH, peer.welcome.address))
    grid.until(lambda: peer.listen() and Acks(ledger=ledger, seqs=[7]) in peer.heard, what="it is stored")
    peer.heard.clear()
    peer.say(Ask(ledger=ledger, seqs=[7], keys=new))
    peer.say(Ask(ledger=ledger, seqs=[7], keys=old))
    grid.until(lambda: peer.listen() and len(peer.heard) == 2, what="both questions are answered")
    assert peer.heard == [Holds(ledger=ledger, held=[], unknown=[7]), Acks(ledger=ledger, seqs=[7])]
    peer.close()
