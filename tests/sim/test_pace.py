"""How well jobs are spread over workers of different pace, in simulated time: without any machine's noise."""

import pytest
from grid import Grid

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State

TERMS = Terms(ready_max=1024)


def seconds(slownesses: list[float], procs: list[int], jobs: int, job_s: float, seed: int) -> float:
    """Return the simulated seconds from the first job until the last is stored, over the ideal."""
    grid = Grid(seed, job_s=job_s, check_every=50)
    grid.add_sink(store_s=0.001)
    ventilator = grid.add_ventilator({"keep": jobs}, terms=TERMS)
    ventilator.feed_s = 0.0005
    for slow, count in zip(slownesses, procs, strict=True):
        grid.add_worker(count, slow=slow)
    grid.start()
    grid.run_until(lambda: ventilator.ledger.counts()[State.STORED] > 0)
    began = grid.clock.now - job_s
    grid.run_until(lambda: ventilator.ledger.counts()[State.STORED] == jobs, within_s=1000.0)
    pace_per_s = sum(count / (slow * job_s) for slow, count in zip(slownesses, procs, strict=True))
    return (grid.clock.now - began) / (jobs / pace_per_s)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("slownesses", "procs", "job_s"),
    [
        ([1.0, 10.0], [1, 1], 0.025),
        ([1.0, 10.0], [1, 1], 0.010),
        ([1.0, 10.0], [4, 4], 0.025),
        ([1.0, 1.0, 20.0], [2, 2, 2], 0.025),
        ([1.0, 1.0, 1.0], [2, 2, 2], 0.025),
    ],
)
def test_a_slow_worker_holds_nobody_up(slownesses: list[float], procs: list[int], job_s: float, seed: int) -> None:
    """Whatever the workers' paces: all is done within 1.05 of the time in which all of them together could do it."""
    fast = sum(count / slow for slow, count in zip(slownesses, procs, strict=True))
    jobs = int(15.0 * fast / job_s)
    assert seconds(slownesses, procs, jobs, job_s, seed) <= 1.05


def test_a_worker_that_hangs_keeps_the_last_jobs_from_nobody() -> None:
    """The fastest worker is suspended near the end: the slow one does what is left, without waiting for it."""
    grid = Grid(7, job_s=0.02)
    grid.add_sink()
    ventilator = grid.add_ventilator({"keep": 400}, terms=TERMS)
    fast, slow = grid.add_worker(1), grid.add_worker(1, slow=10.0)
    grid.start()
    grid.run_until(lambda: ventilator.ledger.counts()[State.STORED] >= 370)
    fast.suspend(60.0)
    lane = next(one for one in ventilator.machine.delivery.lanes.values() if one.worker == slow.name)
    before = lane.done
    grid.run(2.0)  # less than the three beats after which the fast one is given up
    assert lane.done > before + 5
