"""The ventilator's machine: any legal message, from anybody, in any order; and its lanes and ledger do what they like.

An input is a tape of decisions: what happens next, and what it says. The ledger here is a dict that is always right.
"""

import random
from itertools import islice
from typing import Any

from checks import check_lane, check_window
from fuzz_bytes import Tape, mutate_bytes
from fuzz_worlds import BOOT, KEYS_OF, LEDGER, Speech, check_effects, key_of

from zgrid.protocol import effects as fx
from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State
from zgrid.protocol.lane import Stage
from zgrid.protocol.messages import Acks, Beat, Bye, Hello, Holds, Outcomes, Welcome
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row

BYTES_MAX = 1024
MEMORY_MIB_MAX = 64
PEERS = (b"w1", b"w2", b"w3")
TERMS = Terms(ready_max=8, batch_jobs_max=4, attempts_max=2, ttr_ms=2000, result_patience_ms=3000)
STEPS_S = (0.0, 0.001, 0.2, 1.0, 4.0, 30.0)


def seeds() -> list[bytes]:
    """Return a few tapes by chance, and one in which all goes well."""
    rng = random.Random(1)
    return [rng.randbytes(length) for length in (64, 200, 400, 800)] + [bytes([9, 9, 1, 0, 0, 4, 0, 5, 0, 10, 0] * 8)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some of the decisions."""
    return mutate_bytes(data, rng)


class World:
    """A ventilator, its ledger, and those who speak to it."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.speech, self.now = tape, Speech(tape), 0.0
        self.machine = Ventilator(TERMS, "v", BOOT, LEDGER, "here", ["tcp://s:1", "tcp://s:2"])
        self.delivery = self.machine.delivery
        self.delivery.chains = {1: "null", 2: "faces"}
        self.rows: dict[int, Row] = {}
        self.accepted = 0
        self.closed: dict[int, State] = {}
        self.refills: list[fx.Refill] = []
        self.sent_most = 0
        self.happenings = (
            self._anything, self._to_its_lane, self._from_sink, self._lane_news, self._hello, self._honest_report,
            self._tick,
            self._sink_arrives, self._accept, self._sink_welcome, self._ack, self._refill, self._rest,
        )  # fmt: skip

    def step(self) -> None:
        """Let one thing happen, and look at everything."""
        self.now += self.tape.one(STEPS_S)
        self.perform(self.tape.one(self.happenings)())
        check_window(self.delivery, self.sent_most + KEYS_OF)
        for lane in self.delivery.lanes.values():
            check_lane(self.delivery, lane)
        assert len(self.machine.peers) <= len(self.delivery.lanes) or len(self.delivery.lanes) < len(PEERS)
        for seq in self.rows:
            assert seq not in self.closed, "a job is open and closed"

    def perform(self, effects: list[Any]) -> None:
        """Do what the machine asks of its ledger and lanes."""
        check_effects(effects)
        for effect in effects:
            match effect:
                case fx.Settle(seqs) | fx.SettleLate(seqs):
                    for seq in seqs:
                        self._close(seq, effect.state if type(effect) is fx.Settle else State.STORED)
                case fx.Bury(seq):
                    self._close(seq, State.BURIED)
                case fx.Postpone(seq) | fx.Charge(seq):
                    assert seq in self.rows, "a job that is closed was charged"
                    self.rows[seq] = self.rows[seq]._replace(failures=effect.failures)
                case fx.Refill():
                    self.refills.append(effect)
                case fx.Send(lane, jobs):
                    self.sent_most = max(self.sent_most, sum(len(one.sent) for one in self.delivery.lanes.values()))
                    for job in jobs:
                        assert job.seq in self.rows, f"job {job.seq} was sent and is {self.closed.get(job.seq)}"
                        assert lane not in self.delivery.lanes or job.lane == lane

    def _close(self, seq: int, state: State) -> None:
        if self.rows.pop(seq, None) is not None:
            self.closed[seq] = state

    def _peer(self) -> bytes:
        return self.tape.one(PEERS)

    def _anything(self) -> list[Any]:
        message = self.speech.message()
        return [] if message is None else self.machine.received(self._peer(), message, self.now)

    def _to_its_lane(self) -> list[Any]:
        """Say something with the right boot and lane."""
        peer = self._peer()
        kind = self.tape.one((Beat, Outcomes, Bye))
        message = self.speech.message(kind, boot=BOOT, lane=self.machine.peers.get(peer, 1))
        return [] if message is None else self.machine.received(peer, message, self.now)

    def _from_sink(self) -> list[Any]:
        kind = self.tape.one((None, Acks, Holds, Beat, Welcome))
        message = self.speech.message(kind, **({"ledger": LEDGER} if kind in {Acks, Holds} else {}))
        return [] if message is None else self.machine.sink_received(self.tape.below(2), message, self.now)

    def _lane_news(self) -> list[Any]:
        lane = 1 + self.tape.below(8)
        match self.tape.below(4):
            case 0:
                return self.machine.lane_bound(lane, "tcp://*:9")
            case 1:
                return self.machine.lane_up(lane, self.now)
            case 2:
                return self.machine.lane_down(lane, self.now, "it was cut")
        known = self.delivery.lanes.get(lane)
        if known is not None and known.stage is not Stage.OPENING:
            return []  # its role says so only of a lane that was never there
        return self.machine.lane_refused(lane, "no port")

    def _hello(self) -> list[Any]:
        """A worker comes, and its lane is made and connected."""
        peer = self._peer()
        hello = Hello(
            role="worker",
            name="w",
            boot=BOOT,
            host="here",
            procs=1 + self.tape.below(4),
            filters={"null": "1", "faces": "1"},
        )
        effects = self.machine.received(peer, hello, self.now)
        lane = self.machine.peers[peer]
        self.perform(effects)
        self.perform(self.machine.lane_bound(lane, "tcp://*:9"))
        return self.machine.lane_up(lane, self.now)

    def _honest_report(self) -> list[Any]:
        """A worker reports jobs that it really has."""
        peer = self._peer()
        lane = self.delivery.lanes.get(self.machine.peers.get(peer, 0))
        if lane is None or not lane.sent:
            return []
        jobs = list(islice(lane.sent.values(), 1 + self.tape.below(4)))
        message = Outcomes(
            boot=BOOT, lane=lane.id, serial=lane.serial + 1, seqs=[job.seq for job in jobs],
            attempts=[job.attempt for job in jobs], codes=bytes(self.tape.many(lambda: self.tape.below(7), len(jobs))),
            work_ms=1.0, carries={str(at): self.tape.below(999) for at in range(self.tape.below(len(jobs) + 1))},
        )  # fmt: skip
        return self.machine.received(peer, message, self.now)

    def _tick(self) -> list[Any]:
        return self.machine.tick(self.now)

    def _sink_arrives(self) -> list[Any]:
        return self.machine.sink_arrived(self.tape.below(2))

    def _sink_welcome(self) -> list[Any]:
        effects = []
        for sink in (0, 1):
            welcome = Welcome(name="s", boot=BOOT, address=f"tcp://s:{self.tape.below(3)}")
            effects += self.machine.sink_received(sink, welcome, self.now)
        return effects

    def _accept(self) -> list[Any]:
        """Jobs come in; the ledger holds as many as there are numbers for."""
        first = self.accepted + 1
        self.accepted = min(KEYS_OF, self.accepted + 1 + self.tape.below(6))
        chain, priority = 1 + self.tape.below(2), self.tape.one((0, 5, -5))
        rows = [
            Row(seq, key_of(seq), "file:///a", self.tape.one((0, 1, 1 << 26)), 0, priority, 0, chain, 0)
            for seq in range(first, self.accepted + 1)
        ]
        self.rows.update({row.seq: row for row in rows})
        return self.delivery.accepted(rows, self.now) if rows else []

    def _ack(self) -> list[Any]:
        """A sink has stored what was finished."""
        sink = self.tape.below(2)
        seqs = list(self.delivery.finished[sink])
        return self.machine.sink_received(sink, Acks(ledger=LEDGER, seqs=seqs), self.now)

    def _refill(self) -> list[Any]:
        if not self.refills:
            return []
        refill = self.refills.pop(0)
        rows = [row for row in self.rows.values() if row.chain == refill.chain]
        rows = sorted(
            (row for row in rows if (row.priority, row.seq) > refill.after), key=lambda row: (row.priority, row.seq)
        )
        exhausted = len(rows) < refill.limit
        return self.delivery.loaded(refill.chain, rows[: refill.limit], self.now, exhausted=exhausted)

    def _rest(self) -> list[Any]:
        """What is rarer: reviews, images that cannot be read, hands, and leaving."""
        seq = 1 + self.tape.below(KEYS_OF)
        match self.tape.below(6):
            case 0:
                return self.delivery.reviewed([(seq, key_of(seq))])
            case 1 | 2:
                lane = 1 + self.tape.below(6)
                transient = bool(self.tape.below(2))
                job = next((one.sent[seq] for one in self.delivery.lanes.values() if seq in one.sent), None)
                return self.delivery.unreadable(lane, job, "gone", self.now, transient=transient) if job else []
            case 3:
                self._close(seq, State.CANCELLED)
                return self.delivery.withdrawn([seq], State.CANCELLED, self.now)
            case 4:
                self.delivery.pause(self.tape.one((None, "null")))
                return []
        return self.delivery.resume(self.tape.one((None, "null")), self.now)


def attack(data: bytes) -> None:
    """Play the tape."""
    tape = Tape(data[:BYTES_MAX])
    world = World(tape)
    while tape:
        world.step()
    assert isinstance(world.machine.waiting(), list)
