"""The lines of a role that may come again and again: at most one a minute of the same kind about the same subject."""

from typing import Any

from zgrid.log import Event, Log, RateLimit
from zgrid.protocol import effects as fx
from zgrid.transport.clock import now as clock_now

WARNINGS = frozenset(
    {
        Event.WORKER_GONE, Event.WORKER_SILENT, Event.WORKER_REFUSED, Event.SINK_GONE, Event.VENTILATOR_GONE,
        Event.STORE_FAILED, Event.DISK_FULL, Event.CHILD_DIED, Event.CHILD_OVERRAN, Event.PEER_ERROR,
    }
)  # fmt: skip


class Telling:
    """Writes to a role's log, and holds back what was said of the same subject less than a minute ago."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._limit = RateLimit()

    def say(self, event: Event, subject: str, fields: dict[str, Any]) -> None:
        """Write a line, with ``count`` where lines like it were held back before."""
        count = self._limit.take(event, subject, clock_now())
        if count is None:
            return
        more = {"count": count} if count else {}
        (self._log.warning if event in WARNINGS else self._log.info)(event, **fields, **more)

    def tell(self, effect: fx.Log) -> None:
        """Write what a machine asks for."""
        self.say(Event[effect.event.upper()], effect.subject, effect.fields)

    def complain(self, peer: str, sentence: str) -> None:
        """Say that a peer broke the protocol."""
        self.say(Event.PEER_ERROR, peer, {"peer": peer, "reason": sentence})
