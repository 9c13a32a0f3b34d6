"""What a ventilator's metrics are read from: its machine, its ledger, and the effects that pass, batch by batch."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zgrid.metrics.family import CHAINS_MAX, OTHERS, Snapshot
from zgrid.metrics.histogram import COMMIT_BOUNDS_S, Histogram
from zgrid.protocol import effects as fx
from zgrid.protocol.delivery import Delivery
from zgrid.protocol.job import OPEN, State
from zgrid.protocol.lane import Stage
from zgrid.protocol.ventilator import Ventilator
from zgrid.roles.exposure import Stock, common, disk_free
from zgrid.roles.halts import Halts
from zgrid.roles.supply import Supply
from zgrid.roles.telling import Telling
from zgrid.store.ledger import Ledger
from zgrid.transport.clock import now as clock_now
from zgrid.transport.post import Post

RESENT = ("released", "lost", "troubled", "crashed", "overran")
"""What can happen to a job that then is sent again, as its history calls it."""

OUTCOMES = (State.STORED, State.DISCARDED, State.BURIED, State.CANCELLED)
LATE = ("outcome", "ack")

Perform = dict[type, Callable[[Any], None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a ventilator that are looked at. ``waiting`` says what jobs wait for."""

    machine: Ventilator
    ledger: Ledger
    supply: Supply
    halts: Halts
    telling: Telling
    posts: Sequence[Post]
    waiting: Callable[[], list[str]]


class VentilatorMetrics:
    """Counts what nobody else keeps: attempts, resends, and how long commits took."""

    def __init__(self) -> None:
        self._commits = Histogram(COMMIT_BOUNDS_S)
        self._attempts = 0
        self._resent: Counter[str] = Counter()

    def committed(self, _: object, seconds: float) -> None:
        """Note a commit, in the thread that made it."""
        self._commits.observe((seconds,))

    def watch(self, perform: Perform) -> Perform:
        """Return the same performers; those of two effects count first, which costs a call for each batch."""
        send, record = perform[fx.Send], perform[fx.Record]

        def sent(effect: fx.Send) -> None:
            self._attempts += len(effect.jobs)
            send(effect)

        def recorded(effect: fx.Record) -> None:
            self._resent[effect.event] += len(effect.seqs)
            record(effect)

        return {**perform, fx.Send: sent, fx.Record: recorded}

    def stock(self, parts: Parts) -> Stock:
        """Take stock, in the loop's thread: some microseconds for each worker."""
        delivery, supply, halts = parts.machine.delivery, parts.supply, parts.halts
        closed = parts.ledger.closed()
        waiting = len(parts.waiting())
        values: Snapshot = {
            **common(parts.telling, parts.posts, parts.machine.unexpected.total()),
            **_jobs(delivery, parts.ledger),
            "zgrid_jobs_accepted_total": float(parts.ledger.durable_seq),
            "zgrid_jobs_settled_total": {(one.name.lower(),): float(closed.get(one, 0)) for one in OUTCOMES},
            "zgrid_attempts_total": float(self._attempts),
            "zgrid_resends_total": {(reason,): float(self._resent[reason]) for reason in RESENT},
            "zgrid_late_total": {(what,): float(delivery.late[what]) for what in LATE},
            "zgrid_ledger_commit_seconds": self._commits.distribution(),
            "zgrid_paused": float(halts.paused is not None),
            "zgrid_paused_chains": float(len(halts.paused_chains)),
            "zgrid_scanning": float(supply.scanning),
            "zgrid_passed_over_total": float(supply.passed_over),
            "zgrid_waiting": float(waiting),
            "zgrid_sink_up": {(sink.address,): float(sink.up) for sink in parts.machine.sinks},
            "zgrid_sink_unsettled_jobs": {
                (sink.address,): float(len(jobs))
                for sink, jobs in zip(parts.machine.sinks, delivery.finished, strict=True)
            },
            **_lanes(parts.machine),
        }
        return Stock(values)

    def look(self, ledger: Path) -> Snapshot:
        """Return what the disk says of the ledger; in a thread."""
        size = 0
        for file in (ledger, ledger.with_name(ledger.name + "-wal")):
            if file.exists():
                size += file.stat().st_size
        return {"zgrid_ledger_size_bytes": float(size), **disk_free("ledger", ledger.parent)}


