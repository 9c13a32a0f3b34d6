"""What becomes of a lost worker's jobs: who gets them at once, and what is taken back if it was not dead after all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from zgrid.protocol.flow import Terms
from zgrid.protocol.lane import Job, Lane, Stage
from zgrid.protocol.limits import HEADER_BYTES_MAX

NOTICED_S = 0.1
"""A death is noticed within this time where the kernel tells of it: a cut cable takes all workers behind it one by one,
and a job that is passed on from each to the next must not be charged for all of them."""

URI_CHARS_PER_BATCH_MAX = HEADER_BYTES_MAX // 4
"""Names of one message's images: a header beyond its limit would be refused, and its jobs sent again for ever."""

LAST_RESULTS_S = 3.0
"""A worker that leaves gives its last results so long to get out, and its ventilator does not take them for lost."""

PEERS_REMEMBERED_MAX = 256
"""Lost workers whose charged jobs are remembered, in case only their link was cut."""


class Charged:
    """Which jobs were charged for the loss of which peer."""

    def __init__(self) -> None:
        self._seqs: dict[bytes, list[int]] = {}

    def remember(self, peer: bytes, seqs: Iterable[int]) -> None:
        """Note that these were charged because ``peer`` was lost."""
        charged = sorted(seqs)
        if charged:
            self._seqs[peer] = charged
            while len(self._seqs) > PEERS_REMEMBERED_MAX:
                del self._seqs[next(iter(self._seqs))]

    def take(self, peer: bytes) -> Sequence[int]:
        """Return the jobs that were charged because ``peer`` was lost, and forget them."""
        return self._seqs.pop(peer, ())


class Departed:
    """Lanes whose workers left in order: their last results may stand before a sink's door for a moment."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}

    def left(self, lane: int, now: float) -> None:
        """Note that a lane's worker has left, with all its results on the way."""
        self._at = {other: at for other, at in self._at.items() if now - at < LAST_RESULTS_S}
        self._at[lane] = now

    def lately(self, lane: int, now: float) -> bool:
        """Whether that was so short a time ago that a sink may not have read its last results."""
        return now - self._at.get(lane, float("-inf")) < LAST_RESULTS_S


def shares(
    jobs: Iterable[Job], lanes: Sequence[Lane], chains: Mapping[int, str], terms: Terms, credit: int
) -> Iterator[tuple[Lane, list[Job]]]:
    """Spread a lost worker's jobs over the lanes that can do them, in batches that go together, urgent jobs first.

    Bounded: each lane takes its share up to twice its own credit or ``credit``, the dead one's (``Lane.overdraft``);
    what is left over is in no batch.
    """
    jobs = sorted(jobs, key=lambda job: (job.priority, job.seq))
    for chain in sorted({job.chain for job in jobs}):
        able = [lane for lane in lanes if lane.stage is Stage.READY and lane.can(chains.get(chain, "?"))]
        mine = [job for job in jobs if job.chain == chain]
        for number, lane in enumerate(able[: len(mine)]):
            for batch in _batches(lane.overdraft(mine[number :: len(able)], terms, credit), terms):
                yield lane, batch


def _batches(jobs: Iterable[Job], terms: Terms) -> Iterator[list[Job]]:
    """Cut jobs into what one message may have: in number, bytes of images, and characters of names."""
    batch: list[Job] = []
    size = chars = 0
    for job in jobs:
        full = len(batch) >= terms.batch_jobs_max or size + job.size > terms.batch_bytes_max
        if batch and (full or not job.goes_with(batch[0]) or chars > URI_CHARS_PER_BATCH_MAX):
            yield batch
            batch, size, chars = [], 0, 0
        batch.append(job)
        size += job.size
        chars += len(job.uri)
    if batch:
        yield batch
