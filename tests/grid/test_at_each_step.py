"""Every process killed with -9, or stopped for a while, exactly at each step of a job's life (``steps.py``).

Afterwards everything is settled, with one row and one whole picture for each image that was kept, no picture is without
a row, and nobody is charged but the job whose child was killed at it. (Where the agent itself died, only the order of
its lane can tell what it had begun: that charges one job for each child at most.)

Beats are 100 ms and five may be missed, so that a stop of 1 s is 10 beats and one of 6 s is 60 beats; ``REAL_S`` are
stops with the settings as they come. Several grids run at the same time, for most of the time they only wait; a test
whose grid is not done yet waits for it.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from threading import Semaphore
from typing import NamedTuple

import pytest
from bench import BEAT_S, Bench, tell
from harness import Grid
from steps import BY_NAME, STEPS, Action

pytestmark = [pytest.mark.grid, pytest.mark.timeout(400)]

GRIDS_AT_ONCE = 8
STARTING_AT_ONCE = 3
STEPS_PER_GRID = 3
STOPS_BEATS = (10, 60)
REAL_S = (10, 60) if os.environ.get("ZGRID_SLOW") else (10,)
REAL_STEPS = ("sent", "assigned", "begun", "results-read")
"""A step of each role, for stops with default settings."""


class Place(NamedTuple):
    """Which grid a case runs on: a few of one role's steps share one, for starting it takes longer than most cases."""

    role: str
    number: int
    real: bool


class Case(NamedTuple):
    """What one test does to a grid. ``real``: with default settings; without an action the grid is left in peace."""

    step: str
    action: Action | None
    for_s: float = 0.0
    real: bool = False

    @property
    def place(self):
        """The grid that it runs on."""
        role = BY_NAME[self.step].role
        number = [step.name for step in STEPS if step.role == role].index(self.step) // STEPS_PER_GRID
        return Place(role, 0 if self.real else number, self.real)

    def run(self, bench):
        """Do it; return what was measured, or the steps that were seen."""
        fed_as = f"{self.step}-{self.action}-{self.for_s:g}"
        if self.action is Action.KILL:
            return bench.killed_at(BY_NAME[self.step], fed_as)
        if self.action is Action.STOP:
            return bench.stopped_at(BY_NAME[self.step], fed_as, self.for_s)
        return bench.undisturbed(fed_as)


class Runs:
    """All cases, each grid's one after the other, several grids at a time. ``folders`` makes a folder for each."""

    def __init__(self, cases, folders):
        self._folders = folders
        folders.getbasetemp()  # made now: several threads that make it at once remove it under each other's hands
        self._starting = Semaphore(STARTING_AT_ONCE)
        self._outcomes = {case: Future() for case in cases}
        self._threads = ThreadPoolExecutor(GRIDS_AT_ONCE, "grid")
        for place, mine in groupby(sorted(cases, key=attrgetter("place")), key=attrgetter("place")):
            self._threads.submit(self._run, place, list(mine))

    def outcome(self, case):
        """Return what a case has measured; raises what it has raised."""
        return self._outcomes[case].result()

    def end(self):
        """Begin no more grids, and wait for the others."""
        self._threads.shutdown(cancel_futures=True)

    def _run(self, place, cases):
        bench = None
        for case in cases:
            try:
                bench = bench or self._start(place)
                measured = case.run(bench)
                if case is cases[-1]:
                    ended, bench = bench, None
                    ended.end(failed=False)
            except BaseException as error:  # noqa: BLE001  whatever it is, the test has to hear of it
                self._outcomes[case].set_exception(error)
                if bench is not None:  # the next case gets a grid of its own
                    bench.end(failed=True)
                    bench = None
            else:
                self._outcomes[case].set_result(measured)

    def _start(self, place):
        # A job that is stopped with its child for a minute has not overrun yet.
        real = {"beat_interval_ms": None, "beats_missed_max": None, "ttr_ms": 120_000}
        with self._starting:
            workers = ["w1", "w2"] if place.role == "worker" else ["w1"]
            return Bench(Grid(self._folders.mktemp(place.role)), workers, **(real if place.real else {}))


UNDISTURBED = [Case(STEPS[0].name, None)]
KILLS = [Case(step.name, Action.KILL) for step in STEPS]
STOPS = [Case(step.name, Action.STOP, beats * BEAT_S) for step in STEPS for beats in STOPS_BEATS]
REAL_STOPS = [Case(name, Action.STOP, float(for_s), real=True) for name in REAL_STEPS for for_s in REAL_S]


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """The cases of all tests of this module that were asked for, under way."""
    mine = [item for item in request.session.items if item.module is request.module]
    runs = Runs([item.callspec.params["case"] for item in mine], tmp_path_factory)
    yield runs
    runs.end()


@pytest.mark.parametrize("case", UNDISTURBED, ids=["every"])
def test_step_is_passed(runs, case):
    """In a grid that is left in peace every step of the table is passed: none is stale, and none cannot be struck."""
    assert runs.outcome(case) == BY_NAME.keys()


@pytest.mark.parametrize("case", KILLS, ids=attrgetter("step"))
def test_kill(runs, case, record_property):
    """Whoever passes the step dies of SIGKILL there; started again, everything is as if nothing had been."""
    tell(record_property, f"kill -9 at {case.step}", runs.outcome(case))


@pytest.mark.parametrize("case", STOPS, ids=lambda case: f"{case.step}-{case.for_s / BEAT_S:g}_beats")
def test_stop(runs, case, record_property):
    """Whoever passes the step is stopped there, and goes on after some beats: everything is as if nothing had been."""
    tell(record_property, f"stopped for {case.for_s:g} s at {case.step}", runs.outcome(case))


@pytest.mark.parametrize("case", REAL_STOPS, ids=lambda case: f"{BY_NAME[case.step].role}-{case.for_s:g}_s")
def test_real_stop(runs, case, record_property):
    """A process of each role is stopped for 10 s (ZGRID_SLOW=1: and for 60 s) with the settings as they come."""
    tell(record_property, f"{BY_NAME[case.step].role} stopped for {case.for_s:g} s", runs.outcome(case))