def _jobs(delivery: Delivery, ledger: Ledger) -> Snapshot:
    """Return how many jobs are in each state, and the open ones of each chain."""
    counts = ledger.counts()
    sent = sum(len(lane.sent) for lane in delivery.lanes.values())
    finished = sum(map(len, delivery.finished))
    states: dict[tuple[str, ...], float] = {(state.name.lower(),): float(jobs) for state, jobs in counts.items()}
    states["ready",] = float(max(0, counts[State.READY] - sent - finished))
    states["sent",], states["finished",] = float(sent), float(finished)
    return {"zgrid_jobs": states, "zgrid_chain_jobs": _chains(delivery, ledger, sent, finished)}


def _chains(delivery: Delivery, ledger: Ledger, sent: int, finished: int) -> dict[tuple[str, ...], float]:
    """Return the open jobs by chain and state, of those that have the most; the others' under one name."""
    texts = ledger.chain_texts()
    counts = ledger.chain_counts()
    sizes = {chain: sum(by_state.get(state, 0) for state in OPEN) for chain, by_state in counts.items()}
    largest = sorted(sizes, key=lambda chain: -sizes[chain])
    if sum(map(bool, sizes.values())) <= 1:  # as usual: nothing has to be counted again
        under_way, done = Counter(dict.fromkeys(largest[:1], sent)), Counter(dict.fromkeys(largest[:1], finished))
    else:
        under_way = Counter(job.chain for lane in delivery.lanes.values() for job in lane.sent.values())
        done = Counter(job.chain for jobs in delivery.finished for job in jobs.values())
    told: Counter[tuple[str, ...]] = Counter()
    for place, chain in enumerate(largest):
        name = texts.get(chain, OTHERS) if place < CHAINS_MAX else OTHERS
        ready = counts[chain].get(State.READY, 0) - under_way[chain] - done[chain]
        told[name, "ready"] += max(0, ready)
        told[name, "delayed"] += counts[chain].get(State.DELAYED, 0)
        told[name, "sent"] += under_way[chain]
        told[name, "finished"] += done[chain]
    return {labels: float(jobs) for labels, jobs in told.items()}


def _lanes(machine: Ventilator) -> Snapshot:
    """Return what stands of each worker that is here; one that goes takes its series along."""
    now, terms = clock_now(), machine.terms
    lanes = machine.delivery.lanes.values()
    states = Counter(lane.stage for lane in lanes)
    ages = {(lane.worker,): machine.beat_age_s(lane, now) for lane in lanes}
    told: Snapshot = {
        "zgrid_workers": {
            (stage.value,): float(states[stage]) for stage in (Stage.OPENING, Stage.READY, Stage.LEAVING)
        },
        "zgrid_lane_processes": {(lane.worker,): float(lane.procs) for lane in lanes},
        "zgrid_lane_pace_jobs_per_second": {(lane.worker,): lane.pace.per_s for lane in lanes},
        "zgrid_lane_credit_jobs": {(lane.worker,): float(lane.credit(terms)) for lane in lanes},
        "zgrid_lane_sent_jobs": {(lane.worker,): float(len(lane.sent)) for lane in lanes},
        "zgrid_lane_unsettled_bytes": {(lane.worker,): float(lane.unsettled_bytes) for lane in lanes},
        "zgrid_lane_beat_age_seconds": {worker: age for worker, age in ages.items() if age is not None},
        "zgrid_lane_reports_total": {(lane.worker,): float(lane.done) for lane in lanes},
    }
    return told
