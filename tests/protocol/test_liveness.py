"""Who is silent: three missed beats, told once, and never for the watcher's own sleep."""

from hypothesis import given
from hypothesis import strategies as st

from zgrid.protocol.liveness import Liveness

TICK_S = 0.1


def watch(liveness: Liveness[str], start: float, stop: float) -> list[str]:
    """Judge every TICK_S from ``start`` to ``stop``; return who was found silent."""
    gone: list[str] = []
    for step in range(round((stop - start) / TICK_S) + 1):
        gone += liveness.silent(start + step * TICK_S)
    return gone


def test_three_missed_beats_are_silence() -> None:
    """A peer is silent after three intervals without a word, not before."""
    liveness: Liveness[str] = Liveness(1.0, 3)
    liveness.heard("a", 100.0)
    assert watch(liveness, 100.0, 102.9) == []
    assert watch(liveness, 103.1, 103.2) == ["a"]


def test_silence_is_told_once() -> None:
    """A peer that was found silent is not watched any more, until it says something."""
    liveness: Liveness[str] = Liveness(1.0, 3)
    liveness.heard("a", 100.0)
    assert watch(liveness, 100.0, 120.0) == ["a"]
    assert liveness.age_s("a", 120.0) is None
    liveness.heard("a", 120.0)
    assert watch(liveness, 120.1, 140.0) == ["a"]


def test_any_word_counts() -> None:
    """A peer that says something every two intervals is never silent."""
    liveness: Liveness[str] = Liveness(1.0, 3)
    for now in range(100, 200, 2):
        liveness.heard("a", float(now))
        assert watch(liveness, now + 0.0, now + 1.9) == []


def test_a_forgotten_peer_is_not_watched() -> None:
    """Who said goodbye is never reported."""
    liveness: Liveness[str] = Liveness(1.0, 3)
    liveness.heard("a", 100.0)
    liveness.forget("a")
    liveness.forget("never seen")
    assert watch(liveness, 100.0, 110.0) == []


def test_own_sleep_is_not_held_against_peers() -> None:
    """A watcher that slept for a minute gives each peer as much time again, and still finds the dead afterwards."""
    liveness: Liveness[str] = Liveness(1.0, 3)
    liveness.heard("a", 100.0)
    liveness.heard("b", 100.0)
    assert watch(liveness, 100.0, 101.0) == []
    assert liveness.silent(161.0) == []
    liveness.heard("a", 161.2)
    assert watch(liveness, 161.1, 164.0) == ["b"]


@given(st.lists(st.tuples(st.floats(0.01, 5.0), st.booleans()), max_size=60), st.floats(0.05, 2.0), st.integers(1, 5))
def test_only_real_silence_is_told(steps: list[tuple[float, bool]], interval_s: float, missed_max: int) -> None:
    """However unevenly it is called: who was heard within the patience is never told, and nobody is told twice."""
    liveness: Liveness[str] = Liveness(interval_s, missed_max)
    now = heard_at = 50.0
    liveness.heard("a", now)
    watched = True
    for step_s, speaks in steps:
        now += step_s
        if speaks:
            liveness.heard("a", now)
            heard_at, watched = now, True
        gone = liveness.silent(now)
        assert gone in ([], ["a"])
        if gone:
            assert watched
            assert now - heard_at > interval_s * missed_max
            watched = False
        assert (liveness.age_s("a", now) is not None) == watched
