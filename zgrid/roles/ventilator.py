"""The ventilator: sources in, jobs out, and the ledger that forgets none of them."""

import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any

from zgrid.errors import EXIT_BURIED, EXIT_OK, SettingsError, StoreError
from zgrid.filters import parse_steps
from zgrid.log import Event, configure
from zgrid.protocol import effects as fx
from zgrid.protocol import wire
from zgrid.protocol.job import OPEN, State
from zgrid.protocol.lane import Job
from zgrid.protocol.messages import Answer, Bye, Frame, Jobs, Question, Welcome
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row
from zgrid.roles import answers
from zgrid.roles.books import Books
from zgrid.roles.loader import Loader, Unreadable
from zgrid.roles.memory import tune_memory
from zgrid.roles.rate import Rate
from zgrid.roles.scanner import Batch, Scanner
from zgrid.roles.signals import Signals
from zgrid.roles.telling import Telling
from zgrid.roles.terms import terms_of
from zgrid.settings import VentilatorSettings
from zgrid.sources import Passed
from zgrid.store.ledger import Ledger
from zgrid.transport.address import ports, reach
from zgrid.transport.clock import host_identity, new_boot, wall_ms
from zgrid.transport.clock import now as clock_now
from zgrid.transport.lanes import Lanes
from zgrid.transport.loop import Loop
from zgrid.transport.post import Post
from zgrid.transport.sockets import bind, control_dealer, control_router, open_context

OFFERS_WAITING_MAX = 8
"""Batches of offers that may wait for one commit of the ledger; then the search waits too."""


