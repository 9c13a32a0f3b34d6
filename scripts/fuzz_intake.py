"""The sink's machine: any legal message from anybody, any results, and a store that is slow or fails.

An input is a tape of decisions. Whatever is taken in is stored, and acknowledged only then.
"""

import random
from typing import Any

from fuzz_bytes import Tape, mutate_bytes
from fuzz_worlds import BOOT, LEDGERS, Speech, check_effects

from zgrid.protocol.effects import Reply
from zgrid.protocol.intake import Intake, Lookup, Store
from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Acks, Ask, Beat, Bye, Hello, Results

BYTES_MAX = 1024
MEMORY_MIB_MAX = 64
STEPS_S = (0.0, 0.001, 0.03, 1.0, 40.0)


def seeds() -> list[bytes]:
    """Return a few tapes by chance."""
    rng = random.Random(3)
    return [rng.randbytes(length) for length in (64, 200, 400, 800)]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change some of the decisions."""
    return mutate_bytes(data, rng)


class World:
    """A sink and its store."""

    def __init__(self, tape: Tape) -> None:
        self.tape, self.speech, self.now = tape, Speech(tape), 0.0
        self.intake = Intake("s", BOOT, "tcp://s:1", 0.025, 8192, 8)
        self.taken = self.stored = 0
        self.storing: Store | None = None
        self.lookups: list[Lookup] = []
        self.rows: set[bytes] = set()
        self.known: set[tuple[bytes, int]] = set()
        self.happenings = (self._anything, self._results, self._store, self._look, self._tick, self._rarely)

    def step(self) -> None:
        """Let one thing happen, and look at everything."""
        self.now += self.tape.one(STEPS_S)
        self.perform(self.tape.one(self.happenings)())
        due_s = self.intake.due_s(self.now)
        assert due_s is None or due_s >= 0
        assert self.intake.held_bytes >= 0
        assert self.intake.idle == (not self.taken - self.stored)
        assert not self.intake.idle or not self.intake.held_bytes
        assert self.storing is not None or self.intake.idle or due_s is not None, "nobody will store what is here"

    def perform(self, effects: list[Any]) -> None:
        """Do what the machine asks of its store."""
        check_effects(effects)
        for effect in effects:
            if isinstance(effect, Store):
                assert self.storing is None, "two stores at a time"
                assert effect.batch
                self.storing = effect
            elif isinstance(effect, Lookup):
                self.lookups.append(effect)
            elif isinstance(effect, Reply) and isinstance(effect.message, Acks):
                for seq in effect.message.seqs:
                    assert (effect.message.ledger, seq) in self.known, f"job {seq} was acknowledged and is not stored"

    def _anything(self) -> list[Any]:
        message = self.speech.message(self.tape.one((None, Hello, Ask, Beat, Bye)))
        if message is None:
            return []
        return self.intake.received(self.tape.one((b"v1", b"v2", b"?")), message, self.now)

    def _results(self) -> list[Any]:
        message = self.speech.message(Results, ledger=self.tape.one(LEDGERS))
        if not isinstance(message, Results) or self.intake.full:
            return []
        self.taken += 1
        return self.intake.results(message, self.now)

    def _store(self) -> list[Any]:
        """The store is done, or has failed."""
        if self.storing is None:
            return []
        batch, self.storing = self.storing.batch, None
        if not self.tape.below(4):
            return self.intake.store_failed("no space left on device", self.now)
        keys = [message.keys[at : at + KEY_BYTES] for message in batch for at in range(0, len(message.keys), KEY_BYTES)]
        self.stored += len(batch)
        self.rows.update(keys)
        self.known.update((message.ledger, seq) for message in batch for seq in message.seqs)
        return self.intake.stored(self.tape.below(1 + len(keys)), self.now)

    def _look(self) -> list[Any]:
        if not self.lookups:
            return []
        lookup = self.lookups.pop(self.tape.below(len(self.lookups)))
        keys = [lookup.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES] for at in range(len(lookup.seqs))]
        found = self.rows & set(keys)
        self.known.update((lookup.ledger, seq) for seq, key in zip(lookup.seqs, keys, strict=True) if key in found)
        return self.intake.looked_up(lookup, found)

    def _tick(self) -> list[Any]:
        return self.intake.tick(self.now)

    def _rarely(self) -> list[Any]:
        if not self.tape.below(8):
            return self.intake.leave(self.now)
        self.intake.may_end(self.now)
        return []


def attack(data: bytes) -> None:
    """Play the tape."""
    tape = Tape(data[:BYTES_MAX])
    world = World(tape)
    while tape:
        world.step()
