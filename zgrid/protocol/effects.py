"""All that a machine may ask of its role. Effects are performed in the order in which they stand in the list.

That order is the durability rule made visible: what must be on disk first stands first. Effects carry batches.
"""

from typing import Any, NamedTuple

from zgrid.protocol.job import State
from zgrid.protocol.messages import Message


class Reply(NamedTuple):
    """Send a message to a peer of the control socket."""

    peer: bytes
    message: Message


class OpenLane(NamedTuple):
    """Bind a lane for a worker, watch its monitor, and say where it is (``lane_bound``)."""

    lane: int
    peer: bytes
    worker: str


class CloseLane(NamedTuple):
    """Close a lane; whatever is still in it is lost, and known to be."""

    lane: int


class Send(NamedTuple):
    """Put these jobs on a lane, in this order, as one message."""

    lane: int
    jobs: list[Any]
    single: bool


class Settle(NamedTuple):
    """Close these jobs in the ledger, if they are open."""

    seqs: list[int]
    state: State
    reason: str | None


class SettleLate(NamedTuple):
    """A sink has stored these, which are not in memory: close those that are not known as stored, with a history."""

    seqs: list[int]


class Bury(NamedTuple):
    """Close one job as buried, with the evidence."""

    seq: int
    failures: int
    reason: str
    evidence: dict[str, Any]


class Charge(NamedTuple):
    """Note in the ledger that one more attempt of this job failed; it stays open."""

    seq: int
    failures: int
    reason: str
    evidence: dict[str, Any]


class Postpone(NamedTuple):
    """Keep this job in the ledger for later."""

    seq: int
    failures: int
    delay_ms: int
    reason: str
    evidence: dict[str, Any]


class Record(NamedTuple):
    """Add a line to the history of these jobs."""

    event: str
    seqs: list[int]
    worker: str | None
    lane: int | None
    note: str | None


class Refill(NamedTuple):
    """Read up to ``limit`` more open jobs of a chain behind ``after`` (priority, seq) from the ledger (``loaded``)."""

    chain: int
    after: tuple[int, int]
    limit: int


class Review(NamedTuple):
    """Read which jobs were buried or cancelled within so many ms, whose results a sink may have (``reviewed``)."""

    within_ms: int
    limit: int


class TellSink(NamedTuple):
    """Send a message to a sink."""

    sink: int
    message: Message


class Log(NamedTuple):
    """Write a line to the log; ``subject`` is what repeated lines are counted by."""

    event: str
    subject: str
    fields: dict[str, Any]


Effect = (
    Reply | OpenLane | CloseLane | Send | Settle | SettleLate | Bury | Charge | Postpone | Record | Refill | Review
    | TellSink | Log
)  # fmt: skip
