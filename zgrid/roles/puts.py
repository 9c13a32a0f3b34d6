"""Images that somebody puts: checked, kept in the ledger together with their jobs, and only then accepted."""

from collections.abc import Callable, Iterable

from zgrid.filters import parse_steps
from zgrid.protocol import effects as fx
from zgrid.protocol.job import State
from zgrid.protocol.messages import Put
from zgrid.protocol.ventilator import Ventilator
from zgrid.roles.books import Books
from zgrid.roles.desk import Ticket
from zgrid.roles.halts import Halts
from zgrid.sources import content
from zgrid.store.rows import JobTerms, Placed
from zgrid.transport.clock import DueClock, wall_ms
from zgrid.transport.clock import now as clock_now

WAITING_BYTES_MAX = 128 << 20
"""Images in memory that wait for their commit; what comes beyond is dropped, and its tool sends it again."""


class Puts:
    """Takes images in, for ``chain`` unless they name another. ``do`` performs what the machine asks for in answer."""

    def __init__(
        self, books: Books, machine: Ventilator, halts: Halts, chain: str, job_bytes_max: int,
        due_clock: DueClock, do: Callable[[Iterable[fx.Effect]], None],
    ) -> None:  # fmt: skip
        self._books = books
        self._machine = machine
        self._halts = halts
        self._chain = chain
        self._job_bytes_max = job_bytes_max
        self._due_clock = due_clock
        self._do = do
        self._waiting_bytes = 0

    def take(self, message: Put, ticket: Ticket) -> None:
        """Accept all images of a message, or none. Raises SettingsError for a chain that cannot be."""
        if self._halts.draining is not None:
            ticket.refuse("this ventilator is draining and takes nothing more: put it to another, or start it again")
            return
        chain = self._chain
        if message.chain:
            chain = " ".join(map(str, parse_steps(message.chain.split(), checked=False)))
        images = [(name, bytes(image)) for name, image in zip(message.names, message.images, strict=True)]
        for index, (name, image) in enumerate(images):
            problem = self._problem(image)
            if problem:
                ticket.wrong(f"{name} {problem}", image=index)
                return
        size = sum(len(image) for _, image in images)
        if self._waiting_bytes and self._waiting_bytes + size > WAITING_BYTES_MAX:
            ticket.drop()
            return
        self._waiting_bytes += size
        self._enter(images, size, chain, self._terms(message), ticket)

    def _problem(self, image: bytes) -> str | None:
        """Say what is wrong with an image; None where nothing is."""
        if len(image) > self._job_bytes_max:
            return f"has {len(image)} bytes, and {self._job_bytes_max} are the most here (--job-bytes-max)"
        kind = content.kind_of(image[: content.HEAD_BYTES])
        if kind is None:
            return "is no image"
        if kind in content.ARCHIVES:
            return f"is an archive ({kind}), not an image: give it to a ventilator as a source"
        return None

    def _enter(self, images: list[tuple[str, bytes]], size: int, chain: str, terms: JobTerms, ticket: Ticket) -> None:
        ledger = self._books.ledger

        def entry() -> list[Placed]:
            return ledger.put(images, ledger.chain_id(chain), wall_ms(), terms)

        def done(placed: list[Placed]) -> None:
            self._waiting_bytes -= size
            self._accepted(placed, ticket)

        def refused(sentence: str) -> None:
            self._waiting_bytes -= size
            ticket.refuse(sentence)

        self._books.order(entry, done, refused)

    def _accepted(self, placed: list[Placed], ticket: Ticket) -> None:
        """All of it is on disk."""
        ready = [one.row for one in placed if one.row is not None and one.state is State.READY]
        self._machine.delivery.chains = self._books.ledger.chain_texts()
        self._do(self._machine.delivery.accepted(ready, clock_now()))
        ticket.answer(
            {
                "jobs": [one.seq for one in placed],
                "known": [one.row is None for one in placed],
                "states": [self._state(one) for one in placed],
            }
        )

    def _state(self, placed: Placed) -> str:
        job = self._machine.delivery.window.jobs.get(placed.seq)
        return (placed.state if job is None or placed.row is not None else job.state).name.lower()

    def _terms(self, message: Put) -> JobTerms:
        return JobTerms(
            priority=message.priority,
            due_ms=self._due_clock.now_ms() + message.delay_ms if message.delay_ms else None,
            ttr_ms=message.ttr_ms or None,
            attempts_max=message.attempts or None,
        )
