"""Whole grids from seeds, with every kind of trouble at random; ``scripts/simulate SEED`` tells a seed's story."""

import pytest
from chaos import simulate

SEEDS_PER_TEST = 20

REGRESSIONS = (4, 16, 29, 35, 283, 304, 517, 618, 834, 3255, 10278, 10995, 12063, 36858, 105242, 112527)
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


def test_a_seed_is_one_story() -> None:
    """The same seed makes the same events: otherwise none could be replayed."""
    first, second = simulate(7), simulate(7)
    assert first.clock.steps == second.clock.steps
    assert first.clock.now == second.clock.now
    assert [sink.store.rows for sink in first.sinks] == [sink.store.rows for sink in second.sinks]
