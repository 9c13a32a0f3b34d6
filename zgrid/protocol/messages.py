"""The messages of ZGRID/1. Each class is one kind; each field carries the check that its value must pass.

Whatever comes in batches is kept in columns (``seqs``, ``attempts``, ...), not in one object per job: columns are
packed, checked and unpacked by C code, which keeps the price of a job at the wire below a microsecond.
PROTOCOL.md says who sends what, when, and what it means.
"""

from dataclasses import MISSING, dataclass, field, fields
from enum import IntEnum
from typing import Any, ClassVar

from zgrid.protocol import checks
from zgrid.protocol.checks import Check
from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.limits import (
    ATTEMPT_MAX,
    BATCH_JOBS_MAX,
    DELAY_MS_MAX,
    FILTERS_MAX,
    MEMBERS_MAX,
    PIXELS_MAX,
    PRIORITY_MAX,
    ROOTS_MAX,
    TEXT_CHARS_MAX,
    TTR_MS_MAX,
    URI_CHARS_MAX,
)

Frame = bytes | memoryview

VERSION = 1
"""The protocol's version, the third byte of every message.

To change what a message means: add a new kind (a number is never used twice), add its golden vector under
``tests/vectors``, describe it in PROTOCOL.md, and teach the machines; raise VERSION only when a peer of the old one
could misunderstand a message it already knows. A new optional field needs neither.
"""

PUBLIC_KEY_BYTES = 32
"""A CURVE key that everybody may know."""

BOOT_BYTES = 8
"""A process's random name for one life of it: a restarted peer has another one."""


class Code(IntEnum):
    """What became of one job at a worker. The numbers are on the wire: add to them, never change one."""

    FINISHED = 0
    """The result is on its way to the sink."""
    DISCARDED = 1
    """The chain dropped the image."""
    FAILED = 2
    """This image will never work: bury it."""
    TROUBLED = 3
    """It may work later: try again."""
    CRASHED = 4
    """The child that ran it died; costs an attempt."""
    OVERRAN = 5
    """It ran longer than its time-to-run; costs an attempt."""
    RELEASED = 6
    """Handed back unstarted; costs nothing."""


def _field(check: Check, *, added: bool = False, **more: Any) -> Any:
    """Return a field. ``added``: it came later, so it is left out where it says nothing, and older bytes stay."""
    return field(metadata={"check": check, "added": added}, **more)


def _boot(**more: Any) -> Any:
    return _field(checks.blob(BOOT_BYTES, BOOT_BYTES), **more)


def _ledger() -> Any:
    return _field(checks.blob(16, 16))


def _seqs(**more: Any) -> Any:
    return _field(checks.integers(low=1), **more)


