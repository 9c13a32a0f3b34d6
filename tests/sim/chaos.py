"""From a seed: a grid, its jobs, and everything that goes wrong there."""

from collections.abc import Callable
from random import Random

from grid import CHAIN, Grid
from noise import Strangers
from process import Process
from work import KINDS, offers

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import Offer

RARE = (0.75, 0.1, 0.04, 0.03, 0.03, 0.03, 0.02)
"""How the kinds of jobs are mixed, in the order of KINDS."""


def random_terms(rng: Random) -> Terms:
    """Return small limits, so that small grids meet them."""
    batch = rng.choice((1, 4, 8, 32))
    return Terms(
        ttr_ms=rng.choice((1000, 2000, 3000)),
        window_ms=rng.choice((20, 100, 300)),
        unsettled_bytes_max=rng.choice((300_000, 2_000_000, 32_000_000)),
        unsettled_jobs_max=rng.choice((8, 32, 8192)),
        batch_jobs_max=batch,
        batch_bytes_max=rng.choice((100_000, 1 << 20)),
        ready_max=batch * rng.choice((2, 3, 8)),
        result_patience_ms=rng.choice((2000, 10_000)),
    )


def random_jobs(rng: Random, count: int) -> list[tuple[Offer, str, int]]:
    """Return jobs of all kinds; sometimes of two chains, sometimes of many priorities."""
    kinds = rng.choices(KINDS, RARE, k=count) if rng.random() < 0.8 else ["keep"] * count
    found = offers(rng, {kind: kinds.count(kind) for kind in KINDS}, rng.choice((2000, 200_000)))
    chains = (CHAIN, CHAIN) if rng.random() < 0.7 else (CHAIN, "faces")
    priorities = (0,) if rng.random() < 0.7 else (0, 5, -3, 1000)
    jobs = []
    while found:
        batch = rng.randrange(1, 20)
        chain, priority = rng.choice(chains), rng.choice(priorities)
        jobs += [(offer, chain, priority) for offer in found[:batch]]
        found = found[batch:]
    return jobs


def random_grid(seed: int, *, verbose: bool = False, check_every: int = 6) -> Grid:
    """Return the grid of this seed, not started."""
    grid = Grid(seed, verbose=verbose, check_every=check_every)
    rng = grid.rng
    grid.work.job_s = rng.choice((0.0005, 0.005, 0.05, 0.2))
    grid.wire = rng.random() < 0.1
    grid.weather.latency_s = grid.lane_weather.latency_s = rng.choice((0.0001, 0.0005, 0.03))
    grid.told_rate = rng.choice((1.0, 0.8, 0.3))
    grid.lane_ports = range(5600, 5600 + rng.choice((0, 0, 3, 12)))
    for _ in range(rng.choice((1, 1, 2))):
        grid.add_sink(store_s=rng.choice((0.002, 0.01, 0.3)), held_bytes_max=rng.choice((8192, 1 << 20)))
    jobs = random_jobs(rng, rng.randrange(40, 160))
    ventilator = grid.add_ventilator(jobs, terms=random_terms(rng), commit_s=rng.choice((0.001, 0.01, 0.1)))
    ventilator.feed_s = rng.choice((0.001, 0.05, 0.5))
    if rng.random() < 0.2:
        # A second one, over its own ledger, and sometimes over the same folder.
        again = [job for job in jobs if rng.random() < 0.5] if rng.random() < 0.3 else random_jobs(rng, 40)
        grid.add_ventilator(again, terms=random_terms(rng))
    slow = min(10.0, 0.5 / grid.work.job_s)  # well within the time-to-run
    name = rng.choice(("", "", "twin"))
    for _ in range(rng.randrange(1, 5)):
        grid.add_worker(rng.randrange(1, 5), slow=rng.choice((1.0, 1.0, 1.0, slow)), name=name)
    return grid


