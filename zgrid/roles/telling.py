"""The lines of a role that may come again and again: at most one a minute of the same kind about the same subject.

What is held back is counted by the next such line. When none comes, the last one that was held back is written once
the minute is over, or the process ends: otherwise the last word on a peer that flaps could be the wrong one.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from zgrid.log import Event, Log, RateLimit
from zgrid.protocol import effects as fx
from zgrid.transport.clock import now as clock_now

WARNINGS = frozenset(
    {
        Event.WORKER_GONE, Event.WORKER_SILENT, Event.WORKER_REFUSED, Event.SINK_GONE, Event.VENTILATOR_GONE,
        Event.VENTILATOR_AWAITED, Event.STORE_FAILED, Event.DISK_FULL, Event.CHILD_DIED, Event.CHILD_STARVED,
        Event.CHILD_OVERRAN, Event.PEER_ERROR, Event.PEER_REFUSED, Event.TURNED_AWAY, Event.KEYS_WRONG,
        Event.UNPROTECTED,
    }
)  # fmt: skip

STANDING = frozenset({Event.CHAIN_WAITING, Event.VENTILATOR_AWAITED, Event.STORE_FAILED, Event.DISK_FULL})
"""Said again and again while something lasts: when it is over, there is nothing left to tell."""

SUBJECTS_MAX = 1024
"""Subjects that are remembered: a hostile peer with many names must not make this grow."""


class Telling:
    """Writes to a role's log, and holds back what was said of the same subject less than a minute ago.

    ``now`` is the clock, ``counts`` how often each event was said, held back or not. ``catch_up`` is to be called
    now and then, and ``at_once`` when the process ends.
    """

    def __init__(self, log: Log, now: Callable[[], float] = clock_now) -> None:
        self._log = log
        self._now = now
        self.counts: Counter[Event] = Counter()
        self._limit = RateLimit(subjects_max=SUBJECTS_MAX)
        self._held: dict[tuple[Event, str], tuple[float, dict[str, Any]]] = {}

    def say(self, event: Event, subject: str, fields: dict[str, Any]) -> None:
        """Write a line, with ``count`` where lines like it were held back before."""
        self.counts[event] += 1
        now = self._now()
        count = self._limit.take(event, subject, now)
        self._held.pop((event, subject), None)
        if count is not None:
            self._write(event, fields, count)
        elif event not in STANDING:
            self._held[event, subject] = (now, fields)  # in the order in which it happened
            if len(self._held) > SUBJECTS_MAX:
                del self._held[next(iter(self._held))]

    def tell(self, effect: fx.Log) -> None:
        """Write what a machine asks for."""
        self.say(Event[effect.event.upper()], effect.subject, effect.fields)

    def complain(self, peer: str, sentence: str) -> None:
        """Say that a peer broke the protocol."""
        self.say(Event.PEER_ERROR, peer, {"peer": peer, "reason": sentence})

    def catch_up(self, *, at_once: bool = False) -> None:
        """Write what was held back for a minute, and how long ago it was (``ago_s``); all of it ``at_once``."""
        if not self._held:
            return
        now = self._now()
        for (event, subject), (at, fields) in list(self._held.items()):
            count = self._limit.release(event, subject, now, at_once=at_once)
            if count is not None:
                del self._held[event, subject]
                self._write(event, {**fields, "ago_s": round(now - at, 1)}, count)

    def _write(self, event: Event, fields: dict[str, Any], count: int) -> None:
        more = {"count": count} if count else {}
        (self._log.warning if event in WARNINGS else self._log.info)(event, **fields, **more)
