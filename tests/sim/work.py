"""What the jobs of a simulation really are, and what really happened to them: the truth that the ledgers must match."""

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from zgrid.protocol.assignment import Batch
from zgrid.protocol.effects import Send
from zgrid.protocol.job import KEY_BYTES, Offer
from zgrid.protocol.messages import Code

if TYPE_CHECKING:
    from process import Process
    from ventilator_process import VentilatorProcess
    from worker_process import WorkerProcess

SEGFAULT = -1
HANG = -2

KINDS = ("keep", "discard", "fail", "trouble", "crash", "once", "hang")
"""keep, discard: innocent. fail: permanently. trouble: twice, then it works. crash: always kills its child; once: the
first time only. hang: overruns its time-to-run."""

UNREAD = "unread"
"""A kind that chance does not choose: the first worker that gets it may not read it, and gives it back."""

INNOCENT = ("keep", "discard", UNREAD)


def kind_of(uri: str) -> str:
    """Return the kind of a job, which stands in its URI."""
    return uri.split("/")[3]


def offers(rng: Random, counts: dict[str, int], size_bytes_max: int = 200_000) -> list[Offer]:
    """Return so many jobs of each kind, shuffled."""
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    rng.shuffle(kinds)
    return [
        Offer(f"file:///{kind}/{number}.jpg", rng.randrange(1000, size_bytes_max), 7)
        for number, kind in enumerate(kinds)
    ]


class Work:
    """Runs jobs, and remembers where each was when something befell a worker."""

    def __init__(self, rng: Random, job_s: float) -> None:
        self.rng = rng
        self.job_s = job_s
        self.runs: Counter[tuple[bytes, bytes]] = Counter()
        self.kept: set[bytes] = set()
        self.crashes: Counter[int] = Counter()
        self.struck_boots: set[bytes] = set()
        self._sent: dict[tuple[str, int], list[bytes]] = {}

    def sent(self, ventilator: "VentilatorProcess", effect: Send, peer: bytes) -> None:
        """Jobs went out on the lane of the worker whose boot id is ``peer``."""
        for job in effect.jobs:
            self._sent.setdefault((ventilator.name, job.seq), []).append(peer)

    def struck(self, worker: "WorkerProcess | Process") -> None:
        """Something befell a worker for which its jobs may be charged: death, suspension, a cut cable."""
        self.struck_boots.add(worker.boot)

    def strikes(self, ventilator: "VentilatorProcess", seq: int) -> int:
        """Return how often a job was sent to a worker that something befell: as often may it be charged."""
        return sum(peer in self.struck_boots for peer in self._sent.get((ventilator.name, seq), ()))

    def begin(self, batch: Batch, at: int, worker: "WorkerProcess") -> tuple[int, float]:
        """A child begins a job: return what will come of it, and after how many seconds."""
        key = batch.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]
        self.runs[batch.ledger, key] += 1
        run = self.runs[batch.ledger, key]
        kind = kind_of(batch.uris[at])
        work_s = self.job_s * worker.slow * (0.5 + self.rng.random())
        if kind == "keep":
            self.kept.add(key)
            return Code.FINISHED, work_s
        if kind == "discard":
            return Code.DISCARDED, work_s
        if kind == "fail":
            return Code.FAILED, work_s
        if kind == "hang":
            return HANG, work_s
        if kind == "crash" or (kind == "once" and run == 1):
            return SEGFAULT, work_s
        if kind == "trouble" and run <= 2:
            return Code.TROUBLED, work_s
        if kind == UNREAD and run == 1:
            return Code.RELEASED, 0.0
        self.kept.add(key)
        return Code.FINISHED, work_s
