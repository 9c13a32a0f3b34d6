"""Every transition of a job, as data. The delivery machine looks each one up here and decides nothing else by state.

The table is total: what is not named below is legal too, changes nothing, and is counted as late. That is how
duplicated, delayed and reordered messages stay boring.
"""

from enum import IntEnum

from zgrid.protocol.job import State


class Change(IntEnum):
    """What can happen to a job."""

    SEND = 0
    """Put on a worker's lane."""
    FINISH = 1
    """The worker says: the result is on its way to the sink."""
    DISCARD = 2
    """The worker says: the chain dropped the image."""
    BURY = 3
    """It will never work, or used up its attempts."""
    POSTPONE = 4
    """It may work later."""
    RETURN = 5
    """Handed back, or lost with its worker, or lost on the way to the sink: ready again."""
    STORE = 6
    """The sink says: stored, on disk."""
    CANCEL = 7
    """Somebody withdrew it."""
    KICK = 8
    """Somebody wants it tried again, with all its attempts."""


_MOVES: dict[tuple[State, Change], State] = {
    (State.READY, Change.SEND): State.SENT,
    (State.READY, Change.STORE): State.STORED,  # a late result of an earlier attempt: the first one stored wins
    (State.SENT, Change.FINISH): State.FINISHED,
    (State.SENT, Change.DISCARD): State.DISCARDED,
    (State.SENT, Change.BURY): State.BURIED,
    (State.SENT, Change.POSTPONE): State.DELAYED,
    (State.SENT, Change.RETURN): State.READY,
    (State.SENT, Change.STORE): State.STORED,  # the sink's word can overtake the worker's
    (State.FINISHED, Change.RETURN): State.READY,
    (State.FINISHED, Change.STORE): State.STORED,
    (State.DELAYED, Change.STORE): State.STORED,
    # The sink's row is the truth, whatever was decided while the result was under way.
    (State.DISCARDED, Change.STORE): State.STORED,
    (State.BURIED, Change.STORE): State.STORED,
    (State.CANCELLED, Change.STORE): State.STORED,
    # By hand.
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

MOVES: tuple[tuple[State | None, ...], ...] = tuple(
    tuple(_MOVES.get((state, change)) for change in Change) for state in State
)
"""``MOVES[state][change]`` is the new state, or None for a change that comes late and alters nothing."""

CAN_FINISH = tuple(state for state in State if MOVES[state][Change.FINISH] is not None)
"""The states of which FINISH is no late news, for a look at every job that is reported."""
