"""Those who do not belong: they say anything to anybody, in every state; and old words are heard again."""

from typing import TYPE_CHECKING

from zgrid.protocol.messages import Acks, Ask, Beat, Bye, Code, Hello, Holds, Message, Outcomes, Refuse, Welcome, Who

if TYPE_CHECKING:
    from grid import Grid


class Strangers:
    """Speaks to a grid's ventilators, workers and sinks without being one of them."""

    def __init__(self, grid: "Grid") -> None:
        self.grid = grid
        self.rng = grid.rng

    def speak(self) -> None:
        """Say a few things that nobody wants to hear."""
        for _ in range(self.rng.randrange(1, 6)):
            self.rng.choice((self._to_ventilator, self._to_sink, self._as_sink))()

    def _seqs(self) -> list[int]:
        return sorted(self.rng.sample(range(1, 200), self.rng.randrange(1, 5)))

    def _word(self) -> Message:
        """Return a message of any kind, as an old or a broken peer might send it."""
        boot, ledger, seqs = self.rng.randbytes(8), self.rng.randbytes(16), self._seqs()
        lane = self.rng.randrange(1, 9)
        words: tuple[Message, ...] = (
            Who(boot=boot),
            Bye(boot=boot, lane=lane, reason="nonsense"),
            Beat(boot=boot, lane=lane, leaving=True, seqs=seqs, progress=[0.5] * len(seqs)),
            Welcome(name="?", boot=boot, lane=lane, address="tcp://nowhere:1", sinks=["tcp://nowhere:2"], limits={}),
            Refuse(reason="nonsense", final=True),
            Acks(ledger=ledger, seqs=seqs),
            Holds(ledger=ledger, held=[], unknown=seqs),
            Ask(ledger=ledger, seqs=seqs, keys=bytes(16 * len(seqs))),
            Outcomes(
                boot=boot, lane=lane, serial=self.rng.randrange(1, 99), seqs=seqs, attempts=[1] * len(seqs),
                codes=bytes([self.rng.choice(list(Code))]) * len(seqs), work_ms=1.0, reasons={},
            ),
        )  # fmt: skip
        return self.rng.choice(words)

    def _to_ventilator(self) -> None:
        """A peer that never said HELLO, or one that says it for a role that has no business there."""
        ventilator = self.rng.choice(self.grid.ventilators)
        hello = Hello(role="sink", name="?", boot=b"stranger", host="here", ledger=bytes(16))
        ventilator.heard(b"stranger")(self.rng.choice((self._word(), hello)))

    def _to_sink(self) -> None:
        sink = self.rng.choice(self.grid.sinks)
        hello = Hello(role="worker", name="?", boot=b"stranger", host="here", procs=1, filters={})
        sink.heard(b"stranger")(self.rng.choice((self._word(), hello)))

    def _as_sink(self) -> None:
        """Words of another ledger's conversation, from where a sink is."""
        ventilator = self.rng.choice(self.grid.ventilators)
        if ventilator.alive and ventilator.sinks:
            boot, ledger, seqs = self.rng.randbytes(8), self.rng.randbytes(16), self._seqs()
            words = (
                Acks(ledger=ledger, seqs=seqs), Holds(ledger=ledger, held=[], unknown=seqs), Who(boot=boot),
                Beat(boot=boot), Beat(boot=boot, leaving=True), Refuse(reason="nonsense"),
            )  # fmt: skip
            self.rng.choice(ventilator.sinks).down.send(self.rng.choice(words))
