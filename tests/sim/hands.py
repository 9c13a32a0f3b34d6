"""What people do to a running grid: bury, cancel, kick, retry, pause, resume, and put jobs with terms of their own."""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from work import offers

from zgrid.protocol.job import Offer, State
from zgrid.protocol.window import Row
from zgrid.store.memory import MemoryLedger
from zgrid.store.rows import JobTerms

if TYPE_CHECKING:
    from ventilator_process import VentilatorProcess

Change = Callable[[MemoryLedger, Sequence[int], int], list[int] | list[Row]]

CHANGES: dict[str, Change] = {
    "bury": lambda ledger, seqs, now_ms: ledger.close_by_hand(seqs, State.BURIED, now_ms, "by hand"),
    "cancel": lambda ledger, seqs, now_ms: ledger.close_by_hand(seqs, State.CANCELLED, now_ms, "by hand"),
    "kick": lambda ledger, seqs, now_ms: ledger.kick(seqs, now_ms),
    "retry": lambda ledger, seqs, now_ms: ledger.reopen(seqs, now_ms),
}


class Hands:
    """Somebody at the tools of one ventilator. ``touched``: the jobs that it changed, and those put by hand."""

    def __init__(self, ventilator: "VentilatorProcess") -> None:
        self.ventilator = ventilator
        self.rng: Random = ventilator.rng
        self.touched: dict[int, set[str]] = {}
        self.put: list[tuple[Offer, JobTerms]] = []

    def change(self, verb: str, seqs: Sequence[int]) -> None:
        """Do this to jobs: in the ledger first, and to the machine once that is on disk."""
        ventilator = self.ventilator
        for seq in seqs:
            self.touched.setdefault(seq, set()).add(verb)  # a crash may forget it again: both ends are right then

        def entry() -> None:
            changed = CHANGES[verb](ventilator.ledger, seqs, ventilator.now_ms())
            ventilator.disk.tell(partial(ventilator.call, ventilator.life, self._tell, verb, changed))

        ventilator.disk.enter(entry)

    def _tell(self, verb: str, changed: Sequence[int] | Sequence[Row]) -> None:
        ventilator = self.ventilator
        delivery = ventilator.machine.delivery
        ventilator.grid.trace(ventilator, verb, changed)
        if verb in ("kick", "retry"):
            ventilator.perform(delivery.accepted(changed, ventilator.clock.now))  # type: ignore[arg-type]
        else:
            state = State.BURIED if verb == "bury" else State.CANCELLED
            ventilator.perform(delivery.withdrawn(changed, state, ventilator.clock.now))  # type: ignore[arg-type]

    def accept(self, offer: Offer, chain: str, terms: JobTerms) -> None:
        """Put one job with terms of its own."""
        self.put.append((offer, terms))
        self.ventilator.disk.accept([offer], chain, terms, self.ventilator.now_ms())

    # -- at random

    def act(self) -> None:
        """Do something."""
        if self.ventilator.alive and not self.ventilator.frozen:
            doings = (self._some, self._some, self._all_buried, self._put_some, self._pause, self._resume)
            self.ventilator.call(self.ventilator.life, self.rng.choice(doings))

    def _some(self) -> None:
        known = list(self.ventilator.ledger._jobs)
        if known:
            count = self.rng.randint(1, max(1, len(known) // 2))
            self.change(self.rng.choice(list(CHANGES)), sorted(self.rng.sample(known, count)))

    def _all_buried(self) -> None:
        self.change("kick", [found.seq for found in self.ventilator.ledger.listed(State.BURIED, 1000)])

    def _put_some(self) -> None:
        kind = self.rng.choice(("keep", "keep", "discard", "crash", "hang", "trouble"))
        terms = JobTerms(
            self.rng.choice((-5, 0, 7)),
            self.rng.choice((None, self.ventilator.due_now_ms() + self.rng.randrange(1, 8000))),
            self.rng.choice((None, 800, 2500)),
            self.rng.choice((None, 1, 5)),
        )
        for offer in offers(self.rng, {kind: self.rng.randrange(1, 6)}):
            name = f"{offer.uri}.put{len(self.put)}"
            self.accept(offer._replace(uri=name), self.rng.choice(self.ventilator.offers)[1], terms)

    def _pause(self) -> None:
        chain = self.rng.choice((None, *self.ventilator.machine.delivery.chains.values()))
        self.ventilator.machine.delivery.pause(chain)

    def _resume(self) -> None:
        delivery = self.ventilator.machine.delivery
        for chain in (None, *delivery.out.paused_chains.copy()):
            self.ventilator.perform(delivery.resume(chain, self.ventilator.clock.now))

    def let_go(self) -> None:
        """Let everything go on: at the end of the trouble."""
        if self.ventilator.alive:
            self.ventilator.call(self.ventilator.life, self._resume)
