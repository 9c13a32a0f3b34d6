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
    (State.DISCARDED, Change.STORE): State.STORED,
    (State.BURIED, Change.STORE): State.STORED,
    (State.CANCELLED, Change.STORE): State.STORED,
    (State.READY, Change.BURY): State.BURIED,
    (State.DELAYED, Change.BURY): State.BURIED,
    (State.FINISHED, Change.BURY): State.BURIED,
    (State.READY, Change.CANCEL): State.CANCELLED,
    (State.DELAYED, Change.CANCEL): State.CANCELLED,
    (State.SENT, Change.CANCEL): State.CANCELLED,
    (State.FINISHED, Change.CANCEL): State.CANCELLED,
    (State.BURIED, Change.CANCEL): State.CANCELLED,
    (State.DELAYED, Change.KICK): State.READY,
    (State.BURIED, Change.KICK): State.READY,
    (State.DISCARDED, Change.KICK): State.READY,
    (State.CANCELLED, Change.KICK): State.READY,
}

BY_HAND = {Change.CANCEL, Change.KICK}

PAIRS = [(state, change) for state in State for change in Change]


@pytest.mark.parametrize(("state", "change"), PAIRS, ids=[f"{state.name}-{change.name}" for state, change in PAIRS])
def test_each_pair(state: State, change: Change) -> None:
    """Each state and change has its entry: the listed new state, or None for what comes late."""
    assert MOVES[state][change] is LEGAL.get((state, change))


def test_the_table_is_total() -> None:
    """There is a row for each state and a column for each change, and no more."""
    assert len(MOVES) == len(State)
    assert {len(row) for row in MOVES} == {len(Change)}


def test_nothing_but_a_stored_row_or_a_hand_leaves_a_closed_state() -> None:
    """What has ended stays so, whatever comes late; only a sink's row and people change it, and STORED is final."""
    for state in CLOSED:
        for change in set(Change) - BY_HAND - {Change.STORE}:
            assert MOVES[state][change] is None
    assert not any(MOVES[State.STORED])


def test_the_end_can_be_reached_from_everywhere() -> None:
    """From each open state there is a way to STORED, and each state can be reached from READY."""
    reached = {State.READY}
    for _ in State:
        reached |= {new for state in reached for new in MOVES[state] if new is not None}
    assert reached == set(State)
    assert all(MOVES[state][Change.STORE] is State.STORED for state in OPEN)
