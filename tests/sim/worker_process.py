"""The worker of the simulation: the real duty, and children that take their time, crash, hang and fail."""

from collections import deque
from typing import TYPE_CHECKING, Any

from net import Control, Pipe, PushPipe
from process import Process
from work import HANG, SEGFAULT

from zgrid.protocol import agent_effects as fx
from zgrid.protocol.assignment import Batch, Returned
from zgrid.protocol.duty import Duty
from zgrid.protocol.messages import Code, Jobs, Message

if TYPE_CHECKING:
    from grid import Grid
    from ventilator_process import LaneEnd, VentilatorProcess

TICK_S = 0.2
FLUSH_S = 0.05
LEAVE_S = 5.0


class SimChild:
    """A child process: runs what it was given, in order, and reports in groups."""

    def __init__(self, worker: "WorkerProcess", index: int) -> None:
        self.worker = worker
        self.index = index
        self.alive = False
        self.token: int | None = None
        self.moved_at = 0.0
        self._todo: deque[tuple[Batch, int]] = deque()
        self._run = 0
        self._busy = False

    def assign(self, batch: Batch, start: int, stop: int) -> None:
        """Take jobs."""
        self._todo.extend((batch, at) for at in range(start, stop))
        if not self._busy:
            self._begin()

    def die(self, why: str) -> None:
        """End at once; the agent hears of it after what was reported before."""
        if not self.alive:
            return
        self.alive = False
        self._run += 1
        token, self.token = self.token, None
        self._todo.clear()
        self._busy = False
        worker = self.worker
        worker.later(0.002, worker.child_died, self.index, token, {"reason": why})
        worker.later(0.1 + worker.rng.random(), self.begin)

    def end(self) -> None:
        """Be gone without a word: the agent is."""
        self.alive = False
        self._run += 1

    def begin(self) -> None:
        """Start, or start again."""
        self.alive = True
        self.worker.child_ready(self.index)

    def _begin(self) -> None:
        """Run what makes one report: for about FLUSH_S, or until a job that will not come back."""
        work = self.worker.grid.work
        done: list[tuple[Batch, int, int, float]] = []
        far_s = 0.0
        self.moved_at = self.worker.clock.now
        while self._todo and far_s < FLUSH_S:
            batch, at = self._todo[0]
            code, work_s = work.begin(batch, at, self.worker)
            self.token = batch.token + at
            if code in (SEGFAULT, HANG):
                if done and work.rng.random() < 0.5:
                    self._report_in(far_s, done, self._run)
                self._busy = True
                if code == SEGFAULT:
                    self.worker.clock.after(far_s + work_s, self._crash, self._run)
                return
            self._todo.popleft()
            far_s += work_s
            done.append((batch, at, code, work_s))
        if done:
            self._busy = True
            self._report_in(far_s, done, self._run)
            self.worker.clock.after(far_s, self._next, self._run)

    def _next(self, run: int) -> None:
        if run != self._run:
            return
        if self.worker.suspended_until > self.worker.clock.now:
            self.worker.clock.at(self.worker.suspended_until + 0.001, self._next, run)
            return
        self._busy = False
        self.token = None
        self._begin()

    def _crash(self, run: int) -> None:
        if run == self._run:
            self.die("signal 11")

    def _report_in(self, far_s: float, done: list[tuple[Batch, int, int, float]], run: int) -> None:
        self.worker.clock.after(far_s, self._report, run, done)

    def _report(self, run: int, done: list[tuple[Batch, int, int, float]]) -> None:
        worker = self.worker
        if run != self._run:
            return
        if worker.suspended_until > worker.clock.now:
            worker.clock.at(worker.suspended_until, self._report, run, done)
            return
        count = len(done)
        codes = bytes(code for _, _, code, _ in done)
        told = codes.replace(bytes([Code.RELEASED]), bytes([Code.TROUBLED]))  # as the agent does with what was unread
        news = Returned.plain(told, [0.0] * count, [work_s * 1000 for _, _, _, work_s in done])
        news.reasons = {at: {"reason": "why"} for at, code in enumerate(codes) if code}
        for at, (batch, place, code, _) in enumerate(done):
            if code == Code.RELEASED:
                news.reasons[at]["unread"] = True
            elif code == Code.FINISHED and batch.seqs[place] % 3 == 0:
                news.pictures[at], news.media[at] = bytes(40), "image/jpeg"
        worker.later(0.0002, worker.returned, self.index, news)


