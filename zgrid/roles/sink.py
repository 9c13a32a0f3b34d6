"""The sink: results in, pictures and rows on disk, and only then the word that closes a job."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeGuard

from zgrid import __version__
from zgrid.errors import EXIT_OK, DamagedError, FullError, StoreError
from zgrid.log import Event, configure
from zgrid.metrics.family import SINK
from zgrid.protocol import intake as fx
from zgrid.protocol import rights
from zgrid.protocol.effects import Log as LogEffect
from zgrid.protocol.effects import Reply
from zgrid.protocol.intake import Intake
from zgrid.protocol.messages import Answer, Bye, Message, Question, Results, Roster
from zgrid.protocol.rights import AT_INTAKE, AT_SINK
from zgrid.roles.exposure import Stock, open_endpoint
from zgrid.roles.memory import tune_memory
from zgrid.roles.notify import Notify
from zgrid.roles.porter import REVOKED, Porter
from zgrid.roles.rate import Rate
from zgrid.roles.rows import is_plain, lines_of, plain_lines_of, results_of, rows_of, sheet_of
from zgrid.roles.scheduling import interrupt_nobody
from zgrid.roles.signals import Signals
from zgrid.roles.sink_metrics import SinkMetrics
from zgrid.roles.telling import Telling
from zgrid.settings import SinkSettings
from zgrid.store.committer import Committer, Done
from zgrid.store.pictures import Pictures
from zgrid.store.results import Results as Database
from zgrid.store.sink_store import SinkStore
from zgrid.transport.address import neighbour
from zgrid.transport.clock import new_boot, wall_ms
from zgrid.transport.clock import now as clock_now
from zgrid.transport.keyring import Member
from zgrid.transport.loop import Loop
from zgrid.transport.sockets import control_router, intake_pull, open_context

RESULTS_PER_TURN_MAX = 64

STOP_S_MAX = 10.0
"""How long a sink that is asked to stop may wait for what is under way to it, and try to store that; the rest is sent
again."""


def serve(settings: SinkSettings) -> int:
    """Run a sink until it is asked to stop; return its exit status.

    Raises SettingsError where it cannot start, StoreError where its database or folder cannot be used.
    """
    tune_memory()
    interrupt_nobody()
    sys.setswitchinterval(0.001)  # the store's thread must not wait 5 ms for the loop after each statement
    with ExitStack() as stack:
        return SinkRole(settings, stack).run()


class SinkRole:
    """Everything of one sink, joined to one loop. ``stack`` closes what it opens."""

    def __init__(self, settings: SinkSettings, stack: ExitStack) -> None:
        self.settings = settings
        self.log = configure("sink", settings.name, settings.log_level)
        self.log.info(Event.SETTINGS, **settings.for_log())
        self.telling = Telling(self.log)
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.signals = Signals(self.loop.wake, self._last_words)
        stack.callback(self.signals.restore)
        self.notify = Notify(asked=settings.metrics is not None)
        stack.callback(self.notify.close)
        self.metrics = SinkMetrics()
        self.endpoint = open_endpoint(settings, "sink", SINK, self.loop, self.notify, self.log, stack)
        # The pictures first: that makes the folder in whose parent the database is by default.
        pictures = Pictures(settings.pictures)
        stack.callback(pictures.close)
        self.store = SinkStore(Database(settings.db), pictures)
        stack.callback(self.store.close)
        self.committer = Committer(self.loop.wake, "store", self.metrics.timed)
        stack.callback(self.committer.close)
        self._open_sockets(stack)
        self.machine = Intake(
            settings.name, new_boot(), self.intake_address, settings.commit_interval_ms / 1000, settings.held_bytes_max
        )
        self.rate = Rate(clock_now())
        self.began = clock_now()
        self.faces = 0
        self.swept = 0
        self._sweep: Iterator[int] | None = self.store.sweep()
        self._reading = True
        self._stop_at: float | None = None
        self._failing: StoreError | None = None
        self._perform: dict[type, Callable[[Any], None]] = {
            fx.Store: self._put,
            fx.Lookup: self._look_up,
            Reply: self._reply,
            LogEffect: self._log,
        }
        if self.endpoint is not None:
            self.endpoint.begin(self._stock, lambda: self.metrics.look(settings.pictures))

    def run(self) -> int:
        """Store until told to stop; return the exit status."""
        self.loop.on_wake(self._woken)
        self.loop.every(0.1, self._tick)
        self.loop.after = self._turned
        self.loop.due_s = lambda: self.machine.due_s(clock_now())
        if self.notify.interval_s is not None:
            self.loop.every(self.notify.interval_s, self._notify)
        self.notify.ready()
        self.loop.run()
        self.notify.stopping()
        self.telling.catch_up(at_once=True)
        self.log.info(Event.STOPPED, status=EXIT_OK, stored=self.machine.counts["stored"])
        return EXIT_OK

    def _open_sockets(self, stack: ExitStack) -> None:
        context = open_context()
        stack.callback(context.term)
        settings = self.settings
        self.porter = Porter(rights.SINK, settings, [], self.loop, self.telling, context, stack)
        self.porter.changed = self._put_out
        router = control_router(context)
        stack.callback(router.close)
        self.address = self.porter.bind(router, settings.bind, AT_SINK, "--bind")
        self.control = self.porter.post(router, AT_SINK, routed=True, speaker=self._speaker)
        pull = intake_pull(context)
        stack.callback(pull.close)
        place = neighbour(settings.bind, "intake", settings.intake_port)
        self.intake_address = self.porter.bind(pull, place, AT_INTAKE, "--intake-port")
        self.results = self.porter.post(pull, AT_INTAKE, views=True)
        self.loop.watch(router, self._read_control)
        self.loop.watch(pull, self._read_results)
        self.log.info(Event.LISTENING, address=self.address, intake=self.intake_address)

    def _speaker(self, message: Message) -> bytes | None:
        return self.machine.speaker(message)  # which is made only when this socket has its port

    # -- what happens

    def _read_control(self) -> None:
        for peer, message in self.control.receive():
            if type(message) is Question:
                self.control.send(Answer(id=message.id, body=self._answer(message.body)), peer)
            elif type(message) is Roster:
                self.porter.heard(self.control, peer, message)
            else:
                self._do(self.machine.received(peer, message, clock_now()))

    def _put_out(self, gone: list[Member]) -> None:
        """Part from ventilators and operators whose keys were revoked; what workers say is dropped from now on."""
        self.porter.part(self.control, gone, self._leave)

    def _leave(self, peer: bytes) -> None:
        self._do(self.machine.received(peer, Bye(boot=self.machine.boot, reason=REVOKED), clock_now()))

    def _read_results(self) -> None:
        for _ in range(RESULTS_PER_TURN_MAX):
            if self.machine.full:
                break
            received = self.results.receive(1)
            if not received:
                break
            message = received[0][1]
            if type(message) is Results:
                self._do(self.machine.results(message, clock_now()))

    def _woken(self) -> None:
        for done in self.committer.take():
            self._done(done)
        if self.signals.asked and self._stop_at is None:
            self.log.info(Event.DRAINING, reason="asked to stop")
            self._stop_at = clock_now() + STOP_S_MAX
            self._do(self.machine.leave(clock_now()))

    def _done(self, done: Done) -> None:
        now = clock_now()
        if isinstance(done.token, fx.Store):
            if done.error is None:
                self._failing = None
                new, known = done.value
                self.rate.add(new, now)
                self._do(self.machine.stored(known, now))
            elif _may_pass(done.error):
                self._failing = done.error
                self._do(self.machine.store_failed(str(done.error), now))
            else:
                raise done.error
        elif done.error is not None:
            if not _may_pass(done.error):
                raise done.error
        elif isinstance(done.token, fx.Lookup):  # of one that failed the ventilator asks again
            self._do(self.machine.looked_up(done.token, done.value))

    def _tick(self) -> None:
        self._do(self.machine.tick(clock_now()))
        self.porter.keep(self.control, self.machine.peers, rights.VENTILATOR)
        self.telling.catch_up()
        if self._sweep is not None and not self.committer.busy:
            self.committer.submit(self._sweep_some, "sweep")

    def _notify(self) -> None:
        """Tell the supervisor how it stands."""
        waiting, per_s = self.machine.held_bytes / 2**20, self.rate.per_s(clock_now())
        stored, why = self.machine.counts["stored"], f" to be stored: {self._failing}" if self._failing else ""
        self.notify.status(f"{stored:,} stored, {per_s:.1f} images/s, {waiting:.0f} MiB waiting{why}")
        self.notify.alive(self.committer.at)
        if self._stop_at is not None:
            self.notify.stopping()

    def _stock(self) -> Stock:
        posts = (self.control, self.results)
        return self.metrics.stock(self.machine, self.telling, posts, self.faces, failing=self._failing is not None)

    def _turned(self) -> None:
        now = clock_now()
        self._do(self.machine.tick(now))
        self._open_or_shut()
        if self._stop_at is not None:
            at_rest = self.machine.may_end(now) and not self.committer.busy
            if at_rest or now > self._stop_at:
                self.loop.stop()

    def _open_or_shut(self) -> None:
        """Read results only while there is room for them: a slow disk slows the workers and fills no memory."""
        if self.machine.full and self._reading:
            self.loop.forget(self.results.socket)
            self._reading = False
        elif not self.machine.full and not self._reading:
            self.loop.watch(self.results.socket, self._read_results)
            self._reading = True

    # -- effects

    def _do(self, effects: Iterable[fx.Effect]) -> None:
        """Perform effects in order."""
        for effect in effects:
            self._perform[type(effect)](effect)

    def _put(self, effect: fx.Store) -> None:
        self.committer.submit(partial(self._store, effect.batch), effect)

    def _store(self, batch: list[Results]) -> tuple[int, int]:
        """In the store's thread: put a batch on disk and log it; return how many were new and how many known."""
        wall = wall_ms()
        if all(map(is_plain, batch)) and self.store.put_sheets([sheet_of(message, wall) for message in batch]):
            self.log.lines(Event.JOB_STORED, [line for message in batch for line in plain_lines_of(message)])
            return sum(len(message.seqs) for message in batch), 0
        results = [one for message in batch for one in results_of(message, rows_of(message, wall))]
        put = self.store.put(results)
        new = []
        for result in results:
            if result.row.key in put.new:
                put.new.discard(result.row.key)  # of one key twice in a batch one was stored
                new.append(result)
        self.faces += sum(len(result.faces) for result in new)
        self.log.lines(Event.JOB_STORED, lines_of([one.row for one in new], [len(one.faces) for one in new]))
        return len(new), len(results) - len(new)

    def _look_up(self, effect: fx.Lookup) -> None:
        self.committer.submit(partial(self.store.results.stored, effect.ledger, effect.seqs), effect)

    def _reply(self, effect: Reply) -> None:
        self.control.send(effect.message, effect.peer)

    def _log(self, effect: LogEffect) -> None:
        event = Event[effect.event.upper()]
        fields = dict(effect.fields)
        if event is Event.STORE_FAILED and isinstance(self._failing, FullError):
            event = Event.DISK_FULL
        self.telling.say(event, effect.subject, fields)

    # -- inside

    def _last_words(self) -> None:
        """Told twice to stop: what is not acknowledged is sent again to the next sink."""
        self.telling.catch_up(at_once=True)
        self.log.info(Event.STOPPED, status=EXIT_OK, reason="told twice to stop")

    def _sweep_some(self) -> None:
        """In the store's thread: one step of removing pictures that no row names, left by a crash."""
        assert self._sweep is not None
        try:
            self.swept += next(self._sweep)
        except StopIteration:
            self._sweep = None

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("what") != "status":
            return {"error": f"this is a sink; it does not know the question {body.get('what')!r}"}
        now = clock_now()
        return {
            "version": __version__,
            "name": self.settings.name,
            "role": "sink",
            "uptime_ms": round((now - self.began) * 1000),
            "stored": self.machine.counts["stored"],
            "duplicates": self.machine.counts["duplicate"],
            "faces": self.faces,
            "held_bytes": self.machine.held_bytes,
            "rate_per_s": round(self.rate.per_s(now), 2),
            "ventilators": len(self.machine.peers),
            "door": self.porter.counts(),
            "waiting": [] if self._failing is None else [f"results wait to be stored: {self._failing}"],
        }


def _may_pass(error: BaseException) -> TypeGuard[StoreError]:
    """Whether trying again may help: not where the database is damaged."""
    return isinstance(error, StoreError) and not isinstance(error, DamagedError)
