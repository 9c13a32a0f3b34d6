"""The worker: one agent for a machine, which takes jobs off its lanes, has children run them, and pushes results."""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from importlib.machinery import PathFinder
from typing import Any

from zgrid.errors import EXIT_OK, SettingsError
from zgrid.filters import detector_advice, detector_engine, detector_name, is_detector_weak
from zgrid.log import Event, configure
from zgrid.metrics.family import WORKER
from zgrid.protocol import agent_effects as fx
from zgrid.protocol import rights
from zgrid.protocol.duty import Duty
from zgrid.protocol.effects import Log as LogEffect
from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Jobs, Welcome
from zgrid.roles import pool
from zgrid.roles.calls import Calls, own_key
from zgrid.roles.death import Starvation, is_starved, is_unimportable, why_it_died
from zgrid.roles.exposure import Stock, open_endpoint
from zgrid.roles.link import Made
from zgrid.roles.member import Chunk
from zgrid.roles.memory import tune_memory
from zgrid.roles.notify import Notify
from zgrid.roles.permits import sandbox_of
from zgrid.roles.rate import Rate
from zgrid.roles.scheduling import interrupt_nobody
from zgrid.roles.signals import Signals
from zgrid.roles.telling import Telling
from zgrid.roles.worker_metrics import WorkerMetrics
from zgrid.settings import WorkerSettings
from zgrid.sources import path_to_uri
from zgrid.transport.address import reach
from zgrid.transport.clock import host_identity, new_boot
from zgrid.transport.clock import now as clock_now
from zgrid.transport.loop import Loop
from zgrid.transport.outbox import Outbox
from zgrid.transport.post import Post
from zgrid.transport.sockets import control_dealer, lane_pull, open_context

RESULTS_WAITING_BYTES_MAX = 64 << 20
"""Results that sinks have not taken; beyond that the children get nothing new, and so the ventilators notice."""

LANE_MESSAGES_PER_TURN_MAX = 16

UNHEARD_S = 5.0
"""After so long without a word from a ventilator's address the worker says so: nothing else tells of a wrong one."""


def serve(settings: WorkerSettings) -> int:
    """Run a worker until it is asked to stop; return its exit status. Raises SettingsError where it cannot start."""
    tune_memory()
    interrupt_nobody()
    sys.setswitchinterval(0.001)
    for module in settings.filter_module:
        _find(module)
    with ExitStack() as stack:
        return WorkerRole(settings, stack).run()


