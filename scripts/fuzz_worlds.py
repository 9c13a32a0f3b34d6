"""Messages of a small world, where boots, lanes and jobs are few: so that hostile ones often name what is there."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fuzz_bytes import Tape

from zgrid.errors import PeerError
from zgrid.protocol.limits import INT_MAX
from zgrid.protocol.messages import CHECKS, KINDS, Jobs, Message
from zgrid.protocol.wire import decode, encode

BOOT, OTHER_BOOT = b"bootboot", b"BOOTBOOT"
LEDGER, OTHER_LEDGER = bytes(range(16)), bytes(16)
BOOTS = (BOOT, OTHER_BOOT, bytes(8))
LEDGERS = (LEDGER, OTHER_LEDGER)
NUMBERS = (0, 1, 2, 3, 5, 1000, INT_MAX)
TEXTS = ("", "null", "faces", "tcp://s:1", "tcp://*:2", "ipc:///x", "x" * 256, "a\0b", "\u00e9")
KEYS_OF = 24
"""Jobs have numbers from 1 to this, and keys by their numbers."""


def key_of(seq: int) -> bytes:
    """Return a job's key; by it half of them belong to the second of two sinks."""
    return bytes([seq % 256]) * 16


def jobs_of(seqs: Sequence[int], *, lane: int, single: bool, ledger: bytes, boot: bytes = BOOT) -> Jobs:
    """Return a message of jobs by reference."""
    count = len(seqs)
    return Jobs(
        boot=boot, ledger=ledger, lane=lane, chain="null", ttr_ms=1000, single=single, seqs=list(seqs),
        attempts=[1] * count,
        keys=b"".join(map(key_of, seqs)), uris=["file:///a"] * count, sizes=[1] * count, mtimes_ns=[0] * count,
        waits=[0] * count,
    )  # fmt: skip


def check_effects(effects: Iterable[Any]) -> None:
    """Whatever a machine has said must be a message that the other side takes, and the same there."""
    for effect in effects:
        for part in effect:
            if isinstance(part, Message):
                frames = encode(part)
                try:
                    assert decode(frames) == part
                except PeerError as error:
                    raise AssertionError(f"a machine says what the protocol does not allow: {error}") from None


class Speech:
    """Makes legal messages by a tape's decisions."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def _seq(self) -> int:
        return self._tape.one((*range(1, KEYS_OF + 1), INT_MAX))

    def message(self, kind: type[Message] | None = None, **fixed: Any) -> Message | None:
        """Return a message of this kind, or of any; None when what the tape says is not legal."""
        tape = self._tape
        kind = kind or tape.one(tuple(KINDS.values()))
        jobs = tape.below(5)
        seqs = tape.many(self._seq, jobs)
        values = {name: self._value(kind.__name__, name, seqs) for name, _, _ in CHECKS[kind]}
        if kind.CARRIES_IMAGES and tape.below(2):
            values["images"] = tuple(bytes([at]) * at for at in range(jobs))
            if "pictures" in values:
                values["pictures"] = list(range(jobs))
        try:
            return decode(encode(kind(**{**values, **fixed})))
        except PeerError:
            return None

    def _value(self, kind: str, name: str, seqs: list[int]) -> Any:
        tape, jobs = self._tape, len(seqs)
        simple: dict[str, Callable[[], Any]] = {
            "boot": lambda: tape.one(BOOTS),
            "ledger": lambda: tape.one(LEDGERS),
            "role": lambda: tape.one(("worker", "ventilator", "sink", "operator", "?")),
            "seqs": lambda: seqs,
            "alive": lambda: seqs[:1],
            "keys": lambda: b"".join(map(key_of, seqs)) if kind != "Roster" else bytes(32 * jobs),
            "codes": lambda: bytes(tape.many(lambda: tape.below(7), jobs)),
            "pictures": lambda: [-1] * jobs,
            "filters": lambda: tape.one(({}, {"null": "1"}, {"null": "1", "faces": "2"})),
            "limits": lambda: dict.fromkeys(("beat_interval_ms", "beats_missed_max"), tape.one(NUMBERS)),
            "sinks": lambda: tape.many(lambda: tape.one(TEXTS), tape.below(3)),
            "reads": lambda: ["file:///"] * tape.below(2) if kind == "Hello" else self._times(jobs),
            "sink_keys": lambda: b"",
            "reasons": lambda: {str(at): tape.one(({}, {"reason": "x"}, {"reason": [b"\0"]})) for at in range(jobs)},
            "carries": lambda: {str(at): tape.one(NUMBERS) for at in range(tape.below(jobs + 1))},
            "body": lambda: tape.one(({}, {"what": "status"}, {"what": [1, {"x": b"y"}]})),
            "attempts": lambda: tape.many(lambda: 1 + tape.below(3), jobs) if kind != "Put" else tape.below(3),
            "progress": lambda: tape.many(lambda: tape.one((0.0, 1.0, -1.0, 0.5)), jobs),
            "waits": lambda: self._times(jobs) if kind == "Results" else tape.many(lambda: tape.one(NUMBERS), jobs),
            "works": lambda: self._times(jobs),
            "work_ms": lambda: tape.one((0.0, 1, 5e-324, 1e15)),
            "held": lambda: seqs[::2],
            "unknown": lambda: seqs,
            "notes": lambda: tape.many(lambda: tape.one((None, {}, {"a": [1, b"x", None]})), jobs),
            "digests": lambda: tape.many(lambda: tape.one((None, bytes(32))), jobs),
            "widths": lambda: [tape.one((None, 1))] * jobs,
            "heights": lambda: [tape.one((None, 1))] * jobs,
            "sizes": lambda: tape.many(lambda: tape.one(NUMBERS), jobs),
            "mtimes_ns": lambda: [tape.one((0, -1, INT_MAX))] * jobs,
        }  # fmt: skip
        if name in simple:
            return simple[name]()
        if name in {"leaving", "final", "single", "busy"}:
            return bool(tape.below(2))
        if name in {"uris", "names", "roles", "places"}:
            return tape.many(lambda: tape.one(TEXTS), jobs)
        if name in {"formats", "media"}:
            return [tape.one((None, "image/png"))] * jobs
        if name in {"lane", "queued", "serial", "procs", "id", "ttr_ms", "priority", "delay_ms"}:
            return tape.one(NUMBERS)
        return tape.one(TEXTS)

    def _times(self, jobs: int) -> list[float]:
        return self._tape.many(lambda: self._tape.one((0.0, 1.5, 1e15)), jobs)
