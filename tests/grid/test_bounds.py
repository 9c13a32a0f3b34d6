"""Bounds: memory that does not grow with the queue, and bytes from strangers that change nothing."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import photographs
import pytest
from strangers import listening_ports, rubbish, throw

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid

MIB = 1 << 20
RSS_BYTES_MAX = {"ventilator": 120 * MIB, "worker": 120 * MIB, "sink": 160 * MIB, "child": 260 * MIB}
"""What each kind of process may have in memory: the libraries that it needs, and room for its settings' bounds."""
GROWTH_BYTES_MAX = 20 * MIB


def rss_bytes(pid):
    """Return the memory of a process that is its own: shared pages of libraries and images are not counted twice."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(grid):
    """Return the memory of each process, by role; children count as one kind, the largest of them."""
    found = {process.role: rss_bytes(process.popen.pid) for process in grid.processes.values()}
    children = [rss_bytes(pid) for pid in grid.processes["w1"].children()] if "w1" in grid.processes else []
    return {**found, "child": max(children, default=0)}


def test_memory_does_not_grow_with_the_queue(grid, tmp_path):
    """With ten thousand images instead of one thousand no process has 20 MB more, be they waiting or done."""
    paths = photographs.tiny(tmp_path / "in", 10_000)
    ventilator = grid.ventilator("-", filter=["null"], stdin=subprocess.PIPE)
    grid.sink()

    def queue(some):
        ventilator.popen.stdin.write(b"".join(bytes(path) + b"\n" for path in some))
        ventilator.popen.stdin.flush()

    queue(paths[:1000])
    grid.until(lambda: sum(grid.counts().values()) == 1000, what="a thousand are accepted")
    grid.worker(procs=2)
    grid.until_settled(1000)
    few_done = memory(grid)
    grid.kill("w1", signal.SIGTERM)
    queue(paths[1000:])
    grid.until(lambda: sum(grid.counts().values()) == 10_000, what="ten thousand are accepted")
    many_waiting = rss_bytes(ventilator.popen.pid)
    assert many_waiting - few_done["ventilator"] < GROWTH_BYTES_MAX
    grid.restart("w1")
    assert grid.until_settled(10_000)[State.STORED] == 10_000
    many_done = memory(grid)
    grown = {role: (size - few_done[role]) // MIB for role, size in many_done.items()}
    print(f"MiB after 1,000 { ({role: size // MIB for role, size in few_done.items()}) }, grown by {grown}")
    assert {role: by for role, by in grown.items() if by >= GROWTH_BYTES_MAX // MIB} == {}
    assert {role: size for role, size in many_done.items() if size > RSS_BYTES_MAX[role]} == {}
    assert len(grid.rows()) == 10_000


def test_garbage_at_every_port_changes_nothing(grid, tmp_path):
    """Bytes from strangers at every port, lanes too, cost nobody a connection, a job or an attempt."""
    photographs.tiny(tmp_path / "in", 150)
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked:work_ms=30"])
    sink = grid.sink()
    grid.worker()
    grid.until(lambda: grid.counts()[State.STORED] >= 5, what="some are stored")
    ports = [*listening_ports(ventilator.popen.pid), *listening_ports(sink.popen.pid)]
    assert len(ports) >= 4, "control, lane, the sink's control, intake"
    chance = random.Random(7)
    begun = time.monotonic()
    for port in ports:
        for data in rubbish(chance):
            throw(port, data)
    assert time.monotonic() - begun < 20
    assert ventilator.wait() == 0
    assert len(grid.rows()) == 150
    assert not ventilator.events("worker_gone")
    assert not ventilator.events("job_retried")
    assert len(ventilator.events("worker_joined")) == 1
    assert "lost" not in {one.event for one in grid.history()}


def test_wrong_messages_are_counted_and_dropped(grid, tmp_path):
    """Well-formed ZeroMQ peers that speak no zgrid, an older one, or out of turn are dropped, and the work goes on."""
    zmq = pytest.importorskip("zmq")
    photographs.tiny(tmp_path / "in", 100)
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked:work_ms=30"])
    sink = grid.sink()
    grid.worker()
    grid.until(lambda: grid.counts()[State.STORED] >= 5, what="some are stored")
    (intake,) = listening_ports(sink.popen.pid) - {int(grid.sink_address.rpartition(":")[2])}
    chance = random.Random(11)
    with zmq.Context() as context:
        for address, kind in (
            (grid.address, zmq.DEALER),
            (grid.sink_address, zmq.DEALER),
            (f"tcp://127.0.0.1:{intake}", zmq.PUSH),
        ):
            with context.socket(kind) as stranger:
                stranger.linger = 1000
                stranger.connect(address)
                for kind_byte in range(20):
                    for version in (0, 1, 2):
                        stranger.send_multipart([b"ZG" + bytes([version, kind_byte]), chance.randbytes(30)])
                stranger.send_multipart([b""] * 2000)
                stranger.send(b"x" * 100_000)
    assert ventilator.wait() == 0
    assert len(grid.rows()) == 100
    assert not ventilator.events("worker_gone")
    assert any(process.events("peer_error") for process in (ventilator, sink))
