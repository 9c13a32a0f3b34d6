"""A result's life at the sink: taken in, gathered, stored, and only then acknowledged.

One store runs at a time. While it runs, results gather; when it is done, the next goes at once if a full batch is
there or the oldest has waited long enough. So an idle sink stores at once, and a busy one writes few large batches.
"""

from collections import Counter, deque
from typing import Any, NamedTuple

from zgrid.protocol.effects import Log, Reply
from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.protocol.messages import Acks, Ask, Beat, Bye, Hello, Holds, Message, Refuse, Results, Welcome, Who

FAILED_AGAIN_S = 1.0
"""After a failed store (disk full, database locked) the batch is tried again, with a pause that doubles to 30 s."""
FAILED_AGAIN_S_MAX = 30.0

ANSWERS_S = 1.0
"""A sink that leaves waits for those ventilators only that have said something within this time: others are gone."""

GATHER_JOBS = 128
"""Under load results gather for longer while so few come together: a store costs as much as to keep some pictures, or
a hundred rows without any."""
GATHER_TIMES_MAX = 4

GATHER_BYTES_MAX = 16 << 20
"""No more pictures and notes gather before they are stored: what workers may have on the way to a sink is bounded in
bytes (64 MiB by default), and while it waits here, their children may be idle."""


class Arrived(NamedTuple):
    """A message of results that is here since ``at`` and takes about ``size`` bytes."""

    at: float
    size: int
    message: Results


class Store(NamedTuple):
    """Store these results, in this order; then say ``stored`` or ``store_failed``."""

    batch: list[Results]


class Lookup(NamedTuple):
    """Find out which of these keys are stored, and say so to the peer with ACKS and HOLDS."""

    peer: bytes
    ledger: bytes
    seqs: list[int]
    keys: bytes
    held: list[int]
    busy: bool


Effect = Store | Lookup | Reply | Log


