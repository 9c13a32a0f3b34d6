"""The sink of the simulation: the real intake; a store that takes its time, fails, and loses what was not synced."""

from collections import deque
from typing import TYPE_CHECKING, Any

from disk import SimStore
from net import Control, PushPipe
from process import Process

from zgrid.protocol import intake
from zgrid.protocol.effects import Log, Reply
from zgrid.protocol.intake import Intake
from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Message, Results

if TYPE_CHECKING:
    from grid import Grid

LEAVE_S = 10.0


class SinkProcess(Process):
    """A sink with one store. ``store_s``: how long a batch takes; ``broken``: the disk is full."""

    machine: Intake

    def __init__(self, grid: "Grid", name: str, store_s: float, held_bytes_max: int) -> None:
        super().__init__(grid, name)
        self.store = SimStore()
        self.store_s = store_s
        self.held_bytes_max = held_bytes_max
        self.broken = False
        self.slow = 1.0
        self.moves = False
        self.intake = ""
        self.controls: dict[bytes, Control] = {}
        self.pipes: list[PushPipe] = []
        self._inbox: deque[tuple[PushPipe, int, Results]] = deque()
        self._storing: list[Results] | None = None
        self._due_at: float | None = None
        self._performers = {
            Reply: self._reply,
            Log: lambda effect: grid.trace(self, "logs", effect),
            intake.Store: self._store,
            intake.Lookup: self._lookup,
        }

    def started(self) -> None:
        """Build the machine; its intake is where it was, or elsewhere."""
        if not self.intake or self.moves:
            self.intake = f"tcp://{self.name}:{self.grid.next_port()}"
            self.pipes = []
        self.machine = Intake(self.name, self.boot, self.intake, 0.025, self.held_bytes_max, 64)
        self.grid.intakes[self.intake] = self
        self._due_at = None
        for control in self.controls.values():
            self.later(self.rng.random() * 0.2, control.connect)
        for pipe in self.pipes:
            self.later(self.rng.random() * 0.2, pipe.connect)

    def leave(self) -> None:
        """SIGTERM: store what is under way to it, then end."""
        self.perform(self.machine.leave(self.clock.now))
        if self.alive:
            self._leaving(self.clock.now + LEAVE_S)

    def _leaving(self, until: float) -> None:
        if self.machine.may_end(self.clock.now) or self.clock.now >= until:
            self.ends()
        else:
            self.later(0.1, self._leaving, until)

    def crashed(self) -> None:
        """Lose what was read and not stored; a store that is under way has reached the disk or not."""
        if self._storing is not None and self.rng.random() < 0.5:
            self.store.write(self._storing)
        self._storing = None
        self._inbox.clear()
        for control in self.controls.values():
            control.cut()
        for pipe in self.pipes:
            pipe.cut()

    # -- control

    def heard(self, peer: bytes) -> Any:
        """Return what takes in a ventilator's messages."""

        def up(message: Message) -> None:
            self.call(self.life, lambda: self.perform(self.machine.received(peer, message, self.clock.now)))

        return up

    def _reply(self, effect: Reply) -> None:
        control = self.controls.get(effect.peer)
        if control is not None:
            self.grid.trace(self, "says", effect.message)
            control.down.send(self.grid.wired(effect.message))

    # -- results

    def join(self, pipe: PushPipe) -> None:
        """A worker connects to the intake."""
        self.pipes.append(pipe)
        if self.alive:
            pipe.connect()

    def offer(self, pipe: PushPipe, epoch: int, message: Results) -> None:
        """Results lie in the socket; they are read when there is room."""
        self.call(self.life, self._offered, pipe, epoch, message)

    def _offered(self, pipe: PushPipe, epoch: int, message: Results) -> None:
        self._inbox.append((pipe, epoch, message))
        self._read()

    def _read(self) -> None:
        life = self.life
        while self._inbox and not self.machine.full and self.life == life and self.alive:
            pipe, epoch, message = self._inbox.popleft()
            pipe.read(epoch)
            self.grid.trace(self, "takes in", message)
            self.perform(self.machine.results(message, self.clock.now))

    def turned(self) -> None:
        """Sleep no longer than until the intake may have something to do."""
        due_s = self.machine.due_s(self.clock.now)
        if due_s is not None and (self._due_at is None or self.clock.now + due_s < self._due_at):
            self._due_at = self.clock.now + due_s
            self.later(max(due_s, 1e-6), self._tick)

    def _tick(self) -> None:
        self._due_at = None
        self.perform(self.machine.tick(self.clock.now))

    def _store(self, effect: intake.Store) -> None:
        self._storing = effect.batch
        self.later(self.store_s * self.slow * (0.5 + self.rng.random()), self._stored)

    def _stored(self) -> None:
        batch, self._storing = self._storing, None
        assert batch is not None
        if self.broken:
            if self.rng.random() < 0.2:
                self.store.write(batch)  # a disk may say no and have done it
            self.perform(self.machine.store_failed("no space left on device", self.clock.now))
        else:
            duplicates = self.store.write(batch)
            self.perform(self.machine.stored(duplicates, self.clock.now))
        if self.alive:
            self._read()

    def _lookup(self, effect: intake.Lookup) -> None:
        keys = {effect.keys[at : at + KEY_BYTES] for at in range(0, len(effect.keys), KEY_BYTES)}
        early = self.rng.random() < 0.5
        found = keys & self.store.rows.keys() if early else None

        def answer() -> None:
            stored = keys & self.store.rows.keys() if found is None else found
            self.perform(self.machine.looked_up(effect, stored))

        self.later(0.001 + self.rng.random() * 0.01, answer)
