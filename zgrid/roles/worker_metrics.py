"""What a worker's metrics are read from: its duty, and the columns of what its children did."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zgrid.log import Event
from zgrid.metrics.family import Snapshot
from zgrid.metrics.histogram import WAIT_BOUNDS_S, WORK_BOUNDS_S, Histogram
from zgrid.protocol import agent_effects as fx
from zgrid.protocol.assignment import Returned
from zgrid.protocol.duty import Duty
from zgrid.protocol.messages import Code
from zgrid.roles.exposure import Stock, common
from zgrid.roles.telling import Telling
from zgrid.transport.clock import now as clock_now
from zgrid.transport.outbox import Outbox
from zgrid.transport.post import Post

Perform = dict[type, Callable[[Any], None]]

OUTCOMES = {
    Code.FINISHED: "kept", Code.DISCARDED: "discarded", Code.FAILED: "failed", Code.TROUBLED: "troubled",
}  # fmt: skip

DEATHS = {Event.CHILD_DIED: "died", Event.CHILD_STARVED: "starved", Event.CHILD_OVERRAN: "overran"}

MS = 0.001


class WorkerMetrics:
    """Counts what nobody else keeps: times, outcomes, and what closed sockets had dropped."""

    def __init__(self) -> None:
        self._waits = Histogram(WAIT_BOUNDS_S)
        self._reads = Histogram(WORK_BOUNDS_S)
        self._works = Histogram(WORK_BOUNDS_S)
        self._done: Counter[int] = Counter()
        self._dropped: Counter[str] = Counter()

    def returned(self, returned: Returned) -> None:
        """Note what a child has done."""
        self._reads.observe(returned.reads, MS)
        self._works.observe(returned.works, MS)
        self._done.update(returned.codes)

    def closed(self, post: Post) -> None:
        """Keep what a socket has dropped that is closed."""
        self._dropped.update(post.dropped)

    def watch(self, perform: Perform) -> Perform:
        """Return the same performers; the one that gives jobs to a child notes first how long they have waited."""
        assign = perform[fx.Assign]

        def assigned(effect: fx.Assign) -> None:
            batch = effect.batch
            self._waits.observe(batch.waits[effect.start : effect.stop], MS, plus=clock_now() - batch.arrived)
            assign(effect)

        return {**perform, fx.Assign: assigned}

    def stock(
        self, duty: Duty, telling: Telling, posts: Iterable[Post], outboxes: Mapping[str, Outbox],
        addresses: Sequence[str],
    ) -> Stock:  # fmt: skip
        """Take stock, in the loop's thread. ``addresses``: the ventilators', in the order of the duty's employers."""
        busy = sum(bool(child.ranges) for child in duty.children)
        ready = sum(child.ready for child in duty.children)
        reached = [bool(employer.lane) for employer in duty.employers]
        queue = sum(part.stop - part.start for employer in duty.employers for part in employer.queue)
        idle = sum(child.ready and not child.ranges for child in duty.children)
        states = {"busy": busy, "idle": idle, "starting": len(duty.children) - busy - idle}
        values: Snapshot = {
            **common(telling, posts, 0, self._dropped),
            "zgrid_worker_jobs_total": {(name,): float(self._done[code]) for code, name in OUTCOMES.items()},
            "zgrid_job_wait_seconds": self._waits.distribution(),
            "zgrid_job_read_seconds": self._reads.distribution(),
            "zgrid_job_work_seconds": self._works.distribution(),
            "zgrid_child_deaths_total": {(why,): float(telling.counts[event]) for event, why in DEATHS.items()},
            "zgrid_children": {(state,): float(number) for state, number in states.items()},
            "zgrid_worker_queue_jobs": float(queue),
            "zgrid_worker_held_bytes": float(sum(outbox.waiting_bytes for outbox in outboxes.values())),
            "zgrid_ventilator_up": {
                (address,): float(up) for address, up in zip(addresses, reached, strict=True)
            },
        }  # fmt: skip
        lacking = "" if ready else "no child is ready"
        if not any(reached):
            lacking = "no ventilator is reached"
        if duty.leaving:
            lacking = "it stops"
        return Stock(values, lacking)
