"""What the machine's effects mean for the ledger: written in order, and read where it is up to date."""

from collections.abc import Callable
from functools import partial
from typing import Any

from zgrid.log import Event, Log
from zgrid.protocol import effects as fx
from zgrid.protocol.job import State
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row
from zgrid.roles.books import Books
from zgrid.roles.rate import Rate
from zgrid.transport.clock import DueClock, wall_ms
from zgrid.transport.clock import now as clock_now

DUE_CLOCK = "due_clock_ms"
"""What the ledger remembers of the clock of delays: once after each start, and again and again while there are any."""

REMEMBERED_EVERY_MS = 10_000


class Entries:
    """Performs the effects that concern the ledger. ``rate`` counts what is settled; ``do`` performs what follows."""

    def __init__(
        self, books: Books, machine: Ventilator, log: Log, rate: Rate, do: Callable[[list[fx.Effect]], None]
    ) -> None:
        self._books = books
        self._ledger = books.ledger
        self._machine = machine
        self._log = log
        self._rate = rate
        self._do = do
        self.due_clock = DueClock(self._ledger.recall(DUE_CLOCK) or 0)
        self._remembered_ms: int | None = None
        self._waking = False
        self._reviewing: set[int] = set()

    def performers(self) -> dict[type, Callable[[Any], None]]:
        """Return who performs which effect."""
        return {
            fx.Settle: self.settle,
            fx.SettleLate: self.settle_late,
            fx.Bury: self.bury,
            fx.Charge: self.charge,
            fx.Postpone: self.postpone,
            fx.Record: self.record,
            fx.Refill: self.refill,
            fx.Review: self.review,
        }

    def settle(self, effect: fx.Settle) -> None:
        """Close jobs."""
        self._rate.add(len(effect.seqs), clock_now())
        self._books.enter(partial(self._ledger.settle, effect.seqs, effect.state, wall_ms(), effect.reason))

    def settle_late(self, effect: fx.SettleLate) -> None:
        """Close jobs that are not in memory: a sink may say again what it has said before."""

        def settled(seqs: list[int]) -> None:
            self._rate.add(len(seqs), clock_now())

        self._books.enter(partial(self._ledger.settle_late, effect.seqs, wall_ms()), settled)

    def bury(self, effect: fx.Bury) -> None:
        """Close a job that failed for good, with the evidence."""
        self._rate.add(1, clock_now())
        wall = self.due_clock.date_ms()
        self._log.warning(
            Event.JOB_BURIED, job=effect.seq, failures=effect.failures, reason=effect.reason, **_where(effect)
        )
        self._books.enter(partial(self._ledger.bury, effect.seq, effect.failures, effect.reason, effect.evidence, wall))
        self._books.enter(partial(self._ledger.record, "buried", [effect.seq], wall, note=effect.reason))

    def charge(self, effect: fx.Charge) -> None:
        """Note a failure that costs an attempt."""
        self._retried(effect)
        self._books.enter(
            partial(self._ledger.charge, effect.seq, effect.failures, effect.reason, effect.evidence, wall_ms())
        )

    def postpone(self, effect: fx.Postpone) -> None:
        """Put a job off after trouble that may pass."""
        self._retried(effect)
        wall = wall_ms()
        due_ms = self.due_clock.now_ms() + effect.delay_ms
        self._books.enter(
            partial(self._ledger.postpone, effect.seq, effect.failures, due_ms, effect.reason, effect.evidence, wall)
        )
        self._books.enter(partial(self._ledger.record, "delayed", [effect.seq], wall, note=effect.reason))

    def record(self, effect: fx.Record) -> None:
        """Add to the history of jobs."""
        self._books.enter(
            partial(
                self._ledger.record,
                effect.event,
                effect.seqs,
                wall_ms(),
                effect.worker,
                effect.lane,
                None,
                effect.note,
            )
        )

    def refill(self, effect: fx.Refill) -> None:
        """Read more open jobs for the machine."""

        def read() -> None:
            rows = self._ledger.next_open(effect.chain, effect.after, effect.limit)
            exhausted = len(rows) < effect.limit
            self._do(self._machine.delivery.loaded(effect.chain, rows, clock_now(), exhausted=exhausted))

        self._books.read(read)

    def review(self, effect: fx.Review) -> None:
        """Read which jobs were closed without a result, for sinks to be asked about them.

        They are dated by the wall clock: where somebody has set it since, to and fro, by so much more is looked back.
        While one waits for a full disk, no other one is entered that looks back as far.
        """
        within_ms = effect.within_ms
        if within_ms in self._reviewing:
            return
        self._reviewing.add(within_ms)
        since_ms = self.due_clock.date_ms() - within_ms - self.due_clock.swing.ms

        def read() -> None:
            self._reviewing.discard(within_ms)
            jobs = self._ledger.aside(since_ms, effect.limit)
            if jobs:
                self._do(self._machine.delivery.reviewed(jobs))

        self._books.read(read)

    def wake_delayed(self) -> None:
        """Have jobs whose delay is over made ready; what was entered for that may wait for a full disk."""
        if self._waking:
            return
        self._waking = True

        def accepted(rows: list[Row]) -> None:
            self._waking = False
            if rows:
                self._do(self._machine.delivery.accepted(rows, clock_now()))

        now_ms = self.due_clock.now_ms()
        if self._remembered_ms is None or (
            now_ms - self._remembered_ms >= REMEMBERED_EVERY_MS and self._ledger.counts()[State.DELAYED]
        ):
            self._remembered_ms = now_ms
            self._books.enter(lambda: self._ledger.remember(DUE_CLOCK, now_ms))
        self._books.enter(lambda: self._ledger.due(now_ms), accepted)

    def _retried(self, effect: fx.Charge | fx.Postpone) -> None:
        self._log.warning(
            Event.JOB_RETRIED, job=effect.seq, failures=effect.failures, reason=effect.reason, **_where(effect)
        )


def _where(effect: fx.Bury | fx.Charge | fx.Postpone) -> dict[str, Any]:
    names = ("key", "attempt", "uri", "worker", "signal")
    return {name: effect.evidence[name] for name in names if name in effect.evidence}