class Intake:
    """The sink's decisions. Pure: takes messages, the store's news and time; returns what is to be done.

    ``address``: where workers push results. ``gather_s``: how long results gather under load, in seconds, and up to
    GATHER_TIMES_MAX times as long where they are few. ``held_bytes_max`` bounds what is taken in and not stored; beyond
    it the role stops reading.
    """

    def __init__(
        self, name: str, boot: bytes, address: str, gather_s: float, held_bytes_max: int, batch_jobs_max: int = 2048
    ) -> None:  # fmt: skip
        self.name = name
        self.boot = boot
        self.address = address
        self.gather_s = gather_s
        self._gather_s = gather_s
        self.held_bytes_max = held_bytes_max
        self.batch_jobs_max = batch_jobs_max
        self.held_bytes = 0
        self.counts: Counter[str] = Counter()
        self.peers: dict[bytes, bytes] = {}
        self._waiting: deque[Arrived] = deque()
        self._waiting_jobs = 0
        self._storing: list[Arrived] = []
        self._stored_at = 0.0
        self._again_at = 0.0
        self._pause_s = FAILED_AGAIN_S
        self._leaves_at: float | None = None
        self._answered: set[bytes] = set()
        self._here: dict[bytes, set[int]] | None = None

    @property
    def full(self) -> bool:
        """Whether no more results should be read for now."""
        return self.held_bytes >= self.held_bytes_max

    @property
    def idle(self) -> bool:
        """Whether everything that came in is stored."""
        return not self._waiting and not self._storing

    # -- stopping

    def leave(self, now: float) -> list[Effect]:
        """Stop: no ventilator shall send anything more; what is here is stored at once. ``may_end`` says when."""
        self._leaves_at = now
        self.gather_s = self._gather_s = 0.0
        return [Reply(peer, self._beat()) for peer in self.peers]

    def may_end(self, now: float) -> bool:
        """Whether everything is stored, and every ventilator that is there has said that there is nothing more."""
        if self._leaves_at is None or not self.idle:
            return False
        return not (self.peers if now - self._leaves_at < ANSWERS_S else self._answered & self.peers.keys())

    # -- ventilators

    def received(self, peer: bytes, message: Message, now: float) -> list[Effect]:  # noqa: ARG002  as all machines
        """A message came on the control socket."""
        if self._leaves_at is not None:
            self._answered.add(peer)
        if type(message) is Hello:
            return self._hello(peer, message)
        if peer not in self.peers:
            return [] if type(message) is Bye else [Reply(peer, Who(boot=self.boot))]
        if type(message) is Beat:
            return [Reply(peer, self._beat())]
        if type(message) is Ask:
            mine = self._held(message.ledger)
            held = [seq for seq in message.seqs if seq in mine]
            seqs = [seq for seq in message.seqs if seq not in mine]
            keys = b"".join(
                message.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]
                for at, seq in enumerate(message.seqs)
                if seq not in mine
            )
            return [Lookup(peer, message.ledger, seqs, keys, held, self.full)]
        if type(message) is Bye:
            del self.peers[peer]
            return []
        self.counts[f"unexpected {type(message).__name__}"] += 1
        return []

    def speaker(self, message: Message) -> bytes | None:
        """Return the ventilator that a message names by its boot or ledger; None where it names none that is here."""
        if type(message) is Ask:
            return next((peer for peer, ledger in self.peers.items() if ledger == message.ledger), None)
        return message.boot if isinstance(message, Beat | Bye) and message.boot in self.peers else None

    def looked_up(self, lookup: Lookup, stored: set[bytes]) -> list[Effect]:
        """The store says which of the keys asked for it has."""
        have: list[int] = []
        unknown: list[int] = []
        for at, seq in enumerate(lookup.seqs):
            key = lookup.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]
            (have if key in stored else unknown).append(seq)
        effects: list[Effect] = []
        if have:
            effects.append(Reply(lookup.peer, Acks(ledger=lookup.ledger, seqs=have)))
        # What was taken in while the store was looked at is held by now.
        mine = self._held(lookup.ledger) if unknown else set()
        held = lookup.held + [seq for seq in unknown if seq in mine]
        unknown = [seq for seq in unknown if seq not in mine]
        if held or unknown:
            holds = Holds(ledger=lookup.ledger, held=held, unknown=unknown, busy=lookup.busy or self.full)
            effects.append(Reply(lookup.peer, holds))
        return effects

    # -- results

    def results(self, message: Results, now: float) -> list[Effect]:
        """Results came from a worker."""
        size = _size(message)
        self._here = None
        self._waiting.append(Arrived(now, size, message))
        self._waiting_jobs += len(message.seqs)
        self.held_bytes += size
        return self.tick(now)

    def stored(self, duplicates: int, now: float) -> list[Effect]:
        """The batch is on disk, ``duplicates`` of it were there before: acknowledge all of it to whom it concerns."""
        self.counts["duplicate"] += duplicates
        self._pause_s = FAILED_AGAIN_S
        seqs: dict[bytes, list[int]] = {}
        for _, size, message in self._storing:
            seqs.setdefault(message.ledger, []).extend(message.seqs)
            self.held_bytes -= size
        jobs = sum(map(len, seqs.values()))
        self.counts["stored"] += jobs - duplicates
        self._storing = []
        self._here = None
        self._stored_at = now
        self._pace(jobs)
        effects: list[Effect] = []
        for ledger, mine in seqs.items():
            for peer in [peer for peer, owner in self.peers.items() if owner == ledger]:
                parts = (mine[start : start + BATCH_JOBS_MAX] for start in range(0, len(mine), BATCH_JOBS_MAX))
                effects += [Reply(peer, Acks(ledger=ledger, seqs=part)) for part in parts]
        return effects + self.tick(now)

    def store_failed(self, reason: str, now: float) -> list[Effect]:
        """The store could not take the batch: keep it, and try again after a pause. Nothing is dropped for that."""
        self._waiting.extendleft(reversed(self._storing))
        self._waiting_jobs += sum(len(arrived.message.seqs) for arrived in self._storing)
        self._storing = []
        self._again_at = now + self._pause_s
        log = Log("store_failed", "store", {"reason": reason, "again_s": self._pause_s})
        self._pause_s = min(FAILED_AGAIN_S_MAX, 2 * self._pause_s)
        return [log]

    def tick(self, now: float) -> list[Effect]:
        """Store what has gathered, if it is time to."""
        if self._storing or not self._waiting or now < self._again_at:
            return []
        since = self._waiting[0].at
        busy = now - self._stored_at < self._gather_s
        much = self._waiting_jobs >= self.batch_jobs_max or self.held_bytes >= GATHER_BYTES_MAX or self.full
        if busy and now - since < self._gather_s and not much:
            return []
        jobs = 0
        while self._waiting and (not jobs or jobs + len(self._waiting[0].message.seqs) <= self.batch_jobs_max):
            arrived = self._waiting.popleft()
            jobs += len(arrived.message.seqs)
            self._storing.append(arrived)
        self._waiting_jobs -= jobs
        return [Store([arrived.message for arrived in self._storing])]

    def due_s(self, now: float) -> float | None:
        """Return in how many seconds ``tick`` may have something to do; None when only news can change that."""
        if self._storing or not self._waiting:
            return None
        return max(0.0, self._again_at - now, min(self._waiting[0].at, self._stored_at) + self._gather_s - now)

    # -- inside

    def _hello(self, peer: bytes, hello: Hello) -> list[Effect]:
        if hello.role != "ventilator" or not hello.ledger:
            return [Reply(peer, Refuse(reason=f"a {hello.role} has no business here: this is a sink", final=True))]
        if self._leaves_at is not None:  # a new one finds the next sink; one that was here has nothing more for this
            self.peers.pop(peer, None)
            return []
        # A ledger has one ventilator: who said this before is an earlier process of it, and gone.
        self.peers = {other: owner for other, owner in self.peers.items() if owner != hello.ledger}
        self.peers[peer] = hello.ledger
        log: dict[str, Any] = {"ventilator": hello.name, "host": hello.host}
        return [
            Reply(peer, Welcome(name=self.name, boot=self.boot, address=self.address)),
            Log("ventilator_up", hello.name, log),
        ]

    def _beat(self) -> Beat:
        return Beat(boot=self.boot, leaving=self._leaves_at is not None)

    def _pace(self, jobs: int) -> None:
        """Set how long results gather by how many did: 100 photographs a second are to be ten to a store, and not two.

        One or two at a time are no load, and wait no longer than they must; many are enough as it is.
        """
        if jobs <= 2 or jobs > 4 * GATHER_JOBS:
            self._gather_s = max(self.gather_s, self._gather_s / 2)
        elif jobs < GATHER_JOBS:
            self._gather_s = min(GATHER_TIMES_MAX * self.gather_s, self._gather_s * 2)

    def _held(self, ledger: bytes) -> set[int]:
        """Return the numbers of a ledger's jobs whose results are here and not stored.

        Only an ASK needs it; to keep count of them cost each result more than all else that is done here. Many ASKs
        come at once when much is here, so what was found for one is good until results come or are stored.
        """
        if self._here is None:
            self._here = {}
            for arrived in (*self._storing, *self._waiting):
                self._here.setdefault(arrived.message.ledger, set()).update(arrived.message.seqs)
        return self._here.get(ledger, set())


def _size(message: Results) -> int:
    """Return about how many bytes a message holds: pictures, notes as text, and 1 KiB for each job's columns."""
    notes = sum(len(repr(note)) for note in message.notes if note) if any(message.notes) else 0
    return sum(map(len, message.images)) + notes + 1024 * len(message.seqs)