class WorkerRole:
    """Everything of one worker's agent, joined to one loop. ``stack`` closes what it opens."""

    def __init__(self, settings: WorkerSettings, stack: ExitStack) -> None:
        self.settings = settings
        self.log = configure("worker", settings.name, settings.log_level)
        self.log.info(Event.SETTINGS, **settings.for_log())
        self.telling = Telling(self.log)
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.signals = Signals(self.loop.wake)
        stack.callback(self.signals.restore)
        self.notify = Notify(asked=settings.metrics is not None)
        stack.callback(self.notify.close)
        self.metrics = WorkerMetrics()
        self.endpoint = open_endpoint(settings, "worker", WORKER, self.loop, self.notify, self.log, stack)
        self.rate = Rate(clock_now())
        self.starvation = Starvation()
        self.boot = new_boot()
        self.duty = Duty(settings.name, self.boot, host_identity(), settings.procs, len(settings.ventilators))
        self.duty.reads = [path_to_uri(os.fsencode(path)) for path in settings.allow]
        self.controls: list[Post] = []
        self.lanes: dict[int, Post] = {}
        self.outboxes: dict[str, Outbox] = {}
        key = own_key(rights.WORKER, settings, settings.ventilators)
        self.calls = Calls(key, self.loop, self.telling, insecure=settings.insecure)
        self.context = open_context()
        stack.callback(self.context.term)
        stack.callback(self._close_sockets)
        stack.callback(self.calls.close)
        for index, address in enumerate(settings.ventilators):
            curve = self.calls.curve(address, rights.VENTILATOR)
            dealer = control_dealer(self.context, self.boot, address, monitored=True, curve=curve)
            post = Post(dealer, self.telling.complain)
            self.controls.append(post)
            self.loop.watch(post.socket, partial(self._read_control, index))
            self.calls.watch(post.socket, address, partial(self._arrived, index))
        self.pool = pool.Pool(
            settings.procs,
            chains={},
            filters=settings.filter_module,
            sandbox=sandbox_of(settings),
            allow=list(map(str, settings.allow)),
            links=settings.allow_links,
        )
        stack.callback(self.pool.close)
        self.loop.watch(self.pool.fileno(), self._read_pool)
        self._heard_at = [clock_now()] * len(settings.ventilators)
        self._chains: dict[str, int] = {}
        self._stop_at: float | None = None
        self._told_filters = False
        self._perform: dict[type, Callable[[Any], None]] = {
            fx.Tell: self._tell,
            fx.ConnectLane: self._connect_lane,
            fx.CloseLane: self._close_lane,
            fx.Assign: self._assign,
            fx.Kill: self._kill,
            fx.Push: self._push,
            LogEffect: self._log,
        }
        if self.endpoint is not None:
            self._perform = self.metrics.watch(self._perform)
            self.endpoint.begin(self._stock, dict)

    def run(self) -> int:
        """Work until told to stop; return the exit status."""
        self.loop.every(0.1, self._tick)
        self.loop.on_wake(self._woken)
        self.loop.due_s = self._due_s
        if self.notify.interval_s is not None:
            self.loop.every(self.notify.interval_s, self._notify)
        self.pool.start(clock_now())
        self.loop.run()
        self.notify.stopping()
        self.telling.catch_up(at_once=True)
        self.log.info(Event.STOPPED, status=EXIT_OK)
        return EXIT_OK

    # -- what happens

    def _arrived(self, index: int) -> None:
        """A ventilator can be reached (again): a beat or HELLO now finds out whether it is still the same."""
        now = clock_now()
        employer = self.duty.employers[index]
        employer.hello_at = min(employer.hello_at, now)
        employer.beat_at = float("-inf")
        self._do(self.duty.tick(now))

    def _read_control(self, index: int) -> None:
        for _, message in self.controls[index].receive():
            self._heard_at[index] = clock_now()
            if type(message) is Welcome:
                for sink in self.calls.introduce(message.sinks, message.sink_keys):
                    self._drop_outbox(reach(sink, self.settings.ventilators[index]))
            self._do(self.duty.received(index, message, clock_now()))
            if type(message) is Welcome:
                self._drop_outboxes()

    def _read_lane(self, index: int) -> None:
        post = self.lanes.get(index)
        for _, message in post.receive(LANE_MESSAGES_PER_TURN_MAX) if post else ():
            if type(message) is Jobs:
                self._do(self.duty.work(index, message, clock_now()))

    def _read_pool(self) -> None:
        now = clock_now()
        for news in self.pool.service(now):
            if isinstance(news, pool.Results):
                self.rate.add(len(news.returned.codes), now)
                if self.endpoint is not None:
                    self.metrics.returned(news.returned)
                self._do(self.duty.returned(news.child, news.returned, now))
            elif isinstance(news, pool.Ready):
                self._ready(news, now)
            elif isinstance(news, pool.Died):
                self._died(news, now)
            else:
                self._made(news.made)

    def _ready(self, news: pool.Ready, now: float) -> None:
        for made in news.chains:
            self._made(made)
        self.log.debug(Event.CHILD_STARTED, child=news.child, pid=news.pid)
        if not self._told_filters:
            self._told_filters = True
            self.notify.ready()  # not before: a worker whose children cannot start is no worker
            for lack in news.exposed:
                self.telling.say(Event.CHILD_EXPOSED, lack, {"reason": lack})
            for name, why in news.missing.items():
                self.telling.say(Event.FILTER_MISSING, name, {"filter": name, "reason": why})
            if "faces" in news.filters:
                self._tell_detector()
        self._do(self.duty.child_ready(news.child, news.filters, now))

    def _tell_detector(self) -> None:
        """Say how faces are found here, once: the results of two machines differ where their detectors do."""
        tell = self.log.warning if is_detector_weak() else self.log.info
        tell(Event.DETECTOR, detector=detector_name(), engine=detector_engine(), advice=detector_advice())

    def _made(self, made: Made) -> None:
        """A child has built a chain, or says why it cannot; then its jobs fail with that reason."""
        text = next(text for text, number in self._chains.items() if number == made.chain)
        self.duty.versions[text] = made.version or ""

    def _died(self, news: pool.Died, now: float) -> None:
        if news.again_in_s is None and not news.rest and news.started_token is None:
            return  # it was asked to end
        news = self.starvation.blame(news)
        why = {
            "reason": why_it_died(news),
            "exit": news.exit,
            "signal": news.signal,
            "stderr": news.stderr_tail,
        }
        image = self.duty.children[news.child].image(news.started_token)
        if image is not None:
            why["digest"] = sha256(image).hexdigest()
        overran = self.duty.children[news.child].overran
        self.telling.say(
            Event.CHILD_OVERRAN if overran else Event.CHILD_STARVED if is_starved(news) else Event.CHILD_DIED,
            str(why["reason"]),
            {
                **self._job(news.child, news.started_token),
                "child": news.child,
                "pid": news.pid,
                **why,
                "again_in_s": news.again_in_s,
            },
        )
        if is_unimportable(news) and not self._told_filters:  # later it may be a file that is just being written
            raise SettingsError(str(why["reason"]))
        self._do(self.duty.child_died(news.child, news.started_token, why, now))

    def _tick(self) -> None:
        now = clock_now()
        for child in self.duty.children:
            if child.ranges:
                seen = self.pool.progress(child.index, now)
                fraction = -1.0 if seen.fraction is None else seen.fraction
                self._do(self.duty.observed(child.index, seen.token, seen.moved, fraction, now))
        self._do(self.duty.tick(now))
        self._tell_unheard(now)
        self.calls.tick()
        self.telling.catch_up()
        self._read_pool()
        if self._stop_at is not None:
            self._stopping(now)

    def _tell_unheard(self, now: float) -> None:
        """Say at which addresses nobody answers."""
        for address, heard_at in zip(self.settings.ventilators, self._heard_at, strict=True):
            if now - heard_at > UNHEARD_S and self.duty.filters is not None:
                reason = f"no ventilator answers at {address}: is one running there, and are name and port right?"
                self.telling.say(Event.VENTILATOR_AWAITED, address, {"ventilator": address, "reason": reason})

    def _notify(self) -> None:
        """Tell the supervisor how it stands."""
        children = self.duty.children
        busy = sum(bool(child.ranges) for child in children)
        waiting = sum(part.stop - part.start for employer in self.duty.employers for part in employer.queue)
        per_s = self.rate.per_s(clock_now())
        self.notify.status(f"{busy} of {len(children)} children busy, {waiting} jobs waiting, {per_s:.1f} images/s")
        self.notify.alive()
        if self._stop_at is not None:
            self.notify.stopping()

    def _stock(self) -> Stock:
        posts = (*self.controls, *self.lanes.values())
        return self.metrics.stock(self.duty, self.telling, posts, self.outboxes, self.settings.ventilators)

    def _woken(self) -> None:
        now = clock_now()
        if self.signals.asked and self._stop_at is None:
            self._stop_at = now + self.settings.stop_ms / 1000
            self.log.info(Event.DRAINING, reason="asked to stop", stop_ms=self.settings.stop_ms)
            self._do(self.duty.leave(now))
        elif self.signals.asked > 1:
            self._stop_at = now
        if self._stop_at is not None:
            self._stopping(now)

    def _stopping(self, now: float) -> None:
        """End when what runs is done and its results are out, or when the time for that is over."""
        assert self._stop_at is not None
        waiting = any(outbox.waiting_bytes for outbox in self.outboxes.values())
        if now < self._stop_at and (not self.duty.idle or waiting):
            return
        self._do(self.duty.hand_back(now))
        self._do(self.duty.farewell("stopped"))
        self.loop.stop()

    # -- effects

    def _do(self, effects: Iterable[fx.Effect]) -> None:
        """Perform effects in order."""
        for effect in effects:
            self._perform[type(effect)](effect)

    def _tell(self, effect: fx.Tell) -> None:
        self.controls[effect.ventilator].send(effect.message)

    def _connect_lane(self, effect: fx.ConnectLane) -> None:
        index = effect.ventilator
        address = reach(effect.address, self.settings.ventilators[index])
        try:
            curve = self.calls.curve(self.settings.ventilators[index], rights.VENTILATOR)
            pull = lane_pull(self.context, address, self.calls.like(curve, address))
        except SettingsError as error:
            self.telling.complain(self.settings.ventilators[index], f"its WELCOME has no lane to connect to: {error}")
            return
        post = self.lanes[index] = Post(pull, self.telling.complain, views=True)
        self.loop.watch(post.socket, partial(self._read_lane, index))

    def _close_lane(self, effect: fx.CloseLane) -> None:
        post = self.lanes.pop(effect.ventilator, None)
        if post is not None:
            self.loop.forget(post.socket)
            self.metrics.closed(post)
            post.close()

    def _assign(self, effect: fx.Assign) -> None:
        batch, part = effect.batch, slice(effect.start, effect.stop)
        chunk = Chunk(
            batch.token + effect.start,
            self._chain(batch.chain),
            batch.uris[part],
            batch.sizes[part],
            batch.mtimes_ns[part],
            batch.images[part],
        )
        self.pool.assign(effect.child, chunk)  # refused only by a child that is dying: its death gives them back

    def _kill(self, effect: fx.Kill) -> None:
        child = self.duty.children[effect.child]
        if not self.pool.kill(effect.child, effect.why, child.token):
            child.overran = False  # it has gone on to another job in the meantime

    def _push(self, effect: fx.Push) -> None:
        index = next(i for i, employer in enumerate(self.duty.employers) if effect.address in employer.sinks)
        address = reach(effect.address, self.settings.ventilators[index])
        outbox = self.outboxes.get(address)
        if outbox is None:
            try:
                curve = self.calls.to_sink(effect.address, address)
                outbox = self.outboxes[address] = Outbox(self.context, address, curve)
                if curve is not None:
                    self.calls.watch(outbox.socket, address)
            except SettingsError as error:
                self.telling.complain(
                    self.settings.ventilators[index], f"its WELCOME names no sink to push to: {error}"
                )
                return  # its ventilator asks the sink, and sends the jobs again
        if outbox.waiting_bytes:
            outbox.push(effect.results)
        elif not outbox.push(effect.results):
            self.loop.watch(outbox.socket, partial(self._flush, outbox), writable=True)
        self._weigh()

    def _flush(self, outbox: Outbox) -> None:
        if outbox.flush():
            self.loop.forget(outbox.socket)
        self._weigh()

    def _drop_outboxes(self) -> None:
        """Forget results for places where no sink is any more: their jobs are done again."""
        employers = self.duty.employers
        if not all(employer.sinks for employer in employers):
            return  # a ventilator that has not said where its sinks are
        named = {reach(sink, self.settings.ventilators[one.index]) for one in employers for sink in one.sinks}
        for address in self.outboxes.keys() - named:
            self._drop_outbox(address)

    def _drop_outbox(self, address: str) -> None:
        """Forget results for a sink that is gone, or has another key now, by which the next ones call it."""
        outbox = self.outboxes.pop(address, None)
        if outbox is not None:
            self.loop.forget(outbox.socket)
            self.calls.forget(outbox.socket)
            outbox.close()
            self._weigh()

    def _weigh(self) -> None:
        """Give children nothing new while too many results wait for sinks."""
        waiting = sum(outbox.waiting_bytes for outbox in self.outboxes.values())
        blocked = waiting > RESULTS_WAITING_BYTES_MAX
        if self.duty.blocked and not blocked:
            self.duty.blocked = False
            self._do(self.duty.assign(clock_now()))
        self.duty.blocked = blocked

    def _log(self, effect: LogEffect) -> None:
        fields = dict(effect.fields)
        if "ventilator" in fields:
            fields["ventilator"] = self.settings.ventilators[fields["ventilator"]]
        self.telling.say(Event[effect.event.upper()], effect.subject, fields)

    # -- inside

    def _due_s(self) -> float | None:
        wake_at = self.pool.wake_at()
        return None if wake_at is None else max(0.0, wake_at - clock_now())

    def _job(self, index: int, token: int | None) -> dict[str, Any]:
        """Return what the log says of the job that a child was given under this token; nothing where there is none."""
        for part in self.duty.children[index].ranges:
            batch, at = part.batch, -1 if token is None else token - part.batch.token
            if part.start <= at < part.stop:
                ventilator = self.settings.ventilators[batch.employer.index]
                job = {"job": batch.seqs[at], "attempt": batch.attempts[at], "uri": batch.uris[at]}
                key = bytes(batch.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]).hex()
                return {**job, "key": key, "ventilator": ventilator}
        return {}

    def _chain(self, text: str) -> int:
        """Return the number by which the children know a chain; tell them of a new one."""
        number = self._chains.get(text)
        if number is None:
            number = self._chains[text] = len(self._chains) + 1
            self.pool.chain(number, text)
        return number

    def _close_sockets(self) -> None:
        for post in (*self.controls, *self.lanes.values()):
            post.close()
        for outbox in self.outboxes.values():
            outbox.close()


def _find(module: str) -> None:
    """Raise SettingsError where there is no such module for the children, who also look in the current folder."""
    package = module.partition(".")[0]
    if PathFinder.find_spec(package, [*sys.path, os.getcwd()]) is None:  # noqa: PTH109  Python's path is of texts
        raise SettingsError(
            f"--filter-module {module}: there is no Python module {package}; put it into the current folder, or its "
            f"folder into PYTHONPATH"
        )
