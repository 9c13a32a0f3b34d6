"""Which sink a job's result belongs to, and how sinks are asked what they have."""

from collections.abc import Iterable

from zgrid.protocol.effects import Effect, TellSink
from zgrid.protocol.lane import Job
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.protocol.messages import Ask


def sink_of(key: bytes, sinks: int) -> int:
    """Return the number of the sink, of so many, that gets the result of the job with this key: always the same one."""
    return key[0] % sinks


def by_sink(jobs: dict[int, Job], sinks: int) -> list[dict[int, Job]]:
    """Return the jobs of each sink."""
    if sinks == 1:  # as nearly always: no look at any of them
        return [jobs]
    parts: list[dict[int, Job]] = [{} for _ in range(sinks)]
    for seq, job in jobs.items():
        parts[sink_of(job.key, sinks)][seq] = job
    return parts


def asks(ledger: bytes, sinks: int, jobs: Iterable[tuple[int, bytes]]) -> list[Effect]:
    """Ask each sink what it has of its own among these jobs, each a seq and a key."""
    mine: list[list[tuple[int, bytes]]] = [[] for _ in range(sinks)]
    for seq, key in jobs:
        mine[sink_of(key, sinks)].append((seq, key))
    effects: list[Effect] = []
    for sink, theirs in enumerate(mine):
        for start in range(0, len(theirs), BATCH_JOBS_MAX):
            seqs, keys = zip(*theirs[start : start + BATCH_JOBS_MAX], strict=True)
            effects.append(TellSink(sink, Ask(ledger=ledger, seqs=list(seqs), keys=b"".join(keys))))
    return effects
