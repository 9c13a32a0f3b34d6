"""What people do to jobs by hand: bury, kick, cancel, retry. One job, several, or all that fit a pattern.

Large sets go in chunks: each is picked by a thread, changed in the ledger, and, once that is on disk, told to the
machine, so the loop never stops for long. The answer comes when all of it is durable. Every verb may be repeated: what
is so already stays so.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from zgrid.errors import SettingsError
from zgrid.log import Event, Log
from zgrid.protocol import effects as fx
from zgrid.protocol.job import State
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row
from zgrid.roles.arguments import jobs_of, pattern_of, state_of, text_of
from zgrid.roles.books import Books
from zgrid.roles.desk import Body, Ticket
from zgrid.roles.inquiries import Inquiries
from zgrid.store.reader import LedgerReader
from zgrid.store.rows import Found, JobLedger
from zgrid.store.spool import is_put
from zgrid.transport.clock import DueClock
from zgrid.transport.clock import now as clock_now

CHUNK_JOBS = 2000
"""Jobs of one change of the ledger: some ten milliseconds in which the loop does nothing else."""

SEARCH_JOBS = 64
"""Named jobs that are looked for at a time."""

NAMED_MAX = 1000
"""Jobs that an answer names at most, changed ones and unchanged ones."""

NAME_CHARS_MAX = 1000
"""What an answer repeats of a name."""

Change = Callable[[JobLedger, Sequence[int], int, str], list[int] | list[Row]]


class Verb(NamedTuple):
    """What is done to jobs. ``event``: as the history calls it.

    ``to``: the state that it leads to. ``legal``: from which states. ``usual``: which of them a pattern means that
    comes without a state. ``instead``: what to do with a job in a state that is not legal.
    """

    event: str
    to: State
    legal: tuple[State, ...]
    usual: tuple[State, ...]
    change: Change
    instead: dict[State, str]


def _bury(ledger: JobLedger, seqs: Sequence[int], now_ms: int, reason: str) -> list[int]:
    return ledger.close_by_hand(seqs, State.BURIED, now_ms, reason)


def _cancel(ledger: JobLedger, seqs: Sequence[int], now_ms: int, reason: str) -> list[int]:
    return ledger.close_by_hand(seqs, State.CANCELLED, now_ms, reason)


def _kick(ledger: JobLedger, seqs: Sequence[int], now_ms: int, _: str) -> list[Row]:
    return ledger.kick(seqs, now_ms)


def _retry(ledger: JobLedger, seqs: Sequence[int], now_ms: int, _: str) -> list[Row]:
    return ledger.reopen(seqs, now_ms)


_OPEN = (State.READY, State.DELAYED)
_STORED = "it is stored: its result is in the database"

VERBS = {
    "bury": Verb("buried", State.BURIED, _OPEN, _OPEN, _bury, {State.STORED: _STORED}),
    "cancel": Verb(
        "cancelled", State.CANCELLED, (*_OPEN, State.BURIED), _OPEN, _cancel, {State.STORED: _STORED}
    ),
    "kick": Verb(
        "kicked", State.READY, (State.BURIED, State.DELAYED), (State.BURIED,), _kick,
        dict.fromkeys((State.DISCARDED, State.CANCELLED), "it was closed for good: zgrid retry takes it up again"),
    ),
    "retry": Verb(
        "retried", State.READY, (State.BURIED, State.DELAYED, State.DISCARDED, State.CANCELLED),
        (State.BURIED, State.DISCARDED, State.CANCELLED), _retry, {State.STORED: _STORED},
    ),
}  # fmt: skip


class Operations:
    """Does what people ask for. ``do`` performs what the machine asks for in answer."""

    def __init__(
        self, books: Books, machine: Ventilator, inquiries: Inquiries, clock: DueClock, log: Log,
        do: Callable[[Iterable[fx.Effect]], None],
    ) -> None:  # fmt: skip
        self.books = books
        self.machine = machine
        self.inquiries = inquiries
        self.clock = clock
        self.log = log
        self.do = do

    def verbs(self) -> dict[str, Callable[[Body, Ticket], None]]:
        """Return who answers which question."""
        return {name: partial(self._begin, name) for name in VERBS}

    def _begin(self, name: str, body: Body, ticket: Ticket) -> None:
        verb = VERBS[name]
        jobs, pattern, state = jobs_of(body), pattern_of(body), state_of(body, verb.legal)
        everything = name == "kick" and body.get("all") is True
        if (jobs is not None) + (pattern is not None) + everything != 1:
            what = "jobs, a source's pattern, or all" if name == "kick" else "jobs or a source's pattern"
            raise SettingsError(f"say what to {name}, in one way: {what}")
        if jobs is not None and state is not None:
            which = "a source's pattern or all" if name == "kick" else "a source's pattern"
            raise SettingsError(f"a state narrows {which}, not jobs that are named: name no state, or no jobs")
        operation = _Operation(self, verb, text_of(body, "reason") or "by hand", ticket)
        if jobs is not None:
            operation.change_named(jobs)
        else:
            operation.change_picked(pattern, verb.usual if state is None else (state,))


class _Operation:
    """One operation under way."""

    def __init__(self, office: Operations, verb: Verb, reason: str, ticket: Ticket) -> None:
        self._office = office
        self._verb = verb
        self._reason = reason
        self._ticket = ticket
        self._jobs: list[int] = []
        self._unchanged: list[list[str]] = []
        self._unknown = 0
        self._last_seq = office.books.ledger.durable_seq

    # -- those that are named

    def change_named(self, names: list[str]) -> None:
        """Find the jobs of these names, and change them, some at a time: to find one by its key takes its time."""
        if not names:
            self._end()
            return
        some, rest = names[:SEARCH_JOBS], names[SEARCH_JOBS:]

        def search(reader: LedgerReader) -> list[tuple[str, Found | None]]:
            return [(name, reader.find(name)) for name in some]

        self._search(search, lambda named: self._change_found(named, rest))

    def _change_found(self, named: list[tuple[str, Found | None]], rest: list[str]) -> None:
        known = {found.seq: (name, found) for name, found in named if found is not None}
        for name, found in named:
            if found is None:
                self._unknown += 1
                self._leave(name, "there is no such job")

        def changed(done: set[int]) -> None:
            for seq, (name, found) in known.items():
                if seq not in done:
                    self._leave(name, self._why_not(found))
            self.change_named(rest)

        self._change(sorted(known), changed)

    def _why_not(self, found: Found) -> str:
        """Say why a job stayed as it is."""
        verb = self._verb
        job = self._office.machine.delivery.window.jobs.get(found.seq)
        state = found.state if job is None else job.state
        if state is verb.to:
            return f"it is {state.name.lower()} already"
        if state in verb.instead:
            return verb.instead[state]
        if found.state in verb.legal and is_put(found.uri) and verb.to is State.READY:
            return "its image is not kept any more: put it again under another name"
        return f"it is {state.name.lower()}"

    def _leave(self, name: str, why: str) -> None:
        if len(self._unchanged) < NAMED_MAX:
            self._unchanged.append([name[:NAME_CHARS_MAX], why])

    # -- those that fit

    def change_picked(self, pattern: str | None, states: tuple[State, ...]) -> None:
        """Change all jobs in these states whose source fits the pattern, as far as they are here by now."""
        self._pick(pattern, states, 0)

    def _pick(self, pattern: str | None, states: tuple[State, ...], after_seq: int) -> None:
        if not states:
            self._end()
            return

        def search(reader: LedgerReader) -> list[int]:
            return reader.pick(states[0], pattern, None, after_seq, CHUNK_JOBS)

        def picked(seqs: list[int]) -> None:
            mine = [seq for seq in seqs if seq <= self._last_seq]
            if not mine:
                self._pick(pattern, states[1:], 0)
                return
            self._change(mine, lambda _: self._pick(pattern, states, mine[-1]))

        self._search(search, picked)

    # -- both

    def _search(self, search: Callable[[LedgerReader], Any], found: Callable[[Any], None]) -> None:
        """Search once all that was decided is on disk."""
        office = self._office
        office.books.read(lambda: office.inquiries.search(search, found, self._ticket.refuse), for_people=True)

    def _change(self, seqs: list[int], then: Callable[[set[int]], None]) -> None:
        """Change a chunk in the ledger, tell the machine when it is on disk, and go on."""
        books, verb = self._office.books, self._verb
        wall = self._office.clock.date_ms()

        def entry() -> list[Any]:
            changed = verb.change(books.ledger, seqs, wall, self._reason)
            if changed:
                books.ledger.record(verb.event, _seqs(changed), wall, note=self._reason)
            return changed

        def done(changed: list[Any]) -> None:
            self._tell_machine(changed)
            mine = _seqs(changed)
            self._jobs += mine[: NAMED_MAX - len(self._jobs)]
            self._ticket.changed += len(mine)
            then(set(mine))

        books.order(entry, done, self._refused)

    def _tell_machine(self, changed: list[Any]) -> None:
        delivery, now = self._office.machine.delivery, clock_now()
        if not changed:
            return
        if self._verb.to is State.READY:
            self._office.do(delivery.accepted(changed, now))
        else:
            self._office.do(delivery.withdrawn(changed, self._verb.to, now))

    def _refused(self, sentence: str) -> None:
        changed = self._ticket.changed
        done = f"{changed} jobs were {self._verb.event}, the rest were not: " if changed else ""
        self._ticket.refuse(done + sentence)

    def _end(self) -> None:
        changed = self._ticket.changed
        if changed:
            self._office.log.info(Event.BY_HAND, verb=self._verb.event, jobs=changed, reason=self._reason)
        self._ticket.answer(
            {"changed": changed, "jobs": self._jobs, "unchanged": self._unchanged, "unknown": self._unknown}
        )


def _seqs(changed: Sequence[int | Row]) -> list[int]:
    return [one if isinstance(one, int) else one.seq for one in changed]
