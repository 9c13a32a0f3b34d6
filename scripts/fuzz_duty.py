"""The worker's machine: any legal message from its ventilators, any news of its children, in any order.

An input is a tape of decisions. What the worker says must be legal, and no more than one result comes of a job.
"""

import random
from typing import Any

from fuzz_bytes import Tape, mutate_bytes
from fuzz_worlds import BOOT, BOOTS, LEDGER, Speech, check_effects, jobs_of

from zgrid.protocol.agent_effects import Assign, Push
from zgrid.protocol.assignment import Returned
from zgrid.protocol.duty import Duty
from zgrid.protocol.messages import Beat, Jobs, Refuse, Welcome, Who

BYTES_MAX = 1024
MEMORY_MIB_MAX = 64
CHILDREN = 2
STEPS_S = (0.0, 0.001, 0.2, 1.0, 4.0, 30.0)


def seeds() -> list[bytes]:
    """Return a few tapes by chance."""
    rng = random.Random(2)
    return [rng.randbytes(length) for length in (64, 200, 400, 800)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some of the decisions."""
    return mutate_bytes(data, rng)


class World:
    """A worker with two children and two ventilators."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.speech, self.now = tape, Speech(tape), 100.0
        self.duty = Duty("w", BOOT, "here", CHILDREN, 2)
        self.given: set[int] = set()
        self.happenings = (
            self._anything, self._welcome, self._jobs, self._any_jobs, self._ready, self._returned, self._returned,
            self._died,
            self._observed, self._tick, self._rarely,
        )  # fmt: skip

    def step(self) -> None:
        """Let one thing happen, and look at everything."""
        self.now += self.tape.one(STEPS_S)
        effects = self.tape.one(self.happenings)()
        check_effects(effects)
        for effect in effects:
            if isinstance(effect, Assign):
                assert 0 <= effect.start < effect.stop <= len(effect.batch.seqs)
                assert self.duty.children[effect.child].ready, "work for a child that is not there"
            if isinstance(effect, Push):
                assert effect.address in {address for one in self.duty.employers for address in one.sinks}
        tokens = [
            part.batch.token + at
            for owner in (*(one.queue for one in self.duty.employers), *(one.ranges for one in self.duty.children))
            for part in owner
            for at in range(part.start, part.stop)
        ]
        assert len(tokens) == len(set(tokens)), "a job is in two places"

    def _anything(self) -> list[Any]:
        message = self.speech.message(self.tape.one((None, Welcome, Who, Refuse, Beat)))
        return [] if message is None else self.duty.received(self.tape.below(2), message, self.now)

    def _welcome(self) -> list[Any]:
        sinks = ["tcp://s:1", "tcp://s:2"][: 1 + self.tape.below(2)]
        welcome = Welcome(
            name="v", boot=self.tape.one(BOOTS), lane=1 + self.tape.below(3), address="tcp://*:1", sinks=sinks
        )
        return self.duty.received(self.tape.below(2), welcome, self.now)

    def _jobs(self) -> list[Any]:
        """Work for the lane as it is."""
        index = self.tape.below(2)
        employer = self.duty.employers[index]
        if not employer.lane:
            return []
        first = 1 + self.tape.below(16)
        seqs = range(first, first + 1 + self.tape.below(6))
        jobs = jobs_of(seqs, lane=employer.lane, single=bool(self.tape.below(2)), ledger=LEDGER, boot=employer.boot)
        return self.duty.work(index, jobs, self.now)

    def _any_jobs(self) -> list[Any]:
        index = self.tape.below(2)
        employer = self.duty.employers[index]
        fixed = {"boot": employer.boot, "lane": employer.lane} if employer.lane else {}
        message = self.speech.message(Jobs, **fixed)
        return self.duty.work(index, message, self.now) if isinstance(message, Jobs) else []

    def _ready(self) -> list[Any]:
        return self.duty.child_ready(self.tape.below(CHILDREN), {"null": "1"}, self.now)

    def _returned(self) -> list[Any]:
        """A child reports some of what it has, as its agent takes it in."""
        index = self.tape.below(CHILDREN)
        has = sum(part.stop - part.start for part in self.duty.children[index].ranges)
        if not has:
            return []
        count = 1 + self.tape.below(has)
        codes = bytes(self.tape.many(lambda: self.tape.below(4), count))
        work_ms = self.tape.one((0.0, 0.1, 5.0, 5000.0, 1e15 / count))
        news = Returned.plain(codes, [0.0] * count, [work_ms] * count)
        news.reasons = {at: {"reason": "why"} for at, code in enumerate(codes) if code}
        if self.tape.below(2):
            news.notes = [None if code else {"faces": []} for code in codes]
            news.pictures = {at: b"png" for at, code in enumerate(codes) if not code and self.tape.below(2)}
            news.media = ["image/png" if at in news.pictures else None for at in range(count)]
        return self.duty.returned(index, news, self.now)

    def _token(self, index: int) -> int | None:
        ranges = self.duty.children[index].ranges
        if not ranges or not self.tape.below(4):
            return self.tape.one((None, 0, 1, 1 << 62))
        part = self.tape.one(tuple(ranges))
        return part.batch.token + part.start + self.tape.below(part.stop - part.start)

    def _died(self) -> list[Any]:
        index = self.tape.below(CHILDREN)
        token = self._token(index)
        self.duty.children[index].ready = False
        return self.duty.child_died(index, token, {"reason": "signal 11", "stderr": "x"}, self.now)

    def _observed(self) -> list[Any]:
        index = self.tape.below(CHILDREN)
        progress = self.tape.one((-1.0, 0.0, 0.5, 1.0))
        moved_at = self.now - self.tape.one(STEPS_S)
        return self.duty.observed(index, self._token(index), moved_at, progress, self.now)

    def _tick(self) -> list[Any]:
        return self.duty.tick(self.now)

    def _rarely(self) -> list[Any]:
        match self.tape.below(8):
            case 0:
                return self.duty.leave(self.now)
            case 1:
                return [*self.duty.hand_back(self.now), *self.duty.farewell("SIGTERM")]
        self.duty.blocked = bool(self.tape.below(2))
        return self.duty.assign(self.now)


def attack(data: bytes) -> None:
    """Play the tape."""
    tape = Tape(data[:BYTES_MAX])
    world = World(tape)
    while tape:
        world.step()