class WorkerProcess(Process):
    """A worker agent that serves all ventilators. ``slow``: how many times longer its jobs take."""

    machine: Duty

    def __init__(
        self, grid: "Grid", name: str, procs: int, slow: float = 1.0, filters: str = "faces highlight"
    ) -> None:
        super().__init__(grid, name)
        self.procs = procs
        self.slow = slow
        self.filters = dict.fromkeys(filters.split(), "1")
        self.mute = False
        self.suspended_until = 0.0
        self.leave_until = 0.0
        self.controls: list[Control] = []
        self.children: list[SimChild] = []
        self.lanes: dict[int, tuple[int, str, Pipe, LaneEnd | None]] = {}
        self.pipes: dict[str, PushPipe] = {}
        self._performers = {
            fx.Tell: self._tell,
            fx.ConnectLane: self._connect_lane,
            fx.CloseLane: self._close_lane,
            fx.Assign: self._assign,
            fx.Kill: self._kill,
            fx.Push: self._push,
            fx.Log: lambda effect: grid.trace(self, "logs", effect),
        }

    # -- life

    def started(self) -> None:
        """Build the machine, connect to the ventilators, start the children."""
        self.machine = Duty(self.name, self.boot, "here", self.procs, len(self.grid.ventilators))
        self.suspended_until = 0.0
        self.lanes, self.pipes = {}, {}
        self.controls = [self._control(at, ventilator) for at, ventilator in enumerate(self.grid.ventilators)]
        self.children = [SimChild(self, index) for index in range(self.procs)]
        for child in self.children:
            self.later(0.05 + self.rng.random() * 0.2, child.begin)
        self._tick()

    def _control(self, index: int, ventilator: "VentilatorProcess") -> Control:
        life = self.life

        def down(message: Message) -> None:
            self.call(life, lambda: self.perform(self.machine.received(index, message, self.clock.now)))

        control = self.grid.control(ventilator.heard(self.boot), down)
        ventilator.controls[self.boot] = control
        if ventilator.alive:
            control.connect()
        return control

    def crashed(self) -> None:
        """The children die with it; what lies in the kernel's buffers may still arrive."""
        self.grid.work.struck(self)
        self._gone(told=self.rng.random() < self.grid.told_rate)

    def _gone(self, *, told: bool, linger: bool = False) -> None:
        """It ends, and its children and connections with it.

        ``told``: the other side's kernel says so; ``linger``: what was said arrives.
        """
        for child in self.children:
            child.end()
        for index in list(self.lanes):
            self.drop_lane(index, told=told)
        for at, control in enumerate(self.controls):
            ventilator = self.grid.ventilators[at]
            control.down.cut()
            control.up.open = False
            if control.up.stalled or (not linger and self.rng.random() < 0.5):
                control.up.cut()
            ventilator.controls.pop(self.boot, None)
        for pipe in self.pipes.values():
            pipe.outbox.clear()
            pipe.open = False
            if not linger and self.rng.random() < 0.5:
                pipe.cut()
        for address, pipe in self.pipes.items():
            sink = self.grid.intakes[address]
            if pipe in sink.pipes:
                sink.pipes.remove(pipe)

    def suspend(self, for_s: float) -> None:
        """The whole machine is suspended, children and all."""
        if self.alive and not self.frozen:
            self.grid.work.struck(self)
            self.suspended_until = self.clock.now + for_s
            self.freeze(for_s)

    def thaw(self, life: int | None = None) -> None:
        """Go on, children and all."""
        if self.frozen and life in (None, self.life):
            self.suspended_until = 0.0
        super().thaw(life)

    def leave(self) -> None:
        """SIGTERM: hand back what is not started, finish the rest, say goodbye."""
        self.leave_until = self.clock.now + LEAVE_S
        self.perform(self.machine.leave(self.clock.now))

    def _tick(self) -> None:
        self.later(TICK_S, self._tick)
        for child in self.children:
            if child.alive:
                self.perform(self.machine.observed(child.index, child.token, child.moved_at, -1.0, self.clock.now))
        if not self.alive:
            return
        self.perform(self.machine.tick(self.clock.now))
        if self.alive and self.machine.leaving:
            done = self.machine.idle and not any(pipe.outbox for pipe in self.pipes.values())
            if done or self.clock.now >= self.leave_until:
                self.perform([*self.machine.hand_back(self.clock.now), *self.machine.farewell("SIGTERM")])
                if self.alive:
                    self._exit()

    def _exit(self) -> None:
        self.grid.trace(self, "exits")
        self.alive = False
        self._gone(told=True, linger=True)
        if self.grid.healed:
            self.start()

    # -- ventilators

    def _tell(self, effect: fx.Tell) -> None:
        self.grid.trace(self, "says", effect.message)
        self.controls[effect.ventilator].up.send(self.grid.wired(effect.message))

    def _connect_lane(self, effect: fx.ConnectLane) -> None:
        self.drop_lane(effect.ventilator, told=True)
        life = self.life

        def deliver(jobs: Jobs) -> None:
            self.call(life, self._jobs, effect.ventilator, jobs)

        pipe = Pipe(self.clock, self.rng, self.grid.lane_weather, deliver, keeps=False)
        self.lanes[effect.ventilator] = effect.lane, effect.address, pipe, None
        self.later(0.001, self._try_lane, effect.ventilator, effect.address)

    def _try_lane(self, index: int, address: str) -> None:
        lane, mine, pipe, end = self.lanes.get(index, (0, "", None, None))
        if mine != address or end is not None or pipe is None:
            return
        ventilator, life, there = self.grid.bound.get(address, (None, 0, None))
        control = self.controls[index]
        if ventilator is None or there is None or life != ventilator.life or control.broken or not ventilator.alive:
            self.later(0.3, self._try_lane, index, address)
            return
        self.lanes[index] = lane, address, pipe, there
        pipe.connect()
        ventilator.connected(there, self, pipe)

    def _jobs(self, index: int, jobs: Jobs) -> None:
        self.grid.trace(self, "gets", jobs)
        if not self.mute:
            self.perform(self.machine.work(index, jobs, self.clock.now))

    def _close_lane(self, effect: fx.CloseLane) -> None:
        if effect.ventilator in self.lanes and self.lanes[effect.ventilator][0] == effect.lane:
            self.drop_lane(effect.ventilator, told=True)

    def drop_lane(self, index: int, *, told: bool) -> None:
        """The lane's connection ends, at our side or under way."""
        _, _, pipe, end = self.lanes.pop(index, (0, "", None, None))
        if pipe is not None:
            pipe.cut()
        if end is not None and pipe is not None and (self, pipe) in end.links:
            owner, _, there = self.grid.bound.get(end.address, (None, 0, None))
            if told and owner is not None and there is end:
                end.links.remove((self, pipe))
                owner.disconnected(end)

    def cut_lane(self, index: int, *, told: bool) -> None:
        """The network cuts the lane; ZeroMQ at this side tries to connect again."""
        lane, address, _, _ = self.lanes.get(index, (0, "", None, None))
        if lane:
            self.grid.work.struck(self)
            self.drop_lane(index, told=told)
            self._connect_lane(fx.ConnectLane(index, lane, address))

    # -- children

    def child_ready(self, index: int) -> None:
        """A child says that it can work."""
        self.perform(self.machine.child_ready(index, self.filters, self.clock.now))

    def child_died(self, index: int, token: int | None, why: dict[str, Any]) -> None:
        """A child's end was noticed."""
        self.grid.trace(self, f"child {index} died running {token}: {why}")
        self.perform(self.machine.child_died(index, token, why, self.clock.now))

    def returned(self, index: int, news: Returned) -> None:
        """A child's report was read."""
        self.perform(self.machine.returned(index, news, self.clock.now))

    def _assign(self, effect: fx.Assign) -> None:
        child = self.children[effect.child]
        if child.alive:
            child.assign(effect.batch, effect.start, effect.stop)

    def _kill(self, effect: fx.Kill) -> None:
        self.grid.trace(self, f"kills child {effect.child}: {effect.why}")
        self.clock.after(0.001, self._killed, self.life, effect.child, effect.why)

    def _killed(self, life: int, index: int, why: str) -> None:
        if self.alive and life == self.life:
            self.children[index].die(why)

    # -- sinks

    def _push(self, effect: fx.Push) -> None:
        self.grid.trace(self, "pushes", effect.results)
        pipe = self.pipes.get(effect.address)
        if pipe is None:
            sink = self.grid.intakes[effect.address]
            pipe = PushPipe(self.clock, self.rng, self.grid.lane_weather, sink.offer, self._room)
            self.pipes[effect.address] = pipe
            if effect.address == sink.intake:
                sink.join(pipe)
        pipe.push(self.grid.wired(effect.results))

    def turned(self) -> None:
        """Tell the duty whether any sink in use has no room."""
        used = {address for employer in self.machine.employers for address in employer.sinks}
        blocked = any(self.pipes[address].full for address in used if address in self.pipes)
        if blocked != self.machine.blocked:
            self.machine.blocked = blocked
            if not blocked:
                self.perform(self.machine.assign(self.clock.now))

    def _room(self) -> None:
        """A sink has taken something: have a look at it soon."""
        if self.machine.blocked:
            self.later(0.0, int)
