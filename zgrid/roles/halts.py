"""What people have stopped: everything, a chain, or taking anything new; in the ledger, so a restart honours it."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from zgrid.errors import SettingsError
from zgrid.filters import parse_steps
from zgrid.log import Event, Log
from zgrid.protocol import effects as fx
from zgrid.protocol.job import OPEN, State
from zgrid.protocol.ventilator import Ventilator
from zgrid.roles.arguments import chain_of, text_of
from zgrid.roles.books import Books
from zgrid.roles.desk import Body, Ticket
from zgrid.roles.supply import Supply
from zgrid.transport.clock import now as clock_now
from zgrid.transport.clock import wall_ms

PAUSED, PAUSED_CHAINS, DRAINING = "paused", "paused_chains", "draining"
"""What the ledger remembers: {"since_ms", "reason"}, the same for each chain, and for a drain; None for none."""


class Halts:
    """Pauses, resumes and drains. ``do`` performs what the machine asks for in answer."""

    def __init__(
        self, books: Books, machine: Ventilator, supply: Supply, log: Log, do: Callable[[Iterable[fx.Effect]], None]
    ) -> None:
        self._books = books
        self._machine = machine
        self._supply = supply
        self._log = log
        self._do = do
        recall = books.ledger.recall
        self.paused: dict[str, Any] | None = recall(PAUSED)
        self.paused_chains: dict[str, Any] = recall(PAUSED_CHAINS) or {}
        self.draining: dict[str, Any] | None = recall(DRAINING)
        self._forgetting = False
        self.drained = False
        if self.paused is not None:
            machine.delivery.pause(None)
        for chain in self.paused_chains:
            machine.delivery.pause(chain)

    def waiting(self) -> list[str]:
        """Say, in sentences, what a drain waits for."""
        if self.draining is None:
            return []
        sentences = []
        if self.paused is not None or self.paused_chains:
            sentences.append("the drain waits for what is paused: zgrid resume lets it go on, zgrid cancel drops it")
        if self._books.ledger.counts()[State.DELAYED]:
            sentences.append("the drain waits for delayed jobs: zgrid kick makes them ready, zgrid cancel drops them")
        return sentences

    def standing(self) -> Body:
        """Return what of all this a status tells."""
        return {
            "paused": self.paused is not None,
            "paused_chains": sorted(self.paused_chains),
            "draining": self.draining is not None,
        }

    # -- verbs

    def verbs(self) -> dict[str, Callable[[Body, Ticket], None]]:
        """Return who answers which question."""
        return {"pause": self.pause, "resume": self.resume, "drain": self.drain}

    def pause(self, body: Body, ticket: Ticket) -> None:
        """Send nothing more, of one chain or at all, until it is resumed."""
        chain = self._chain(body)
        mark = {"since_ms": wall_ms(), "reason": text_of(body, "reason") or ""}

        def add(kept: Any) -> Any:
            return kept or mark if chain is None else {chain: mark, **(kept or {})}

        self._order(_name(chain), add, partial(self._paused, chain), ticket)

    def resume(self, body: Body, ticket: Ticket) -> None:
        """Send again, of one chain or at all."""
        chain = self._chain(body)

        def remove(kept: Any) -> Any:
            return None if chain is None else {text: mark for text, mark in (kept or {}).items() if text != chain}

        self._order(_name(chain), remove, partial(self._resumed, chain), ticket)

    def drain(self, body: Body, ticket: Ticket) -> None:
        """Take nothing more, settle what is accepted, and end."""
        mark = {"since_ms": wall_ms(), "reason": text_of(body, "reason") or ""}
        self._order(DRAINING, lambda kept: kept or mark, self._drains, ticket)

    def forget_drain(self) -> None:
        """Have the ledger forget the drain, which is over; ``drained`` says that it has."""
        if self._forgetting:
            return
        self._forgetting = True

        def forgotten(_: object) -> None:
            self.drained = True

        self._books.enter(lambda: self._books.ledger.remember(DRAINING, None), forgotten)

    # -- inside

    def _chain(self, body: Body) -> str | None:
        """Return the chain that a question names, in the words of the ledger. Raises SettingsError."""
        text = chain_of(body)
        if text is None:
            return None
        chain = " ".join(map(str, parse_steps(text.split(), checked=False)))
        known = sorted(self._books.ledger.chain_texts().values())
        if chain not in known and chain not in self.paused_chains:
            here = "; ".join(known) or "none yet"
            raise SettingsError(f"no job has the chain {chain!r}; the chains here are: {here}")
        return chain

    def _order(
        self, name: str, change: Callable[[Any], Any], done: Callable[[Any], Body], ticket: Ticket
    ) -> None:  # fmt: skip
        """Have the ledger change what it remembers under a name; then do it, then answer."""

        def entry() -> Any:
            kept = change(self._books.ledger.recall(name))
            self._books.ledger.remember(name, kept)
            return kept

        self._books.order(entry, lambda kept: ticket.answer(done(kept)), ticket.refuse)

    def _keep(self, chain: str | None, kept: Any) -> None:
        if chain is None:
            self.paused = kept
        else:
            self.paused_chains = kept

    def _paused(self, chain: str | None, kept: Any) -> Body:
        self._keep(chain, kept)
        self._machine.delivery.pause(chain)
        self._log.info(Event.PAUSED, chain=chain)
        return self._halted()

    def _resumed(self, chain: str | None, kept: Any) -> Body:
        self._keep(chain, kept)
        self._log.info(Event.RESUMED, chain=chain)
        self._do(self._machine.delivery.resume(chain, clock_now()))
        return self._halted()

    def _halted(self) -> Body:
        return {"paused": self.paused is not None, "paused_chains": sorted(self.paused_chains)}

    def _drains(self, kept: Any) -> Body:
        if self.draining is None:
            self._log.info(Event.DRAINING, reason="asked to drain")
            self._supply.stop()
        self.draining = kept
        counts = self._books.ledger.counts()
        return {"draining": True, "open": sum(counts.get(state, 0) for state in OPEN)}


def _name(chain: str | None) -> str:
    return PAUSED if chain is None else PAUSED_CHAINS
