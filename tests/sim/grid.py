"""A whole grid in one thread: ventilators, workers, sinks, and the network between them, driven by one seed."""

from collections.abc import Callable
from random import Random
from typing import Any

from checks import Checks
from clock import Clock
from net import Control, Weather
from process import Process
from sink_process import SinkProcess
from ventilator_process import LaneEnd, VentilatorProcess
from work import Work, offers
from worker_process import WorkerProcess

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import Offer, State
from zgrid.protocol.messages import Message
from zgrid.protocol.wire import decode, encode

CHAIN = "faces highlight:width_px=4"

TERMS = Terms(batch_jobs_max=8, ready_max=64, ttr_ms=2000, result_patience_ms=4000)

STUCK_S = 120.0
"""A grid without faults that settles nothing for so long, and tries nothing either, is stuck."""


class Grid:
    """Processes and the wires between them. ``add_...`` first, then ``start``."""

    def __init__(self, seed: int, *, job_s: float = 0.02, verbose: bool = False, check_every: int = 1) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.clock = Clock()
        self.weather = Weather()
        self.lane_weather = Weather()
        self.verbose = verbose
        self.told_rate = 0.8
        self.wire = False
        self.healed = False
        self.healed_at = 0.0
        self.work = Work(self.rng, job_s)
        self.checks = Checks(self, check_every)
        self.ventilators: list[VentilatorProcess] = []
        self.sinks: list[SinkProcess] = []
        self.workers: list[WorkerProcess] = []
        self.bound: dict[str, tuple[VentilatorProcess, int, LaneEnd]] = {}
        self.intakes: dict[str, SinkProcess] = {}
        self.lane_ports = range(5600, 5600)
        self._port = 6000
        self._lane_turn = 0

    # -- building

    def add_ventilator(
        self, jobs: dict[str, int] | list[tuple[Offer, str, int]], *, terms: Terms = TERMS, commit_s: float = 0.005
    ) -> VentilatorProcess:  # fmt: skip
        """Add a ventilator whose source has so many jobs of each kind (see work.KINDS), or exactly these."""
        if isinstance(jobs, dict):
            jobs = [(offer, CHAIN, 0) for offer in offers(self.rng, jobs)]
        ventilator = VentilatorProcess(self, f"ventilator{len(self.ventilators)}", terms, jobs, commit_s)
        self.ventilators.append(ventilator)
        return ventilator

    def add_sink(self, *, store_s: float = 0.005, held_bytes_max: int = 1 << 20) -> SinkProcess:
        """Add a sink; jobs' keys are spread over all of them."""
        sink = SinkProcess(self, f"sink{len(self.sinks)}", store_s, held_bytes_max)
        self.sinks.append(sink)
        return sink

    def add_worker(
        self, procs: int = 2, *, slow: float = 1.0, filters: str = "faces highlight", name: str = ""
    ) -> WorkerProcess:  # fmt: skip
        """Add a worker; it may be started later than the others."""
        worker = WorkerProcess(self, name or f"worker{len(self.workers)}", procs, slow, filters)
        self.workers.append(worker)
        return worker

    def start(self) -> None:
        """Start everything that is not running."""
        for process in self.processes:
            process.start()

    @property
    def processes(self) -> list[Process]:
        """All of them."""
        return [*self.sinks, *self.ventilators, *self.workers]

    # -- what the processes use

    def control(self, up: Callable[[Any], None], down: Callable[[Any], None]) -> Control:
        """Make a control connection."""
        return Control(self.clock, self.rng, self.weather, up, down)

    def next_port(self) -> int:
        """Return a port that was never used."""
        self._port += 1
        return self._port

    def lane_port(self) -> int:
        """Return a free port for a lane: of a range, if there is one, else one that was never used."""
        taken = {int(address.rpartition(":")[2]) for address in self.bound}
        self._lane_turn += 1
        ports = list(self.lane_ports)
        start = self._lane_turn % max(1, len(ports))
        return next((port for port in ports[start:] + ports[:start] if port not in taken), 0) or self.next_port()

    def free(self, address: str) -> None:
        """A lane's port is free again; whoever had it may try to connect there for ever."""
        self.bound.pop(address, None)

    def wired(self, message: Message) -> Message:
        """Return what the other side decodes of a message; itself when the wire's format is left out for speed."""
        return decode(encode(message)) if self.wire else message

    def trace(self, process: Process, what: str, message: object = "") -> None:
        """Tell what goes on, where somebody replays a seed."""
        if self.verbose:
            print(f"{self.clock.now:10.4f} {process.name:<12} {what} {message}")

    def check(self, process: Process) -> None:
        """Look at a process after an event."""
        self.checks.after(process)

    # -- running

    def run(self, for_s: float) -> None:
        """Let some time pass."""
        self.clock.run(self.clock.now + for_s)

    def run_until(self, done: Callable[[], bool], within_s: float = 60.0) -> None:
        """Let time pass until something is so; fail if it is not so in time."""
        assert self.clock.run(self.clock.now + within_s, done), f"not within {within_s:g} simulated seconds"

    def heal(self) -> None:
        """End all faults and start what is down."""
        self.healed = True
        self.healed_at = self.clock.now
        self.weather.hostile = False
        self.told_rate = 1.0
        for worker in self.workers:
            worker.mute = False
        for sink in self.sinks:
            sink.broken = False
            sink.moves = False
            sink.slow = 1.0
        for ventilator in self.ventilators:
            ventilator.refuse_lanes = 0.0
            ventilator.disk.broken, ventilator.disk.slow = False, 1.0
        for control in self.controls:
            control.broken = False
        for process in self.processes:
            process.fuse = 0
            process.thaw()
            process.start()
        for control in self.controls:
            control.resume()
            control.connect()
        for ventilator in self.ventilators:
            ventilator.hands.let_go()

    @property
    def controls(self) -> list[Control]:
        """All control connections there are."""
        places = [*self.ventilators, *self.sinks]
        return [control for place in places for control in list(place.controls.values())]

    @property
    def settled(self) -> bool:
        """Whether every job of every source has ended, and is known to have."""
        for ventilator in self.ventilators:
            counts = ventilator.ledger.counts()
            if not ventilator.fed or counts[State.READY] or counts[State.DELAYED] or not ventilator.disk.idle:
                return False
        return True

    @property
    def quiet(self) -> bool:
        """Whether nobody has anything left to do or to say."""
        return (
            self.settled
            and all(worker.machine.idle and not any(e.unconfirmed for e in worker.machine.employers)
                    for worker in self.workers if worker.alive)
            and all(not lane.sent for v in self.ventilators for lane in v.machine.delivery.lanes.values())
            and all(sink.machine.idle for sink in self.sinks)
            and not any(worker.machine.leaving for worker in self.workers)
            and all(len(v.machine.delivery.lanes) == len(self.workers) for v in self.ventilators)
        )  # fmt: skip

    def settle(self, within_s: float = STUCK_S) -> None:
        """Heal everything, wait until all jobs have ended and all is quiet, and check every invariant.

        Fails when for ``within_s`` nothing goes on: a slow worker with many poisonous jobs may take long.
        """
        self.heal()
        before = None
        while not self.clock.run(self.clock.now + within_s, lambda: self.settled):
            assert before != (before := self._progress()), f"nothing for {within_s:g} s: {self.story()}"
        self.clock.run(self.clock.now + 60.0, lambda: self.quiet)
        # Long enough for the last late message, the silence of a peer that it wrongly announced, and two reviews.
        self.clock.run(max(self.clock.now + 2.5, self.healed_at + 14.0))
        self.checks.settled()

    def _progress(self) -> list[int]:
        """Return numbers that change whenever a job is settled or an attempt at one has failed."""
        return [
            number
            for ventilator in self.ventilators
            for entry in ventilator.ledger._jobs.values()
            for number in (entry.state, entry.row.failures)
        ]

    def story(self) -> str:
        """Say in a line where the jobs are."""
        lines = []
        for ventilator in self.ventilators:
            delivery = ventilator.machine.delivery
            counts = {state.name: count for state, count in ventilator.ledger.counts().items() if count}
            jobs = {seq: job.state.name for seq, job in list(delivery.window.jobs.items())[:5]}
            lanes = [(lane.worker, lane.stage.name, list(lane.sent)[:5]) for lane in delivery.lanes.values()]
            lines.append(f"{ventilator.name} {counts} open={delivery.out.open} jobs={jobs} lanes={lanes}")
        return "; ".join(lines)
