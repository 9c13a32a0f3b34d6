"""The ventilator: images in, jobs out, and the ledger that forgets none. Here its parts are joined to one loop."""

import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

from zgrid.errors import EXIT_BURIED, EXIT_OK, FullError, SettingsError, StoreError
from zgrid.filters import parse_steps
from zgrid.log import Event, configure
from zgrid.metrics.family import VENTILATOR
from zgrid.protocol import effects as fx
from zgrid.protocol import rights
from zgrid.protocol.job import OPEN, State
from zgrid.protocol.limits import FRAME_BYTES_MAX
from zgrid.protocol.messages import Bye, Hello, Put, Question, Roster, Welcome
from zgrid.protocol.reach import Reach
from zgrid.protocol.rights import AT_VENTILATOR, SINK
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row
from zgrid.roles.answers import Answers
from zgrid.roles.books import Books
from zgrid.roles.desk import Desk
from zgrid.roles.entries import Entries
from zgrid.roles.exposure import open_endpoint
from zgrid.roles.halts import Halts
from zgrid.roles.inquiries import Inquiries
from zgrid.roles.loader import Loader
from zgrid.roles.memory import tune_memory
from zgrid.roles.notify import Notify
from zgrid.roles.operations import Operations
from zgrid.roles.outgoing import Outgoing
from zgrid.roles.porter import REVOKED, Porter
from zgrid.roles.puts import Puts
from zgrid.roles.rate import Rate
from zgrid.roles.scheduling import interrupt_nobody
from zgrid.roles.signals import Signals
from zgrid.roles.supply import Supply
from zgrid.roles.telling import Telling
from zgrid.roles.terms import terms_of
from zgrid.roles.ventilator_metrics import Parts, VentilatorMetrics
from zgrid.settings import VentilatorSettings
from zgrid.store.folder import make_folder
from zgrid.store.ledger import Ledger
from zgrid.transport.address import ports, reach
from zgrid.transport.clock import host_identity, new_boot
from zgrid.transport.clock import now as clock_now
from zgrid.transport.keyring import Member, raw
from zgrid.transport.lanes import Lanes
from zgrid.transport.loop import Loop
from zgrid.transport.post import Post
from zgrid.transport.sockets import control_dealer, control_router, open_context

STOP_S_MAX = 10.0
"""How long a ventilator that is asked to stop waits for what is under way; what is not settled then is done again."""


def serve(settings: VentilatorSettings) -> int:
    """Run a ventilator until it is asked to stop or drained, or with ``once`` until everything is settled.

    Return its exit status. Raises SettingsError where it cannot start, StoreError where its ledger cannot be used.
    """
    tune_memory()
    interrupt_nobody()
    sys.setswitchinterval(0.001)  # loaders' threads must not keep the loop waiting for 5 ms at a time
    with ExitStack() as stack:
        return VentilatorRole(settings, stack).run()


