"""What the stories of failures have in common: a small grid, and how it stands."""

from grid import TERMS, Grid
from process import Process
from ventilator_process import VentilatorProcess
from worker_process import WorkerProcess

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State


def small(jobs: dict[str, int], *procs: int, job_s: float = 0.05, terms: Terms = TERMS, sinks: int = 1) -> Grid:
    """Return a running grid of one ventilator, so many workers and sinks; every check is on."""
    grid = Grid(1, job_s=job_s)
    grid.wire = True
    for _ in range(sinks):
        grid.add_sink()
    grid.add_ventilator(jobs, terms=terms)
    for number in procs:
        grid.add_worker(number)
    grid.start()
    return grid


def only(grid: Grid) -> VentilatorProcess:
    """Return the grid's one ventilator."""
    (ventilator,) = grid.ventilators
    return ventilator


def sent(grid: Grid) -> int:
    """Return how many jobs are at workers."""
    return sum(len(lane.sent) for lane in only(grid).machine.delivery.lanes.values())


def running(worker: WorkerProcess) -> bool:
    """Whether a child of this worker runs a job."""
    return any(child.token is not None for child in worker.children)


def counts(grid: Grid) -> dict[State, int]:
    """Return the states of the ledger that have jobs."""
    return {state: count for state, count in only(grid).ledger.counts().items() if count}


def failures(grid: Grid) -> set[int]:
    """Return the numbers of failures that jobs are charged with."""
    return {entry.row.failures for entry in only(grid).ledger._jobs.values()}


def again(grid: Grid, process: Process) -> None:
    """Stop a process as by SIGTERM, start it again when it has ended, and wait until all know each other."""
    process.leave()
    grid.run_until(lambda: not process.alive)
    process.start()
    grid.run_until(lambda: all(len(one.machine.delivery.lanes) == len(grid.workers) for one in grid.ventilators))
    grid.run_until(lambda: all(one.machine.delivery.out.open for one in grid.ventilators))
