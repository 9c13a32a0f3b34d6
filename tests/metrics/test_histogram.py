"""The histogram that counts by columns counts what one that looks at each value counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zgrid.metrics.histogram import COMMIT_BOUNDS_S, FEW, WAIT_BOUNDS_S, WORK_BOUNDS_S, Histogram

BOUNDS = (0.5, 1.5, 10.5)


def naive(columns, scale, plus):
    """Return the counts and the sum as one value after the other gives them."""
    counts, total = [0] * (len(BOUNDS) + 1), 0.0
    for value in (value * scale + plus for column in columns for value in column):
        counts[sum(value > bound for bound in BOUNDS)] += 1
        total += value
    return counts, total


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=4 * FEW), max_size=5),
    st.sampled_from([1.0, 2.0, 0.25]),
    st.sampled_from([0.0, 0.125, 4.0, 100.0]),
)
def test_columns_count_as_their_values(columns, scale, plus):
    """Whatever the lengths of columns, each value is counted once, under the first bound that it does not exceed."""
    histogram = Histogram(BOUNDS)
    for column in columns:
        histogram.observe(column, scale, plus)
    bounds, counts, total = histogram.distribution()
    assert bounds == BOUNDS
    assert (counts, pytest.approx(total)) == naive(columns, scale, plus)


def test_a_bound_belongs_to_its_bucket():
    """Prometheus counts what is equal to a bound below it, in short columns and in long ones."""
    for column in ([1.5], [1.5] * 4 * FEW):
        histogram = Histogram(BOUNDS)
        histogram.observe(column)
        assert histogram.distribution().counts == [0, len(column), 0, 0]


def test_what_was_looked_at_stays():
    """A distribution that was taken does not change any more."""
    histogram = Histogram(BOUNDS)
    before = histogram.distribution()
    histogram.observe([1.0])
    assert sum(before.counts) == 0


@pytest.mark.parametrize("bounds", [COMMIT_BOUNDS_S, WAIT_BOUNDS_S, WORK_BOUNDS_S])
def test_bounds_rise(bounds):
    """The bounds that are used rise, and are few enough for every series to be worth its place."""
    assert list(bounds) == sorted(set(bounds))
    assert len(bounds) <= 16
    with pytest.raises(AssertionError, match="rise"):
        Histogram(bounds[::-1])