def _keys() -> Any:
    return _field(checks.blob(0, KEY_BYTES * BATCH_JOBS_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What every message has: a kind and, beside the header, image frames of its own."""

    KIND: ClassVar[int] = 0
    CARRIES_IMAGES: ClassVar[bool] = False
    images: tuple[Frame, ...] = ()

    def disagreement(self) -> str | None:
        """Say which columns do not fit each other; None when all is well."""
        return None


def _uneven(message: Any, names: tuple[str, ...]) -> str | None:
    """Say which of the named columns is not as long as ``seqs``."""
    jobs = len(message.seqs)
    for name in names:
        if len(getattr(message, name)) != jobs:
            return f"{name} has {len(getattr(message, name))} entries for {jobs} jobs"
    if len(getattr(message, "keys", b"")) not in (0, jobs * KEY_BYTES):
        return f"keys has {len(message.keys)} bytes for {jobs} jobs"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Message):
    """Who I am and what I can do: the first message on a control socket, and the answer to WHO."""

    KIND: ClassVar[int] = 1
    role: str = _field(checks.text(32))
    name: str = _field(checks.text(256))
    boot: bytes = _boot()
    host: str = _field(checks.text(256))
    procs: int = _field(checks.integer(0, 65536), default=0)
    filters: dict[str, str] = _field(checks.mapping(checks.text(256), FILTERS_MAX), default_factory=dict)
    ledger: bytes = _field(checks.blob(0, 16), default=b"")
    reads: list[str] = _field(checks.texts(URI_CHARS_MAX, ROOTS_MAX), added=True, default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome(Message):
    """You are in: where your data goes or comes from, and the limits you work within.

    ``sink_keys``: the public keys of the sinks, 32 bytes each, in their order; none where they are called without.
    """

    KIND: ClassVar[int] = 2
    name: str = _field(checks.text(256))
    boot: bytes = _boot()
    lane: int = _field(checks.integer(), default=0)
    address: str = _field(checks.text(1024))
    sinks: list[str] = _field(checks.texts(1024, 256), default_factory=list)
    limits: dict[str, int] = _field(checks.mapping(checks.integer(), 64), default_factory=dict)
    sink_keys: bytes = _field(checks.blob(0, 256 * PUBLIC_KEY_BYTES), default=b"", added=True)

    def disagreement(self) -> str | None:
        """Say whether there are keys, but not one for each sink."""
        if self.sink_keys and len(self.sink_keys) != len(self.sinks) * PUBLIC_KEY_BYTES:
            return f"sink_keys has {len(self.sink_keys)} bytes for {len(self.sinks)} sinks"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Message):
    """You are not in, and why. ``final``: asking again changes nothing."""

    KIND: ClassVar[int] = 3
    reason: str = _field(checks.text())
    final: bool = _field(checks.boolean, default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Who(Message):
    """I do not know you (I may be a new process at an old address): say HELLO."""

    KIND: ClassVar[int] = 4
    boot: bytes = _boot()


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat(Message):
    """I am alive. From a worker also: which jobs its children run now, and how far each one says it is (0..1, or -1).

    ``alive``: those of them whose filter has given a sign of life since the last beat. ``leaving``: send me nothing
    more. From a ventilator to a worker: ``serial``, up to which all of the lane's reports have come.
    """

    KIND: ClassVar[int] = 5
    boot: bytes = _boot()
    lane: int = _field(checks.integer(), default=0)
    queued: int = _field(checks.integer(), default=0)
    serial: int = _field(checks.integer(), default=0)
    leaving: bool = _field(checks.boolean, default=False)
    seqs: list[int] = _seqs(default_factory=list)
    progress: list[float] = _field(checks.numbers(-1.0, 1.0), default_factory=list)
    alive: list[int] = _seqs(default_factory=list, added=True)

    def disagreement(self) -> str | None:
        """Say whether progress and running jobs differ in number."""
        return _uneven(self, ("progress",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye(Message):
    """I leave on purpose; what you sent me and I did not report comes back unstarted."""

    KIND: ClassVar[int] = 6
    boot: bytes = _boot()
    lane: int = _field(checks.integer(), default=0)
    reason: str = _field(checks.text(), default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs(Message):
    """Work for one worker, on its lane. ``images`` holds one frame per job (inline) or none (by reference).

    ``waits``: ms that each job waited at the ventilator. ``single``: give each job to a child by itself and start them
    in this order, so that a dead worker's running jobs are known.
    """

    KIND: ClassVar[int] = 7
    CARRIES_IMAGES: ClassVar[bool] = True
    boot: bytes = _boot()
    ledger: bytes = _ledger()
    lane: int = _field(checks.integer(1))
    chain: str = _field(checks.text())
    ttr_ms: int = _field(checks.integer(1))
    single: bool = _field(checks.boolean)
    seqs: list[int] = _seqs()
    attempts: list[int] = _field(checks.integers(1, ATTEMPT_MAX))
    keys: bytes = _keys()
    uris: list[str] = _field(checks.texts(URI_CHARS_MAX))
    sizes: list[int] = _field(checks.integers())
    mtimes_ns: list[int] = _field(checks.integers(-(1 << 63)))
    waits: list[int] = _field(checks.integers())

    def disagreement(self) -> str | None:
        """Say which column differs in length, or that some jobs have an image and some have none."""
        if not self.seqs:
            return "there are no jobs in it"
        if len(self.keys) != len(self.seqs) * KEY_BYTES:
            return f"keys has {len(self.keys)} bytes for {len(self.seqs)} jobs"
        if len(self.images) not in (0, len(self.seqs)):
            return f"{len(self.images)} images for {len(self.seqs)} jobs"
        return _uneven(self, ("attempts", "uris", "sizes", "mtimes_ns", "waits"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes(Message):
    """What became of jobs. ``codes``: one byte of Code per job. ``reasons``: by index, only where there is one to tell.

    ``carries``: by index, the bytes of picture and notes that a kept image's result has, only where it has any.
    ``serial`` counts a lane's reports from 1; a beat says which came, and the worker sends lost ones again.
    """

    KIND: ClassVar[int] = 8
    boot: bytes = _boot()
    lane: int = _field(checks.integer(1))
    serial: int = _field(checks.integer(1))
    seqs: list[int] = _seqs()
    attempts: list[int] = _field(checks.integers(1, ATTEMPT_MAX))
    codes: bytes = _field(checks.blob(0, BATCH_JOBS_MAX))
    work_ms: float = _field(lambda value: type(value) in (int, float) and 0 <= value <= 1e15, default=0.0)
    reasons: dict[str, dict[str, Any]] = _field(
        checks.mapping(lambda value: type(value) is dict and checks.plain(value), BATCH_JOBS_MAX), default_factory=dict
    )
    carries: dict[str, int] = _field(
        checks.mapping(checks.integer(0), BATCH_JOBS_MAX), default_factory=dict, added=True
    )

    def disagreement(self) -> str | None:
        """Say which column differs in length or which code nobody knows."""
        if self.codes and max(self.codes) > max(Code):
            return f"code {max(self.codes)} is unknown"
        return _uneven(self, ("attempts", "codes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Message):
    """Kept images, from a worker to a sink. ``pictures``: for each job the index of its frame in ``images``, or -1."""

    KIND: ClassVar[int] = 9
    CARRIES_IMAGES: ClassVar[bool] = True
    ledger: bytes = _ledger()
    worker: str = _field(checks.text(256))
    chain: str = _field(checks.text())
    chain_version: str = _field(checks.text())
    seqs: list[int] = _seqs()
    attempts: list[int] = _field(checks.integers(1, ATTEMPT_MAX))
    keys: bytes = _keys()
    uris: list[str] = _field(checks.texts(URI_CHARS_MAX))
    sizes: list[int] = _field(checks.integers())
    waits: list[float] = _field(checks.numbers())
    reads: list[float] = _field(checks.numbers())
    works: list[float] = _field(checks.numbers())
    widths: list[int | None] = _field(checks.optional(int, PIXELS_MAX))
    heights: list[int | None] = _field(checks.optional(int, PIXELS_MAX))
    formats: list[str | None] = _field(checks.optional(str, 32))
    digests: list[bytes | None] = _field(checks.optional(bytes, 32))
    notes: list[dict[str, Any] | None] = _field(checks.plains)
    media: list[str | None] = _field(checks.optional(str, 64))
    pictures: list[int] = _field(checks.integers(-1, BATCH_JOBS_MAX))

    def disagreement(self) -> str | None:
        """Say which column differs in length, or that pictures and frames do not pair off."""
        if not self.seqs:
            return "there are no jobs in it"
        if len(self.keys) != len(self.seqs) * KEY_BYTES:
            return f"keys has {len(self.keys)} bytes for {len(self.seqs)} jobs"
        if sorted([index for index in self.pictures if index >= 0]) != list(range(len(self.images))):
            return f"pictures do not name each of the {len(self.images)} frames once"
        columns = ("attempts", "uris", "sizes", "waits", "reads", "works", "widths", "heights", "formats", "digests")
        return _uneven(self, (*columns, "notes", "media", "pictures"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Acks(Message):
    """These jobs' results are stored, on disk: the ledger may close them."""

    KIND: ClassVar[int] = 10
    ledger: bytes = _ledger()
    seqs: list[int] = _seqs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask(Message):
    """What do you have of these? Answered by ACKS for what is stored and HOLDS for the rest."""

    KIND: ClassVar[int] = 11
    ledger: bytes = _ledger()
    seqs: list[int] = _seqs()
    keys: bytes = _keys()

    def disagreement(self) -> str | None:
        """Say whether keys and jobs differ in number."""
        if len(self.keys) != len(self.seqs) * KEY_BYTES:
            return f"keys has {len(self.keys)} bytes for {len(self.seqs)} jobs"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds(Message):
    """Of the jobs asked for, those whose result is here but not stored yet, and those never seen.

    ``busy``: the intake is full and does not read, so more results may wait in front of it.
    """

    KIND: ClassVar[int] = 12
    ledger: bytes = _ledger()
    held: list[int] = _field(checks.integers(1))
    unknown: list[int] = _field(checks.integers(1))
    busy: bool = _field(checks.boolean, default=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Message):
    """From people's tools: ``body["what"]`` names it, the rest are its arguments."""

    KIND: ClassVar[int] = 13
    id: int = _field(checks.integer())
    body: dict[str, Any] = _field(lambda value: type(value) is dict and checks.plain(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Message):
    """The answer to the QUESTION of the same id; ``body["error"]`` is a sentence where it could not be answered."""

    KIND: ClassVar[int] = 14
    id: int = _field(checks.integer())
    body: dict[str, Any] = _field(lambda value: type(value) is dict and checks.plain(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Put(Message):
    """Images to accept: one frame and one name for each. Answered like a QUESTION, once they are on disk.

    ``chain``: the filters, or nothing for the ventilator's own. ``ttr_ms`` and ``attempts`` are the ventilator's where
    they are 0. The same bytes under the same name are the same job, so a PUT that comes twice is accepted once.
    """

    KIND: ClassVar[int] = 15
    CARRIES_IMAGES: ClassVar[bool] = True
    id: int = _field(checks.integer())
    chain: str = _field(checks.text(), default="")
    priority: int = _field(checks.integer(-PRIORITY_MAX - 1, PRIORITY_MAX), default=0)
    delay_ms: int = _field(checks.integer(0, DELAY_MS_MAX), default=0)
    ttr_ms: int = _field(checks.integer(0, TTR_MS_MAX), default=0)
    attempts: int = _field(checks.integer(0, ATTEMPT_MAX), default=0)
    names: list[str] = _field(checks.texts(TEXT_CHARS_MAX))

    def disagreement(self) -> str | None:
        """Say whether names and images differ in number, or that there are none."""
        if len(self.names) != len(self.images):
            return f"{len(self.names)} names for {len(self.images)} images"
        return None if self.names else "there are no images in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster(Message):
    """Whom a ventilator's grid lets in: names, roles and public keys, 32 bytes each. Replaces the one before.

    ``places``: the address of each that says where it is reached, else nothing.
    """

    KIND: ClassVar[int] = 16
    names: list[str] = _field(checks.texts(256, MEMBERS_MAX))
    roles: list[str] = _field(checks.texts(32, MEMBERS_MAX))
    keys: bytes = _field(checks.blob(0, MEMBERS_MAX * PUBLIC_KEY_BYTES))
    places: list[str] = _field(checks.texts(1024, MEMBERS_MAX))

    def disagreement(self) -> str | None:
        """Say whether columns differ in length."""
        lengths = {len(self.names), len(self.roles), len(self.places), len(self.keys) / PUBLIC_KEY_BYTES}
        return "names, roles, keys and places are not of the same number" if len(lengths) > 1 else None


KINDS: dict[int, type[Message]] = {
    kind.KIND: kind
    for kind in (
        Hello, Welcome, Refuse, Who, Beat, Bye, Jobs, Outcomes, Results, Acks, Ask, Holds, Question, Answer, Put,
        Roster,
    )
}  # fmt: skip


CHECKS: dict[type[Message], tuple[tuple[str, Check, bool], ...]] = {
    kind: tuple(
        (entry.name, entry.metadata["check"], entry.default is MISSING and entry.default_factory is MISSING)
        for entry in fields(kind)
        if entry.name != "images"
    )
    for kind in KINDS.values()
}
"""For each kind its header fields: name, check, and whether it must be there."""

ADDED: dict[type[Message], tuple[str, ...]] = {
    kind: tuple(entry.name for entry in fields(kind) if entry.metadata.get("added")) for kind in KINDS.values()
}
"""For each kind the fields that were added later."""
