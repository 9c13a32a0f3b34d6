"""Whole grids from seeds, with every kind of trouble at random; ``scripts/simulate SEED`` tells a seed's story."""

import pytest
from chaos import Chaos, random_grid, simulate
from work import kind_of

SEEDS_PER_TEST = 20

REGRESSIONS = (
    4, 16, 29, 35, 180, 283, 304, 517, 618, 834, 3255, 10278, 10995, 12063, 36858, 105242, 112527, 603110,
    838957, 857230, 962666, 969681, 1011425,
)  # fmt: skip
"""Seeds that once found a fault; the faults themselves are stories of their own in test_scenarios.py."""


def fails(seed: int) -> str | None:
    """Run a seed; return what is wrong, and how to see it again."""
    try:
        simulate(seed)
    except Exception as error:  # noqa: BLE001  a fault of any kind is what we look for
        return f"{type(error).__name__}: {error}; again: scripts/simulate {seed}"
    return None


@pytest.mark.parametrize("first", range(1, 301, SEEDS_PER_TEST))
def test_seeds(first: int) -> None:
    """Whatever goes wrong, each accepted job ends exactly once, and each stored one has exactly one row."""
    wrong = [said for seed in range(first, first + SEEDS_PER_TEST) if (said := fails(seed))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_seeds_that_failed_once(seed: int) -> None:
    """Seeds that showed a fault are run for ever, with a full look at the machines after every event."""
    simulate(seed, check_every=1)


def stopped_in_order(seed: int) -> str | None:
    """Run a seed's grid with no trouble but stops in order, many at a time; return which jobs ran twice for it."""
    grid = random_grid(seed, check_every=50)
    kinds = {kind_of(offer.uri) for ventilator in grid.ventilators for offer, _, _ in ventilator.offers}
    slow = max(worker.slow for worker in grid.workers) * grid.work.job_s
    if not kinds <= {"keep", "discard"} or slow > 0.1:
        return None  # a crash takes what its child has not reported with it, and who takes long is not waited for
    grid.told_rate = 1.0
    grid.start()
    grid.run(1.0 + 2.0 * grid.rng.random())
    chaos = Chaos(grid)
    chaos.bad = [chaos.leave]
    chaos.run(grid.rng.choice((2.0, 6.0, 15.0)))
    grid.settle()
    twice = [key.hex() for (_, key), runs in grid.work.runs.items() if runs > 1]
    return f"seed {seed}: run twice: {twice}" if twice else None


def test_stops_in_order_make_no_job_run_twice() -> None:
    """Whichever processes are asked to stop, and however many at a time, each job runs once."""
    wrong = [said for seed in range(1, 200) if (said := stopped_in_order(seed))]
    assert not wrong, "\n".join(wrong)


def test_a_seed_is_one_story() -> None:
    """The same seed makes the same events: otherwise none could be replayed."""
    first, second = simulate(7), simulate(7)
    assert first.clock.steps == second.clock.steps
    assert first.clock.now == second.clock.now
    assert [sink.store.rows for sink in first.sinks] == [sink.store.rows for sink in second.sinks]
