"""Whose fault a child's death is."""

from zgrid.roles.death import Starvation, is_starved, why_it_died
from zgrid.roles.link import EXIT_STARVED
from zgrid.roles.pool import Died


def starved(child, *rest, blamed=None):
    return Died(child, 1, EXIT_STARVED, None, blamed, list(rest), "", None, True, 0.0)


def test_the_second_child_that_starves_at_a_job_blames_it():
    """The first may have lost its memory to an earlier image; others that starve in between change nothing."""
    starvation = Starvation()
    assert starvation.blame(starved(0, 7, 8)).started_token is None
    assert starvation.blame(starved(1, 20, 21)).started_token is None
    second = starvation.blame(starved(2, 7, 8, 9))
    assert (second.started_token, second.rest) == (7, [8, 9])
    assert not is_starved(second)
    assert "no memory left for this image" in why_it_died(second)
    assert starvation.blame(starved(0, 8)).started_token is None
    assert starvation.blame(starved(1, 20)).started_token == 20


def test_other_deaths_are_left_as_they_are():
    """Those that blame a job already, or that had none, and those that did not starve."""
    starvation = Starvation()
    for news in (starved(0, 8, blamed=7), starved(0), Died(0, 1, 1, None, None, [7], "", None, True, 0.0)):
        assert starvation.blame(news) is starvation.blame(news) is news


def test_what_is_remembered_is_bounded():
    """A filter that leaks lets children starve for years."""
    starvation = Starvation()
    for token in range(10_000):
        assert starvation.blame(starved(0, token)).started_token is None
    assert starvation.blame(starved(0, 1)).started_token is None
