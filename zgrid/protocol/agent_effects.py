"""All that a worker's duty may ask of its role, performed in the order of the list."""

from typing import NamedTuple

from zgrid.protocol.assignment import Batch
from zgrid.protocol.effects import Log as Log  # noqa: PLC0414  one of these effects, too
from zgrid.protocol.messages import Message, Results


class Tell(NamedTuple):
    """Send a message to a ventilator's control socket."""

    ventilator: int
    message: Message


class ConnectLane(NamedTuple):
    """Connect to a lane; ``tcp://*:PORT`` means: at the host where the ventilator was reached."""

    ventilator: int
    lane: int
    address: str


class CloseLane(NamedTuple):
    """Close a lane that is gone."""

    ventilator: int
    lane: int


class Assign(NamedTuple):
    """Give the jobs ``start`` to ``stop`` of a batch to a child."""

    child: int
    batch: Batch
    start: int
    stop: int


class Kill(NamedTuple):
    """Kill a child; its death is reported like any other."""

    child: int
    why: str


class Push(NamedTuple):
    """Push results to the sink whose intake is at ``address``."""

    address: str
    results: Results


Effect = Tell | ConnectLane | CloseLane | Assign | Kill | Push | Log
