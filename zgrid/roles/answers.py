"""What the ventilator answers to people: how everything stands, and the life of one job.

Numbers of jobs and stories come from the ledger, so they survive a restart; only what is under way comes from memory.
"""

from collections.abc import Mapping
from typing import Any

from zgrid import __version__
from zgrid.protocol.job import State
from zgrid.protocol.lane import Lane
from zgrid.protocol.ventilator import Ventilator
from zgrid.roles.rate import Rate
from zgrid.store.rows import JobLedger

STORY_LINES_MAX = 1000


def status(machine: Ventilator, ledger: JobLedger, rate: Rate, now: float, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return how everything stands. ``more``: what only the role knows (uptime, scanning, passed over)."""
    counts = {state.name.lower(): number for state, number in ledger.counts().items()}
    delivery = machine.delivery
    sent = sum(job.state is State.SENT for lane in delivery.lanes.values() for job in lane.sent.values())
    finished = sum(map(len, delivery.finished))
    counts["ready"] = max(0, counts["ready"] - sent - finished)
    return {
        "version": __version__,
        "name": machine.name,
        "counts": {**counts, "sent": sent, "finished": finished},
        "accepted": sum(ledger.counts().values()),
        "rate_per_s": round(rate.per_s(now), 2),
        "workers": [_worker(machine, lane, now) for lane in delivery.lanes.values()],
        "sinks": [
            {"address": sink.address, "state": "up" if sink.up else "away", "unsettled": len(waiting)}
            for sink, waiting in zip(machine.sinks, delivery.finished, strict=True)
        ],
        "waiting": machine.waiting(),
        "late": dict(delivery.late),
        **more,
    }


def _worker(machine: Ventilator, lane: Lane, now: float) -> dict[str, Any]:
    age_s = machine.beat_age_s(lane, now)
    return {
        "name": lane.worker,
        "host": lane.host,
        "procs": lane.procs,
        "lane": lane.id,
        "state": lane.stage.value,
        "sent": len(lane.sent),
        "unstarted": max(0, len(lane.sent) - lane.procs),
        "finished": len(lane.finished),
        "done": lane.done,
        "failed": lane.failed,
        "rate_per_s": round(lane.pace.per_s, 2),
        "beat_age_ms": None if age_s is None else round(age_s * 1000),
        "filters": lane.filters,
    }


def why(machine: Ventilator, ledger: JobLedger, name: str) -> dict[str, Any]:
    """Return the life of the job that ``name`` (number, key, URI or path) means."""
    found = ledger.find(name)
    if found is None:
        return {
            "found": False,
            "hint": f"no job here is called {name}: give its number, its key, or the path of its image as it was given",
        }
    job = machine.delivery.window.jobs.get(found.seq)
    state = found.state if job is None else job.state
    history = ledger.story(found.seq)
    return {
        "found": True,
        "job": {
            **found._asdict(),
            "key": found.key.hex(),
            "state": state.name.lower(),
            "attempts": found.failures + (state in (State.SENT, State.FINISHED, State.STORED, State.DISCARDED)),
        },
        "history": [happening._asdict() for happening in history[-STORY_LINES_MAX:]],
        "evidence": [evidence._asdict() for evidence in ledger.evidence(found.seq)[-16:]],
    }
