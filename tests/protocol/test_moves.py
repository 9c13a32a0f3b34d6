"""The table of transitions: total, and exactly what is listed here."""

import pytest

from zgrid.protocol.job import CLOSED, OPEN, State
from zgrid.protocol.moves import MOVES, Change

LEGAL = {
    (State.READY, Change.SEND): State.SENT,
    (State.READY, Change.STORE): State.STORED,
    (State.SENT, Change.FINISH): State.FINISHED,
    (State.SENT, Change.DISCARD): State.DISCARDED,
    (State.SENT, Change.BURY): State.BURIED,
    (State.SENT, Change.POSTPONE): State.DELAYED,
    (State.SENT, Change.RETURN): State.READY,
    (State.SENT, Change.STORE): State.STORED,
    (State.FINISHED, Change.RETURN): State.READY,
    (State.FINISHED, Change.STORE): State.STORED,
    (State.DELAYED, Change.STORE): State.STORED,
}

PAIRS = [(state, change) for state in State for change in Change]


@pytest.mark.parametrize(("state", "change"), PAIRS, ids=[f"{state.name}-{change.name}" for state, change in PAIRS])
def test_each_pair(state: State, change: Change) -> None:
    """Each state and change has its entry: the listed new state, or None for what comes late."""
    assert MOVES[state][change] is LEGAL.get((state, change))


def test_the_table_is_total() -> None:
    """There is a row for each state and a column for each change, and no more."""
    assert len(MOVES) == len(State)
    assert {len(row) for row in MOVES} == {len(Change)}


def test_nothing_leaves_a_closed_state() -> None:
    """What is stored, discarded, buried or cancelled stays so, whatever comes late."""
    assert all(new is None for state in CLOSED for new in MOVES[state])


def test_the_end_can_be_reached_from_everywhere() -> None:
    """From each open state there is a way to STORED, and each state but CANCELLED can be reached from READY."""
    reached = {State.READY}
    for _ in State:
        reached |= {new for state in reached for new in MOVES[state] if new is not None}
    assert reached == set(State) - {State.CANCELLED}
    assert all(MOVES[state][Change.STORE] is State.STORED for state in OPEN)
