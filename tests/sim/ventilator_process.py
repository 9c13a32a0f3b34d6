"""The ventilator of the simulation: the real machine, a ledger that commits slowly, lanes, and a source."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from disk import LedgerDisk
from hands import Hands
from net import Control, Pipe
from process import Process

from zgrid.protocol import effects as fx
from zgrid.protocol.flow import Terms
from zgrid.protocol.job import Offer, State
from zgrid.protocol.messages import Bye, Jobs, Message
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row
from zgrid.store.memory import MemoryLedger
from zgrid.store.rows import JobTerms
from zgrid.transport.clock import Swing

if TYPE_CHECKING:
    from grid import Grid
    from sink_process import SinkProcess
    from worker_process import WorkerProcess

TICK_S = 0.2
FEED_JOBS = 16
LEAVE_S = 10.0


class LaneEnd:
    """A lane's socket at the ventilator, and who has connected to it: its worker, or one that had this port before."""

    def __init__(self, lane: int, address: str) -> None:
        self.lane = lane
        self.address = address
        self.links: list[tuple[WorkerProcess, Pipe]] = []
        self.signal_at = 0.0
        self._turn = 0

    def send(self, message: Any) -> None:
        """Send to whoever is connected, in turn, as a PUSH socket does."""
        if self.links:
            self._turn += 1
            self.links[self._turn % len(self.links)][1].send(message)

    def cut(self) -> None:
        """End all connections."""
        for _, pipe in self.links:
            pipe.cut()