def serve(settings: VentilatorSettings) -> int:
    """Run a ventilator until it is asked to stop, or with ``once`` until everything is settled; return its exit status.

    Raises SettingsError where it cannot start, StoreError where its ledger cannot be used.
    """
    tune_memory()
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
        self.signals = Signals(self.loop.wake)
        stack.callback(self.signals.restore)
        # Workers may have filters that are not installed here; what is known to be wrong must not bury every image.
        self.chain = " ".join(map(str, parse_steps(settings.filter, checked=False)))
        settings.ledger.parent.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(settings.ledger)
        self.books = Books(
            ledger,
            settings.commit_interval_ms / 1000,
            wake=self.loop.wake,
            accepted=self._accepted,
            failed=self._disk_failed,
        )
        stack.callback(lambda: self.books.close(clock_now()))
        self.log.info(Event.LEDGER_OPENED, file=str(settings.ledger), **_named(ledger.counts()))
        self.machine = Ventilator(
            terms_of(settings), settings.name, new_boot(), ledger.ledger_id, host_identity(), settings.sink
        )
        self.machine.delivery.chains = ledger.chain_texts()
        self._open_sockets(stack)
        self.loader = Loader(self.loop.wake, settings.job_bytes_max)
        stack.callback(self.loader.close)
        self.scanner = Scanner(settings.sources, settings.job_bytes_max, stdin="-" in settings.sources)
        stack.callback(self.scanner.stop)
        self.rate = Rate(clock_now())
        self.began = clock_now()
        self.passed_over = 0
        self.known = 0
        self.status = EXIT_OK
        self._scan_told = False
        self._scanning = False
        self._effects: deque[fx.Effect] = deque()
        self._blocked: set[int] = set()
        self._perform: dict[type, Callable[[Any], None]] = {
            fx.Reply: self._reply,
            fx.TellSink: self._tell_sink,
            fx.OpenLane: self._open_lane,
            fx.CloseLane: self._close_lane,
            fx.Send: self._send,
            fx.Settle: self._settle,
            fx.Bury: self._bury,
            fx.Charge: self._charge,
            fx.Postpone: self._postpone,
            fx.Record: self._record,
            fx.Refill: self._refill,
            fx.Log: self.telling.tell,
        }

    def run(self) -> int:
        """Serve until told to stop or done; return the exit status."""
        self.loop.on_wake(self._woken)
        self.loop.every(0.1, self._tick)
        self.loop.after = self._turned
        self.loop.due_s = lambda: self.books.due_s(clock_now())
        self.log.info(Event.SCAN_STARTED, sources=self.settings.sources)
        self.loop.watch(self.scanner.fileno(), self._read_scanner)
        self._scanning = True
        self._do(self.machine.tick(clock_now()))
        self.loop.run()
        for post in self.sinks:
            post.send(Bye(boot=self.machine.boot))
        self.log.info(Event.STOPPED, status=self.status, **_named(self.books.ledger.counts()))
        return self.status

    # -- opening

    def _open_sockets(self, stack: ExitStack) -> None:
        context = open_context()
        stack.callback(context.term)
        router = control_router(context)
        stack.callback(router.close)
        self.address = bind(router, self.settings.bind, "--bind")
        self.workers = Post(router, self.telling.complain, routed=True)
        self.loop.watch(router, self._read_workers)
        self.lanes = Lanes(context, self.address, ports(self.settings.lanes))
        stack.callback(self.lanes.close_all)
        self.loop.watch(self.lanes.fileno(), self._read_monitors)
        self.sinks: list[Post] = []
        for index, address in enumerate(self.settings.sink):
            dealer = control_dealer(context, self.machine.boot, address, "--sink")
            stack.callback(dealer.close)
            self.sinks.append(Post(dealer, self.telling.complain))
            self.loop.watch(dealer, partial(self._read_sink, index))
        self.log.info(Event.LISTENING, address=self.address)

    # -- what happens

    def _read_workers(self) -> None:
        for peer, message in self.workers.receive():
            if type(message) is Question:
                self._answer(peer, message)
            else:
                self._do(self.machine.received(peer, message, clock_now()))

    def _read_sink(self, index: int) -> None:
        for _, message in self.sinks[index].receive():
            said = message
            if type(said) is Welcome:
                address = reach(said.address, self.settings.sink[index])
                said = Welcome(name=said.name, boot=said.boot, address=address)
            self._do(self.machine.sink_received(index, said, clock_now()))

    def _read_monitors(self) -> None:
        for signal in self.lanes.signals():
            now = clock_now()
            if signal.up:
                self._do(self.machine.lane_up(signal.lane, now))
            else:
                self._do(self.machine.lane_down(signal.lane, now, "its connection closed"))

    def _woken(self) -> None:
        for loaded in self.loader.take():
            now = clock_now()
            for unreadable in loaded.failed:
                self._do(self._unreadable(loaded.lane, unreadable, now))
            if loaded.jobs:
                self._put(loaded.lane, loaded.jobs, loaded.single, loaded.images)
        if self.signals.asked:
            self.log.info(Event.DRAINING, reason="asked to stop")
            self.loop.stop()

    def _tick(self) -> None:
        now = clock_now()
        self._do(self.machine.tick(now))
        self.books.enter(self._wake_delayed)
        for sentence in self.machine.waiting():
            self.telling.say(Event.CHAIN_WAITING, sentence, {"reason": sentence})

    def _turned(self) -> None:
        """At the end of each turn: offers into the ledger, entries into commits, and whether all is done."""
        while self.books.offers < OFFERS_WAITING_MAX and not self.books.failing:
            batch = self.scanner.take()
            if batch is None:
                break
            self._offer(batch)
        if self.scanner.wants and not self._scanning:
            self.loop.watch(self.scanner.fileno(), self._read_scanner)
            self._scanning = True
        self.books.turn(clock_now())
        self._do(())
        if self.scanner.finished and not self._scan_told:
            self._scan_ended()
        if self.settings.once and self._is_settled():
            counts = self.books.ledger.counts()
            self.log.info(Event.SETTLED, **_named(counts))
            self.status = EXIT_BURIED if counts[State.BURIED] else EXIT_OK
            self.loop.stop()

    def _is_settled(self) -> bool:
        if not (self.scanner.finished and self._scan_told):
            return False
        counts = self.books.ledger.counts()
        if any(counts.get(state, 0) for state in OPEN):
            return False
        self.books.hurry()
        return self.books.idle

    # -- sources

    def _read_scanner(self) -> None:
        fd = self.scanner.fileno()
        self.scanner.read()
        if not self.scanner.wants:
            self.loop.forget(fd)
            self._scanning = False

    def _offer(self, batch: Batch) -> None:
        offers = []
        for found in batch:
            if isinstance(found, Passed):
                self.passed_over += 1
                self.log.debug(Event.FILE_PASSED_OVER, uri=found.uri, reason=found.reason)
            else:
                offers.append(found)
        if offers:
            self.known += len(offers)
            self.books.offer(offers, self.chain, wall_ms())

    def _accepted(self, rows: list[Row]) -> None:
        """Jobs are on disk: from here on none of them is lost."""
        self.known -= len(rows)
        self.machine.delivery.chains = self.books.ledger.chain_texts()
        self._do(self.machine.delivery.accepted(rows, clock_now()))

    def _scan_ended(self) -> None:
        if self.books.offers:
            return
        self._scan_told = True
        accepted = sum(self.books.ledger.counts().values())
        self.log.info(Event.SCAN_FINISHED, accepted=accepted, known_already=self.known, passed_over=self.passed_over)
        if self.scanner.error is not None:
            raise self.scanner.error

    def _wake_delayed(self) -> None:
        rows = self.books.ledger.due(wall_ms())
        if rows:
            self._effects.extend(self.machine.delivery.accepted(rows, clock_now()))

    # -- effects

    def _do(self, effects: Iterable[fx.Effect]) -> None:
        """Perform effects in order; those that performing them brings come after."""
        self._effects.extend(effects)
        while self._effects:
            effect = self._effects.popleft()
            self._perform[type(effect)](effect)

    def _reply(self, effect: fx.Reply) -> None:
        self.workers.send(effect.message, effect.peer)

    def _tell_sink(self, effect: fx.TellSink) -> None:
        self.sinks[effect.sink].send(effect.message)

    def _open_lane(self, effect: fx.OpenLane) -> None:
        try:
            address = self.lanes.open(effect.lane)
        except (SettingsError, OSError) as error:
            self._effects.extend(self.machine.lane_refused(effect.lane, f"no lane can be opened: {error}"))
            return
        self._effects.extend(self.machine.lane_bound(effect.lane, address))

    def _close_lane(self, effect: fx.CloseLane) -> None:
        socket = self.lanes.socket(effect.lane)
        if socket is not None:
            self.loop.forget(socket)
        self._blocked.discard(effect.lane)
        self.lanes.close(effect.lane)

    def _send(self, effect: fx.Send) -> None:
        if self.settings.by_reference:
            self._put(effect.lane, effect.jobs, effect.single, [])
        else:
            self.loader.load(effect)

    def _put(self, lane: int, jobs: list[Job], single: bool, images: list[bytes]) -> None:
        wall = wall_ms()
        frames = wire.encode(
            Jobs(
                boot=self.machine.boot,
                ledger=self.machine.delivery.ledger,
                lane=lane,
                chain=self.machine.delivery.chains[jobs[0].chain],
                ttr_ms=self.settings.ttr_ms,
                single=single,
                seqs=[job.seq for job in jobs],
                attempts=[job.attempt for job in jobs],
                keys=b"".join([job.key for job in jobs]),
                uris=[job.uri for job in jobs],
                sizes=[job.size for job in jobs],
                mtimes_ns=[job.mtime_ns for job in jobs],
                waits=[max(0, wall - job.accepted_ms) for job in jobs],
                images=tuple(images),
            )
        )
        self._push(lane, frames)

    def _push(self, lane: int, frames: list[Frame]) -> None:
        if self.lanes.send(lane, frames) or lane in self._blocked:
            return
        socket = self.lanes.socket(lane)
        assert socket is not None
        self._blocked.add(lane)
        self.loop.watch(socket, partial(self._unblock, lane), writable=True)

    def _unblock(self, lane: int) -> None:
        if self.lanes.flush(lane):
            self._blocked.discard(lane)
            socket = self.lanes.socket(lane)
            if socket is not None:
                self.loop.forget(socket)

    def _unreadable(self, lane: int, unreadable: Unreadable, now: float) -> list[fx.Effect]:
        return self.machine.delivery.unreadable(
            lane, unreadable.job.seq, unreadable.reason, now, transient=unreadable.transient
        )

    def _settle(self, effect: fx.Settle) -> None:
        self.rate.add(len(effect.seqs), clock_now())
        self.books.enter(partial(self.books.ledger.settle, effect.seqs, effect.state, wall_ms(), effect.reason))

    def _bury(self, effect: fx.Bury) -> None:
        self.rate.add(1, clock_now())
        self.log.warning(
            Event.JOB_BURIED, job=effect.seq, attempt=effect.failures, reason=effect.reason, **_where(effect)
        )
        self.books.enter(
            partial(self.books.ledger.bury, effect.seq, effect.failures, effect.reason, effect.evidence, wall_ms())
        )
        self.books.enter(partial(self.books.ledger.record, "buried", [effect.seq], wall_ms(), note=effect.reason))

    def _charge(self, effect: fx.Charge) -> None:
        self.log.warning(
            Event.JOB_RETRIED, job=effect.seq, attempt=effect.failures, reason=effect.reason, **_where(effect)
        )
        self.books.enter(
            partial(self.books.ledger.charge, effect.seq, effect.failures, effect.reason, effect.evidence, wall_ms())
        )

    def _postpone(self, effect: fx.Postpone) -> None:
        self.log.warning(
            Event.JOB_RETRIED, job=effect.seq, attempt=effect.failures, reason=effect.reason, **_where(effect)
        )
        due_ms = wall_ms() + effect.delay_ms
        ledger = self.books.ledger
        self.books.enter(
            partial(ledger.postpone, effect.seq, effect.failures, due_ms, effect.reason, effect.evidence, wall_ms())
        )
        self.books.enter(partial(ledger.record, "delayed", [effect.seq], wall_ms(), note=effect.reason))

    def _record(self, effect: fx.Record) -> None:
        self.books.enter(
            partial(
                self.books.ledger.record,
                effect.event,
                effect.seqs,
                wall_ms(),
                effect.worker,
                effect.lane,
                None,
                effect.note,
            )
        )

    def _refill(self, effect: fx.Refill) -> None:
        def read() -> None:
            rows = self.books.ledger.next_open(effect.after, effect.limit)
            exhausted = len(rows) < effect.limit
            self._do(self.machine.delivery.loaded(rows, clock_now(), exhausted=exhausted))

        self.books.read(read)

    # -- telling

    def _disk_failed(self, sentence: str) -> None:
        self.telling.say(Event.DISK_FULL if "full" in sentence else Event.STORE_FAILED, "ledger", {"reason": sentence})

    def _answer(self, peer: bytes, question: Question) -> None:
        """Answer what people ask; the ledger is read when nothing uncommitted is in it."""

        def answer() -> None:
            body = self._body(question.body)
            self.workers.send(Answer(id=question.id, body=body), peer)

        self.books.read(answer, for_people=True)

    def _body(self, body: dict[str, Any]) -> dict[str, Any]:
        now = clock_now()
        what = body.get("what")
        try:
            if what == "status":
                return answers.status(self.machine, self.books.ledger, self.rate, now, self._more(now))
            if what == "why" and isinstance(body.get("job"), str):
                return answers.why(self.machine, self.books.ledger, body["job"])
        except StoreError as error:
            return {"error": str(error)}
        return {"error": f"this ventilator does not know the question {what!r}: is it older than your zgrid?"}

    def _more(self, now: float) -> dict[str, Any]:
        return {
            "chain": self.chain,
            "uptime_ms": round((now - self.began) * 1000),
            "scanning": not self.scanner.finished,
            "passed_over": self.passed_over,
        }


def _named(counts: dict[State, int]) -> dict[str, int]:
    return {state.name.lower(): number for state, number in counts.items()}


def _where(effect: fx.Bury | fx.Charge | fx.Postpone) -> dict[str, Any]:
    return {name: effect.evidence[name] for name in ("uri", "worker", "signal") if name in effect.evidence}