class VentilatorRole:
    """Everything of one ventilator, joined to one loop. ``stack`` closes what it opens."""

    def __init__(self, settings: VentilatorSettings, stack: ExitStack) -> None:
        self.settings = settings
        self.log = configure("ventilator", settings.name, settings.log_level)
        self.log.info(Event.SETTINGS, **settings.for_log())
        self.telling = Telling(self.log)
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.signals = Signals(self.loop.wake, self._last_words)
        stack.callback(self.signals.restore)
        self.notify = Notify(asked=settings.metrics is not None)
        stack.callback(self.notify.close)
        self.metrics = VentilatorMetrics()
        self.endpoint = open_endpoint(settings, "ventilator", VENTILATOR, self.loop, self.notify, self.log, stack)
        # Workers may have filters that are not installed here; what is known to be wrong must not bury every image.
        self.chain = " ".join(map(str, parse_steps(settings.filter, checked=False)))
        self._effects: deque[fx.Effect] = deque()
        self.status = EXIT_OK
        self._stop_at: float | None = None
        self._open_ledger(stack)
        self._open_sockets(stack)
        self._open_parts(stack)

    def run(self) -> int:
        """Serve until told to stop or done; return the exit status."""
        self.loop.on_wake(self._woken)
        self.loop.every(0.1, self._tick)
        self.loop.after = self._turned
        self.loop.due_s = lambda: self.books.due_s(clock_now())
        if not self.halts.draining:
            self.supply.start()
        self.do(self.machine.tick(clock_now()))
        if self.notify.interval_s is not None:
            self.loop.every(self.notify.interval_s, self._notify)
        self.notify.ready()
        self.loop.run()
        self.notify.stopping()
        for post in self.sinks:
            post.send(Bye(boot=self.machine.boot))
        self.telling.catch_up(at_once=True)
        self.log.info(Event.STOPPED, status=self.status, **_named(self.books.ledger.counts()))
        return self.status

    # -- opening

    def _open_ledger(self, stack: ExitStack) -> None:
        settings = self.settings
        make_folder(settings.ledger.parent, "the folder of --ledger,")
        self.notify.status(f"opening the ledger {settings.ledger}")
        ledger = Ledger(settings.ledger)
        self.books = Books(
            ledger,
            settings.commit_interval_ms / 1000,
            wake=self.loop.wake,
            accepted=self._accepted,
            failed=self._disk_failed,
            timed=self.metrics.committed,
        )
        stack.callback(lambda: self.books.close(clock_now()))
        self.ledger = ledger
        self.log.info(Event.LEDGER_OPENED, file=str(settings.ledger), **_named(ledger.counts()))
        self.machine = Ventilator(
            terms_of(settings), settings.name, new_boot(), ledger.ledger_id, host_identity(), settings.sink
        )
        self.machine.delivery.chains = ledger.chain_texts()
        self.machine.delivery.window.newest = ledger.durable_seq

    def _open_sockets(self, stack: ExitStack) -> None:
        context = open_context()
        stack.callback(context.term)
        settings = self.settings
        self.porter = Porter(rights.VENTILATOR, settings, settings.sink, self.loop, self.telling, context, stack)
        router = control_router(context, FRAME_BYTES_MAX)  # images are put here, too
        stack.callback(router.close)
        self.address = self.porter.bind(router, settings.bind, AT_VENTILATOR, "--bind")
        self.workers = self.porter.post(router, AT_VENTILATOR, routed=True, speaker=self.machine.speaker)
        self.loop.watch(router, self._read_workers)
        self.lanes = Lanes(context, self.address, ports(settings.lanes), self.porter.guard)
        stack.callback(self.lanes.close_all)
        self.sinks: list[Post] = []
        for index, address in enumerate(settings.sink):
            curve = self.porter.calls.curve(address, SINK, self.porter.sink_members())
            self.machine.sinks[index].key = raw(curve.server.decode()) if curve is not None else b""
            dealer = control_dealer(context, self.machine.boot, address, "--sink", monitored=True, curve=curve)
            stack.callback(dealer.close)
            self.sinks.append(Post(dealer, self.telling.complain))
            self.loop.watch(dealer, partial(self._read_sink, index))
            self.porter.calls.watch(dealer, address, partial(self._arrived, index))
        stack.callback(self.porter.calls.close)
        self.porter.changed = self._put_out
        self.log.info(Event.LISTENING, address=self.address)

    def _open_parts(self, stack: ExitStack) -> None:
        settings, machine, books = self.settings, self.machine, self.books
        self.rate = Rate(clock_now())
        reach = self._reach if settings.by_reference else None
        loader = Loader(self.loop.wake, settings.job_bytes_max, settings.ledger, reach)
        stack.callback(loader.close)
        key_of = self.workers.public
        self.outgoing = Outgoing(self.lanes, loader, self.loop, machine, settings.ttr_ms, self.do, key_of)
        self.entries = Entries(books, machine, self.log, self.rate, self.do)
        self.supply = Supply(settings, self.chain, books, self.loop, self.log)
        stack.callback(self.supply.stop)
        self.halts = Halts(books, machine, self.supply, self.log, self.do)
        self.inquiries = Inquiries(settings.ledger, self.loop.wake)
        stack.callback(self.inquiries.close)
        clock = self.entries.due_clock
        answers = Answers(
            machine, books, self.inquiries, self.supply, self.halts, self.rate, clock, self.chain, self.waiting,
            settings.by_reference, self.porter.counts,
        )  # fmt: skip
        operations = Operations(books, machine, self.inquiries, clock, self.log, self.do)
        puts = Puts(books, machine, self.halts, self.chain, settings.job_bytes_max, clock, self.do)
        verbs = {**answers.verbs(), **operations.verbs(), **self.halts.verbs()}
        self.desk = Desk(self.workers.send, verbs, puts.take)
        self._perform: dict[type, Callable[[Any], None]] = {
            fx.Reply: self._reply,
            fx.TellSink: self._tell_sink,
            fx.OpenLane: self.outgoing.open,
            fx.CloseLane: self.outgoing.close,
            fx.Send: self.outgoing.send,
            fx.Log: self.telling.tell,
            **self.entries.performers(),
        }
        if self.endpoint is not None:
            self._perform = self.metrics.watch(self._perform)
            posts = (self.workers, *self.sinks)
            parts = Parts(machine, self.ledger, self.supply, self.halts, self.telling, posts, self.waiting)
            self.endpoint.begin(lambda: self.metrics.stock(parts), lambda: self.metrics.look(settings.ledger))

    def _reach(self, lane: int) -> Reach:
        """Return what the worker of a lane may read itself; nothing, when it is gone."""
        known = self.machine.delivery.lanes.get(lane)
        return known.reads if known is not None else Reach()

    # -- what happens

    def _read_workers(self) -> None:
        for peer, message in self.workers.receive():
            if isinstance(message, Question | Put):
                self.desk.take(peer, message)
            elif type(message) is Hello and message.role == rights.VENTILATOR and self.porter.guard is not None:
                self.workers.send(self.porter.roster() or Roster(names=[], roles=[], keys=b"", places=[]), peer)
            else:
                self.do(self.machine.received(peer, message, clock_now()))

    def _read_sink(self, index: int) -> None:
        for _, message in self.sinks[index].receive():
            said = message
            if type(said) is Welcome:
                address = reach(said.address, self.settings.sink[index])
                said = Welcome(name=said.name, boot=said.boot, address=address)
                self._tell_roster(index)
            self.do(self.machine.sink_received(index, said, clock_now()))

    def _arrived(self, index: int) -> None:
        self.do(self.machine.sink_arrived(index))

    def _tell_roster(self, index: int) -> None:
        """Tell a sink whom it may let in."""
        roster = self.porter.roster() if self.machine.sinks[index].key else None
        if roster is not None:
            self.sinks[index].send(roster)

    def _put_out(self, gone: list[Member]) -> None:
        """Part from members whose keys were revoked. Raises SettingsError for a sink: no other has its place."""
        keys = {raw(one.public) for one in gone}
        for sink in self.machine.sinks:
            if sink.key in keys:
                raise SettingsError(f"the key of the sink {sink.address} was revoked: name another with --sink")
        self.porter.part(self.workers, gone, self._leave)

    def _leave(self, peer: bytes) -> None:
        bye = Bye(boot=self.machine.boot, lane=self.machine.peers.get(peer, 0), reason=REVOKED)
        self.do(self.machine.received(peer, bye, clock_now()))

    def _woken(self) -> None:
        self.outgoing.push_loaded()
        self.inquiries.tell()
        if self.signals.asked and self._stop_at is None:
            self.log.info(Event.DRAINING, reason="asked to stop")
            self._stop_at = clock_now() + STOP_S_MAX
            self.supply.stop()
            self.machine.leave()

    def _tick(self) -> None:
        self.do(self.machine.tick(clock_now()))
        self.porter.keep(self.workers, self.machine.peers, rights.WORKER)
        if self.porter.owes_roster():
            for index in range(len(self.sinks)):
                self._tell_roster(index)
        self.entries.wake_delayed()
        for sentence in self.machine.waiting() + self.halts.waiting():
            self.telling.say(Event.CHAIN_WAITING, sentence, {"reason": sentence})
        self.telling.catch_up()

    def _notify(self) -> None:
        """Tell the supervisor how it stands."""
        counts, workers = self.books.ledger.counts(), len(self.machine.delivery.lanes)
        jobs, per_s = sum(counts.get(state, 0) for state in OPEN), self.rate.per_s(clock_now())
        self.notify.status(f"{jobs:,} jobs open, {per_s:.1f} settled/s, {workers} workers")
        self.notify.alive(self.books.at)
        if self._stop_at is not None:
            self.notify.stopping()

    def _turned(self) -> None:
        """At the end of each turn: offers into the ledger, entries into commits, and whether all is done."""
        self.supply.turn()
        self.books.turn(clock_now())
        self.supply.end()
        if self._stop_at is not None:
            if self.machine.at_rest or clock_now() > self._stop_at:
                self.loop.stop()
        elif self.halts.draining:
            self._end_drain()
        elif self.settings.once and self.supply.finished and self._is_settled():
            counts = self.books.ledger.counts()
            self.log.info(Event.SETTLED, **_named(counts))
            self.status = EXIT_BURIED if counts[State.BURIED] else EXIT_OK
            self.loop.stop()

    def _end_drain(self) -> None:
        """Stop once everything is settled, and the next start is a start like any other."""
        if not self._is_settled():
            return
        if self.halts.drained:
            self.log.info(Event.SETTLED, **_named(self.books.ledger.counts()))
            self.loop.stop()
        else:
            self.halts.forget_drain()

    def _is_settled(self) -> bool:
        """Whether every accepted job is closed, on disk, and nobody is asking for anything."""
        counts = self.books.ledger.counts()
        if any(counts.get(state, 0) for state in OPEN) or self.desk.busy:
            return False
        self.books.hurry()
        return self.books.idle

    def waiting(self) -> list[str]:
        """Say, in sentences, what new jobs, ready ones, or a drain wait for."""
        disk = [self.books.failing] if self.books.failing else []
        return disk + self.machine.waiting() + self.halts.waiting()

    def _accepted(self, rows: list[Row]) -> None:
        """Jobs are on disk: from here on none of them is lost."""
        self.supply.accepted(rows)
        self.machine.delivery.chains = self.books.ledger.chain_texts()
        self.do(self.machine.delivery.accepted(rows, clock_now()))

    def _disk_failed(self, error: StoreError) -> None:
        event = Event.DISK_FULL if isinstance(error, FullError) else Event.STORE_FAILED
        self.telling.say(event, "ledger", {"reason": str(error)})

    def _last_words(self) -> None:
        """Told twice to stop: what is not on disk by now is found again, or told again, after the next start."""
        self.telling.catch_up(at_once=True)
        self.log.info(Event.STOPPED, status=EXIT_OK, reason="told twice to stop")

    # -- effects

    def do(self, effects: Iterable[fx.Effect]) -> None:
        """Perform effects in order; those that performing them brings come after."""
        self._effects.extend(effects)
        while self._effects:
            effect = self._effects.popleft()
            self._perform[type(effect)](effect)

    def _reply(self, effect: fx.Reply) -> None:
        self.workers.send(effect.message, effect.peer)

    def _tell_sink(self, effect: fx.TellSink) -> None:
        self.sinks[effect.sink].send(effect.message)


def _named(counts: dict[State, int]) -> dict[str, int]:
    return {state.name.lower(): number for state, number in counts.items()}