class VentilatorProcess(Process):
    """A ventilator over one ledger. ``offers``: what its source finds, with a chain and priority each."""

    machine: Ventilator

    def __init__(
        self, grid: "Grid", name: str, terms: Terms, offers: list[tuple[Offer, str, int]], commit_s: float
    ) -> None:  # fmt: skip
        super().__init__(grid, name)
        self.terms = terms
        self.offers = offers
        self.ledger = MemoryLedger(self.rng.randbytes(16))
        self.disk = LedgerDisk(self.clock, self.rng, self.ledger, commit_s, self._accepted)
        self.accepted: set[bytes] = set()
        self.controls: dict[bytes, Control] = {}
        self.sinks: list[Control] = []
        self.lanes: dict[int, LaneEnd] = {}
        self.log: list[fx.Log] = []
        self.refuse_lanes = 0.0
        self.feed_s = 0.01
        self.set_ms = self._due_set_ms = 0
        self.swing = Swing()
        self._fed = 0
        self._leaves = False
        self.hands = Hands(self)
        self._performers = {
            fx.Reply: self._reply,
            fx.OpenLane: self._open_lane,
            fx.CloseLane: self._close_lane,
            fx.Send: self._send,
            fx.Settle: self._settle,
            fx.SettleLate: self._settle_late,
            fx.Bury: self._bury,
            fx.Charge: self._charge,
            fx.Postpone: self._postpone,
            fx.Record: self._record,
            fx.Refill: self._refill,
            fx.Review: self._review,
            fx.TellSink: self._tell_sink,
            fx.Log: self._log,
        }

    # -- life

    def started(self) -> None:
        """Build the machine over the ledger as the last crash left it."""
        addresses = [f"tcp://{sink.name}:5560" for sink in self.grid.sinks]
        self.machine = Ventilator(self.terms, self.name, self.boot, self.ledger.ledger_id, "here", addresses)
        self.machine.delivery.chains = self.ledger.chain_texts()
        self.machine.delivery.window.newest = self.ledger.durable_seq
        self.lanes = {}
        self.log = []
        self._fed = 0
        self.swing = Swing()
        self._leaves = False
        self._due_set_ms = max(self._due_set_ms, self.set_ms)  # a clock that was set back makes no delay longer
        self.sinks = [self._sink_control(index, sink) for index, sink in enumerate(self.grid.sinks)]
        for control in self.controls.values():
            self.later(self.rng.random() * 0.2, control.connect)
        self._tick()
        self._feed()

    def crashed(self) -> None:
        """Lose sockets, and what the ledger had not synced."""
        self.disk.crash()
        for control in self.controls.values():
            control.cut()
        for lane in self.lanes.values():
            lane.cut()
            self.grid.free(lane.address)
        for index, control in enumerate(self.sinks):
            control.cut()
            self.grid.sinks[index].controls.pop(self.boot, None)

    def leave(self) -> None:
        """SIGTERM: send nothing more, settle what is under way, then end."""
        self.machine.leave()
        self._leaves = True
        self._leaving(self.clock.now + LEAVE_S)

    def _leaving(self, until: float) -> None:
        if self.machine.at_rest or self.clock.now >= until:
            self.perform([fx.TellSink(index, Bye(boot=self.boot)) for index in range(len(self.sinks))])
            if self.alive:
                self.disk.close()
                self.ends()
        else:
            self.later(0.05, self._leaving, until)

    def now_ms(self) -> int:
        """The wall clock, which people set now and then."""
        self.swing.dated(self.set_ms - self._due_set_ms)
        return int(self.clock.now * 1000) + self.set_ms

    def due_now_ms(self) -> int:
        """The clock of delays: what the wall clock would say, had nobody set it since this process began."""
        return int(self.clock.now * 1000) + self._due_set_ms

    def _tick(self) -> None:
        self.later(TICK_S, self._tick)
        self.perform(self.machine.tick(self.clock.now))
        self.disk.enter(self._due)

    def turned(self) -> None:
        """Into the ledger with what waits; what that brings is done at once."""
        self.disk.turn()

    def _due(self) -> None:
        rows = self.ledger.due(self.due_now_ms())
        if rows:
            self.disk.tell(partial(self.call, self.life, self._tell_due, rows))

    def _tell_due(self, rows: list[Row]) -> None:
        self.perform(self.machine.delivery.accepted(rows, self.clock.now))

    # -- the source

    def _feed(self) -> None:
        if self._fed < len(self.offers) and not self._leaves:
            offer, chain, priority = self.offers[self._fed]
            batch = [offer]
            while len(batch) < FEED_JOBS and self.offers[self._fed + len(batch) - 1 :][1:2]:
                following = self.offers[self._fed + len(batch)]
                if following[1:] != (chain, priority):
                    break
                batch.append(following[0])
            self._fed += len(batch)
            self.disk.accept(batch, chain, JobTerms(priority), self.now_ms())
            self.later(self.feed_s, self._feed)

    def _accepted(self, rows: list[Row], delayed: list[Row]) -> None:
        """From here on none of these may be lost; the delayed ones come later."""
        self.accepted.update(row.key for row in (*rows, *delayed))
        self.call(self.life, self._tell_accepted, rows)

    def _tell_accepted(self, rows: list[Row]) -> None:
        self.machine.delivery.chains = self.ledger.chain_texts()
        self.perform(self.machine.delivery.accepted(rows, self.clock.now))

    @property
    def fed(self) -> bool:
        """Whether the source has offered all it has, and it was accepted; one that leaves takes the rest once more."""
        return self._fed >= len(self.offers) and not self._leaves and self.disk.idle

    # -- sockets

    def _sink_control(self, index: int, sink: "SinkProcess") -> Control:
        life = self.life

        def down(message: Message) -> None:
            self.call(life, lambda: self.perform(self.machine.sink_received(index, message, self.clock.now)))

        control = self.grid.control(sink.heard(self.boot), down)
        sink.controls[self.boot] = control
        if sink.alive:
            control.connect()
        return control

    def heard(self, peer: bytes) -> Any:
        """Return what takes in a worker's messages from the control socket."""

        def up(message: Message) -> None:
            self.call(self.life, lambda: self._received(peer, message))

        return up

    def _received(self, peer: bytes, message: Message) -> None:
        self.grid.trace(self, "hears", message)
        self.perform(self.machine.received(peer, message, self.clock.now))

    def _reply(self, effect: fx.Reply) -> None:
        control = self.controls.get(effect.peer)
        if control is not None:
            self.grid.trace(self, "says", effect.message)
            control.down.send(self.grid.wired(effect.message))

    def _tell_sink(self, effect: fx.TellSink) -> None:
        self.sinks[effect.sink].up.send(self.grid.wired(effect.message))

    def _open_lane(self, effect: fx.OpenLane) -> None:
        if self.refuse_lanes and self.rng.random() < self.refuse_lanes:
            self.perform(self.machine.lane_refused(effect.lane, "no port is free"))
            return
        end = LaneEnd(effect.lane, f"tcp://*:{self.grid.lane_port()}")
        self.lanes[effect.lane] = end
        self.grid.bound[end.address] = self, self.life, end
        self.perform(self.machine.lane_bound(effect.lane, end.address))

    def _close_lane(self, effect: fx.CloseLane) -> None:
        end = self.lanes.pop(effect.lane, None)
        if end is not None:
            self.grid.free(end.address)
            end.cut()

    def connected(self, end: LaneEnd, worker: "WorkerProcess", pipe: Pipe) -> None:
        """A lane's monitor says: connected. A second one there takes jobs that are not its own: that ends the lane."""
        end.links.append((worker, pipe))
        if len(end.links) > 1:
            self._signal(end, 0.001, lambda: self._lane_down(end.lane))
        else:
            self._signal(end, 0.001, lambda: self.perform(self.machine.lane_up(end.lane, self.clock.now)))

    def disconnected(self, end: LaneEnd) -> None:
        """A lane's monitor says: disconnected."""
        self._signal(end, 0.001 + 0.02 * self.rng.random(), lambda: self._lane_down(end.lane))

    def _signal(self, end: LaneEnd, delay_s: float, call: Callable[[], None]) -> None:
        """A monitor's events come in order."""
        end.signal_at = max(end.signal_at, self.clock.now + delay_s)
        self.clock.at(end.signal_at, self.call, self.life, call)

    def _lane_down(self, lane: int) -> None:
        self.perform(self.machine.lane_down(lane, self.clock.now, "disconnected"))

    def _send(self, effect: fx.Send) -> None:
        self.grid.checks.sent(self, effect)
        end = self.lanes.get(effect.lane)
        assert end is not None, f"jobs were sent on lane {effect.lane}, which is not bound"
        jobs = effect.jobs
        message = Jobs(
            boot=self.boot,
            ledger=self.ledger.ledger_id,
            lane=effect.lane,
            chain=self.machine.delivery.chains[jobs[0].chain],
            ttr_ms=jobs[0].ttr_ms or self.terms.ttr_ms,
            single=effect.single,
            seqs=[job.seq for job in jobs],
            attempts=[job.attempt for job in jobs],
            keys=b"".join(job.key for job in jobs),
            uris=[job.uri for job in jobs],
            sizes=[job.size for job in jobs],
            mtimes_ns=[job.mtime_ns for job in jobs],
            waits=[0] * len(jobs),
        )
        self.grid.trace(self, "sends", message)
        end.send(self.grid.wired(message))

    # -- the ledger

    def _settle(self, effect: fx.Settle) -> None:
        self.disk.enter(partial(self.ledger.settle, effect.seqs, effect.state, self.now_ms(), effect.reason))

    def _settle_late(self, effect: fx.SettleLate) -> None:
        self.disk.enter(partial(self.ledger.settle_late, effect.seqs, self.now_ms()))

    def _bury(self, effect: fx.Bury) -> None:
        self.grid.trace(self, "buries", effect)
        self.disk.enter(
            partial(self.ledger.bury, effect.seq, effect.failures, effect.reason, effect.evidence, self.now_ms())
        )

    def _charge(self, effect: fx.Charge) -> None:
        self.grid.trace(self, "charges", effect)
        self.disk.enter(
            partial(self.ledger.charge, effect.seq, effect.failures, effect.reason, effect.evidence, self.now_ms())
        )

    def _postpone(self, effect: fx.Postpone) -> None:
        now_ms = self.now_ms()
        due_ms = self.due_now_ms() + effect.delay_ms
        self.disk.enter(
            partial(self.ledger.postpone, effect.seq, effect.failures, due_ms, effect.reason, effect.evidence, now_ms)
        )

    def _record(self, effect: fx.Record) -> None:
        self.grid.trace(self, "records", effect)
        self.disk.enter(
            partial(
                self.ledger.record,
                effect.event,
                effect.seqs,
                self.now_ms(),
                effect.worker,
                effect.lane,
                None,
                effect.note,
            )
        )

    def _refill(self, effect: fx.Refill) -> None:
        def read() -> None:
            rows = self.ledger.next_open(effect.chain, effect.after, effect.limit)
            self.grid.trace(self, "reads", rows)
            exhausted = len(rows) < effect.limit
            self.perform(self.machine.delivery.loaded(effect.chain, rows, self.clock.now, exhausted=exhausted))

        self.disk.read(read)

    def _review(self, effect: fx.Review) -> None:
        since_ms = self.now_ms() - effect.within_ms - self.swing.ms

        def read() -> None:
            jobs = self.ledger.aside(since_ms, effect.limit)
            self.perform(self.machine.delivery.reviewed(jobs))

        self.disk.read(read)

    def _log(self, effect: fx.Log) -> None:
        self.grid.trace(self, "logs", effect)
        self.log.append(effect)

    # -- what tests ask

    def states(self) -> dict[str, State]:
        """Return the state of every job in the ledger, by URI."""
        return {entry.row.uri: entry.state for entry in self.ledger._jobs.values()}