class Chaos:
    """Does something bad to a grid every now and then. ``kinds``: of what, with repetition for weight."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.rng = grid.rng
        self.strangers = Strangers(grid)
        bad: list[Callable[[], None]] = [
            self.kill_worker, self.kill_ventilator, self.kill_sink, self.kill_child, self.freeze, self.suspend,
            self.cut_control, self.cut_lane, self.stall, self.fill_disk, self.leave, self.weather, self.hands,
            self.fill_ledger, self.slow_disk, self.set_clock, self.strangers.speak, self.swallow,
        ]  # fmt: skip
        # Most grids meet a few kinds of trouble only: that leaves the rest of them strict.
        self.bad = self.rng.sample(bad, self.rng.choice((1, 2, 3, 5, len(bad))))
        self.pause_s = self.rng.choice((0.05, 0.3, 1.0))

    def run(self, for_s: float) -> None:
        """Let so much time pass, with trouble."""
        end = self.grid.clock.now + for_s
        while self.grid.clock.now < end:
            self.grid.run(self.rng.expovariate(1 / self.pause_s))
            self.rng.choice(self.bad)()

    def _down(self, process: Process) -> None:
        """Crash now or in the middle of what it does next; come back after a while."""
        if self.rng.random() < 0.5:
            process.crash()
        else:
            process.fuse = self.rng.randrange(1, 12)
        self.grid.clock.after(self.rng.choice((0.05, 0.5, 4.0)), process.start)

    def kill_worker(self) -> None:
        """A worker dies."""
        self._down(self.rng.choice(self.grid.workers))

    def kill_ventilator(self) -> None:
        """A ventilator dies."""
        self._down(self.rng.choice(self.grid.ventilators))

    def kill_sink(self) -> None:
        """A sink dies, and comes back, perhaps with another intake."""
        sink = self.rng.choice(self.grid.sinks)
        sink.moves = self.rng.random() < 0.3
        self._down(sink)

    def kill_child(self) -> None:
        """A child is killed from outside."""
        worker = self.rng.choice(self.grid.workers)
        if worker.alive:
            self.grid.work.struck(worker)
            self.rng.choice(worker.children).die("signal 9")

    def freeze(self) -> None:
        """A process is stopped for a while; a worker's children go on."""
        process = self.rng.choice(self.grid.processes)
        if process in self.grid.workers:
            self.grid.work.struck(process)
        process.freeze(self.rng.choice((0.1, 1.0, 5.0, 12.0)))

    def suspend(self) -> None:
        """A worker's machine is suspended."""
        self.rng.choice(self.grid.workers).suspend(self.rng.choice((0.1, 1.0, 5.0, 12.0)))

    def cut_control(self) -> None:
        """A control connection breaks; it is back after a while."""
        controls = self.grid.controls
        if controls:
            control = self.rng.choice(controls)
            self._strike(control)
            control.cut()
            control.broken = True

            def mend() -> None:
                control.broken = False
                ends = self._ends(control)
                if ends and all(process.alive for process in ends):
                    control.connect()

            self.grid.clock.after(self.rng.choice((0.1, 1.0, 6.0)), mend)

    def stall(self) -> None:
        """A control connection is half-open for a while."""
        controls = self.grid.controls
        if controls:
            control = self.rng.choice(controls)
            self._strike(control)
            control.stall()
            self.grid.clock.after(self.rng.choice((0.5, 2.0, 8.0)), control.resume)

    def cut_lane(self) -> None:
        """A lane breaks, and sometimes nobody is told."""
        worker = self.rng.choice(self.grid.workers)
        if worker.alive and worker.lanes:
            worker.cut_lane(self.rng.choice(list(worker.lanes)), told=self.rng.random() < self.grid.told_rate)

    def fill_disk(self) -> None:
        """A sink's disk is full for a while, or slow."""
        sink = self.rng.choice(self.grid.sinks)
        sink.broken = True
        self.grid.clock.after(self.rng.choice((0.5, 3.0, 8.0)), setattr, sink, "broken", False)

    def fill_ledger(self) -> None:
        """A ledger's disk is full for a while."""
        disk = self.rng.choice(self.grid.ventilators).disk
        disk.broken = True
        self.grid.clock.after(self.rng.choice((0.5, 3.0, 8.0)), setattr, disk, "broken", False)

    def slow_disk(self) -> None:
        """A disk answers late for a while."""
        slow = self.rng.choice([*self.grid.sinks, *(one.disk for one in self.grid.ventilators)])
        slow.slow = self.rng.choice((5.0, 50.0))
        self.grid.clock.after(self.rng.choice((1.0, 6.0)), setattr, slow, "slow", 1.0)

    def set_clock(self) -> None:
        """Somebody sets the wall clock of a ventilator, by up to an hour."""
        self.rng.choice(self.grid.ventilators).set_ms += self.rng.choice((-1, 1)) * self.rng.choice((5000, 3_600_000))

    def swallow(self) -> None:
        """A worker takes jobs for a while and does nothing with them, but says that it is alive."""
        worker = self.rng.choice(self.grid.workers)
        self.grid.work.struck(worker)
        worker.mute = True
        self.grid.clock.after(self.rng.choice((0.2, 2.0)), setattr, worker, "mute", False)

    def leave(self) -> None:
        """A process is asked to stop, and started again."""
        process = self.rng.choice(self.grid.processes)
        if process.alive and not process.frozen:
            if process in self.grid.workers:
                self.grid.work.struck(process)  # the word that it leaves may be lost, or come too late
            process.call(process.life, process.leave)
            self.grid.clock.after(self.rng.choice((0.5, 4.0)), self._again, process, process.life)

    def _again(self, process: Process, life: int) -> None:
        """Start a process again as soon as it has ended."""
        if process.life == life:
            process.start()
            self.grid.clock.after(0.2, self._again, process, life)

    def hands(self) -> None:
        """People bury, cancel, kick, retry, put, pause and resume."""
        for _ in range(self.rng.randrange(1, 4)):
            self.rng.choice(self.grid.ventilators).hands.act()

    def weather(self) -> None:
        """The control connections become hostile, or calm again."""
        weather = self.grid.weather
        weather.hostile = not weather.hostile
        weather.loss = self.rng.choice((0.0, 0.1, 0.5))
        weather.repeat = self.rng.choice((0.0, 0.3))
        weather.shuffle = self.rng.choice((0.0, 0.3))
        for ventilator in self.grid.ventilators:
            ventilator.refuse_lanes = self.rng.choice((0.0, 0.0, 0.5))
        for worker in self.grid.workers:
            self.grid.work.struck(worker)

    def _ends(self, control: object) -> list[Process]:
        places = [*self.grid.ventilators, *self.grid.sinks]
        clients = [*self.grid.workers, *self.grid.ventilators]
        return [
            process
            for place in places
            for boot, mine in place.controls.items()
            if mine is control
            for process in (place, *(client for client in clients if client.boot == boot))
        ]

    def _strike(self, control: object) -> None:
        for process in self._ends(control):
            if process in self.grid.workers:
                self.grid.work.struck(process)


def simulate(seed: int, *, verbose: bool = False, check_every: int = 6) -> Grid:
    """Run the grid of this seed with its trouble, let it settle, and check everything; raises on what is wrong."""
    grid = random_grid(seed, verbose=verbose, check_every=check_every)
    rng = grid.rng
    late = [worker for worker in grid.workers[1:] if rng.random() < 0.3]
    for process in grid.processes:
        if process not in late:
            grid.clock.after(rng.random() * rng.choice((0.0, 2.0)), process.start)
    for worker in late:
        grid.clock.after(rng.random() * 6, worker.start)
    grid.run(rng.random())
    Chaos(grid).run(rng.choice((2.0, 6.0, 15.0)))
    grid.settle()
    return grid
