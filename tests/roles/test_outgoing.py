"""The order in which a lane's batches are pushed, over a real socket: it says what a dead worker ran."""

import time
from collections import deque

import pytest
import zmq

from zgrid.protocol import wire
from zgrid.protocol.effects import Send
from zgrid.protocol.flow import Terms
from zgrid.protocol.lane import Lane, Stage
from zgrid.protocol.reach import Reach
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row
from zgrid.roles.loader import Loader
from zgrid.roles.outgoing import Outgoing
from zgrid.sources import path_to_uri
from zgrid.transport.lanes import Lanes
from zgrid.transport.loop import Loop

WITHIN_S = 20.0


@pytest.fixture
def lane(tmp_path):
    """Yield a machine with one lane by reference, its loop, who performs what it sends, and the worker's end."""
    context, loop = zmq.Context(), Loop()
    lanes = Lanes(context, "tcp://127.0.0.1:0", None)
    loader = Loader(loop.wake, 1 << 20, tmp_path / "ledger.sqlite", lambda _: Reach(["file:///"]))
    machine = Ventilator(Terms(window_ms=1), "v", b"ventboot", b"l" * 16, "here", ["tcp://sink:1"])
    machine.delivery.chains = {1: "null"}
    machine.delivery.out.sinks_known = True
    mine = machine.delivery.lanes[1] = Lane(1, b"peer", "worker", "here", 1, {"null": "1"})
    mine.stage = Stage.READY

    mine.pace.done(1, 1.0, 0.0)  # short jobs: two go in one message, and a third when one of them fails
    effects = deque()

    def do(more):
        effects.extend(more)
        while effects:
            effect = effects.popleft()
            if isinstance(effect, Send):
                outgoing.send(effect)

    outgoing = Outgoing(lanes, loader, loop, machine, 60_000, do, lambda _: None)
    loop.on_wake(outgoing.push_loaded)
    loop.every(0.01, outgoing.push_loaded)
    with context.socket(zmq.PULL) as pull:
        pull.connect(lanes.open(1, None))
        yield machine, loop, do, pull
    loader.close()
    lanes.close_all()
    loop.close()
    context.destroy(linger=0)


def test_new_work_goes_behind_what_is_loaded(lane, tmp_path):
    """What takes the place of an image that cannot be read goes behind the others of its batch, as the lane has it."""
    machine, loop, do, pull = lane
    (tmp_path / "2.jpg").write_bytes(b"2")
    found = (tmp_path / "2.jpg").stat()
    rows = [  # what failed before travels with its image, the others do not
        Row(seq, bytes([seq]) * 16, path_to_uri(f"{tmp_path}/{seq}.jpg"), 1, found.st_mtime_ns, 0, failures, 1, 0)
        for seq, failures in ((1, 1), (2, 1), (3, 0))
    ]
    do(machine.delivery.loaded(1, rows, 100.0, exhausted=True))
    pushed, deadline = [], time.monotonic() + WITHIN_S
    while len(pushed) < 2:
        assert time.monotonic() < deadline, f"only {pushed} came"
        loop.turn()
        if pull.poll(0):
            pushed += wire.decode(pull.recv_multipart()).seqs
    assert pushed == list(machine.delivery.lanes[1].sent) == [2, 3]
