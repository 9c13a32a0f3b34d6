"""What the ventilator answers to people: how everything stands, which jobs there are, and the life of one.

Numbers of jobs and stories come from the ledger, so they survive a restart; only what is under way comes from memory.
"""

import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zgrid import __version__
from zgrid.errors import SettingsError, StoreError
from zgrid.protocol.job import State
from zgrid.protocol.lane import Job, Lane
from zgrid.protocol.ventilator import Sink, Ventilator
from zgrid.roles.arguments import chain_of, job_of, limit_of, pattern_of, state_of
from zgrid.roles.books import Books
from zgrid.roles.desk import Body, Ticket
from zgrid.roles.halts import Halts
from zgrid.roles.inquiries import Inquiries
from zgrid.roles.rate import Rate
from zgrid.roles.supply import Supply
from zgrid.store.reader import LedgerReader
from zgrid.store.rows import Evidence, Found, Happening
from zgrid.transport.clock import DueClock, wall_ms
from zgrid.transport.clock import now as clock_now

STORY_LINES_MAX = 1000
EVIDENCE_MAX = 16
ANSWER_CHARS_MAX = 4 << 20
"""Names and reasons in one answer: its header has a limit, and a URI may have 16 KiB."""

MARKS = ("sent", "released", "lost", "overran", "crashed", "failed", "troubled", "buried", "kicked", "retried")
"""Events of a job's story that are counted for whoever asks about it."""

TALLIED = ("finished", "discarded", "failed", "troubled", "crashed", "overran", "released", "lost")
"""Events that are counted for each worker, over all its lives."""


class Answers:
    """Answers questions. ``chain``: the ventilator's own; ``waiting`` says what jobs wait for.

    ``by_reference``: whether only the names of images go to workers that read there. ``door``: who came in,
    and who did not.
    """

    def __init__(
        self, machine: Ventilator, books: Books, inquiries: Inquiries, supply: Supply, halts: Halts, rate: Rate,
        due_clock: DueClock, chain: str, waiting: Callable[[], list[str]], by_reference: bool,
        door: Callable[[], dict[str, int]],
    ) -> None:  # fmt: skip
        self._door = door
        self._machine = machine
        self._books = books
        self._inquiries = inquiries
        self._supply = supply
        self._halts = halts
        self._rate = rate
        self._due_clock = due_clock
        self._chain = chain
        self._waiting = waiting
        self._by_reference = by_reference
        self._began = clock_now()

    def verbs(self) -> dict[str, Callable[[Body, Ticket], None]]:
        """Return who answers which question."""
        return {"status": self.status, "why": self.why, "jobs": self.jobs, "peek": self.peek}

    # -- how everything stands

    def status(self, _: Body, ticket: Ticket) -> None:
        """Tell how everything stands; the ledger is read when nothing uncommitted is in it."""

        def answer() -> None:
            try:
                ticket.answer(self._status(clock_now()))
            except StoreError as error:
                ticket.refuse(str(error))

        self._books.read(answer, for_people=True)

    def _status(self, now: float) -> Body:
        machine, ledger = self._machine, self._books.ledger
        tallies = ledger.tallies()
        under_way = Counter(job.state for job in self._under_way())
        counts = {state.name.lower(): jobs for state, jobs in ledger.counts().items()}
        accepted = sum(counts.values())
        sent, finished = under_way[State.SENT], under_way[State.FINISHED]
        counts["ready"] = max(0, counts["ready"] - sent - finished)
        return {
            "version": __version__,
            "name": machine.name,
            "chain": self._chain,
            "uptime_ms": round((now - self._began) * 1000),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "ledger": {"file": str(self._inquiries.path), "bytes": _bytes_of(self._inquiries.path)},
            "counts": {**counts, "sent": sent, "finished": finished},
            "accepted": accepted,
            "ever": {event: sum(one["events"].get(event, 0) for one in tallies.values()) for event in TALLIED},
            "passed_over": self._supply.passed_over,
            "unread": self._supply.unread,
            "scanning": self._supply.scanning,
            "rate_per_s": round(self._rate.per_s(now), 2),
            **self._halts.standing(),
            "chains": self._chains(),
            "by_reference": self._by_reference,
            "workers": [
                {**self._worker(lane, now), **_tally(tallies.get(lane.worker))}
                for lane in machine.delivery.lanes.values()
            ],
            "sinks": [
                {"address": sink.address, "state": _standing(sink), "unsettled": len(waiting)}
                for sink, waiting in zip(machine.sinks, machine.delivery.finished, strict=True)
            ],
            "waiting": self._waiting(),
            "late": dict(machine.delivery.late),
            "door": self._door(),
        }

    def _chains(self) -> list[Body]:
        """Return what stands of each chain that has jobs."""
        delivery = self._machine.delivery
        texts = self._books.ledger.chain_texts()
        under_way = Counter((job.chain, job.state) for job in self._under_way())
        chains = []
        for number, by_state in sorted(self._books.ledger.chain_counts().items()):
            text = texts[number]
            counts = {state.name.lower(): by_state.get(state, 0) for state in State}
            sent, finished = under_way[number, State.SENT], under_way[number, State.FINISHED]
            ready = max(0, counts["ready"] - sent - finished)
            chains.append(
                {
                    "chain": text,
                    "counts": {**counts, "ready": ready, "sent": sent, "finished": finished},
                    "accepted": sum(by_state.values()),
                    "workers": sum(lane.can(text) for lane in delivery.lanes.values()),
                    "paused": self._halts.paused is not None or text in self._halts.paused_chains,
                    "oldest_ready_ms": self._oldest_ready_ms(number) if ready else None,
                }
            )
        return chains

    def _oldest_ready_ms(self, chain: int) -> int | None:
        """Return for how long the oldest ready job of a chain has waited, of those in memory."""
        window = self._machine.delivery.window
        shelf = window.shelves.get(chain)
        jobs = [window.jobs.get(seq) for _, seq in (shelf.places if shelf is not None else ())]
        accepted = [job.accepted_ms for job in jobs if job is not None and job.state is State.READY]
        return max(0, wall_ms() - min(accepted)) if accepted else None

    def _worker(self, lane: Lane, now: float) -> Body:
        age_s = self._machine.beat_age_s(lane, now)
        running = [(lane.sent[seq], far) for seq, far in lane.running.items() if seq in lane.sent]
        return {
            "name": lane.worker,
            "host": lane.host,
            "procs": lane.procs,
            "lane": lane.id,
            "state": lane.stage.value,
            "sent": len(lane.sent),
            "unstarted": max(0, len(lane.sent) - lane.procs),
            "unsettled": len(lane.finished),
            "done": lane.done,
            "rate_per_s": round(lane.pace.per_s, 2),
            "work_ms": None if lane.pace.work_ms is None else round(lane.pace.work_ms, 3),
            "credit": lane.credit(self._machine.terms),
            "beat_age_ms": None if age_s is None else round(age_s * 1000),
            "filters": lane.filters,
            "reads": lane.reads.places,
            "running": [
                {"job": job.seq, "progress": _progress(far), "for_ms": round((now - job.sent_at) * 1000)}
                for job, far in running
            ],
        }

    def _under_way(self) -> list[Job]:
        """Return the jobs that were sent, and those whose results are on their way."""
        delivery = self._machine.delivery
        sent = [job for lane in delivery.lanes.values() for job in lane.sent.values() if job.state is State.SENT]
        return sent + [job for waiting in delivery.finished for job in waiting.values()]

    # -- jobs

    def jobs(self, body: Body, ticket: Ticket) -> None:
        """List jobs, newest first."""
        state, limit = state_of(body, tuple(State)), limit_of(body)
        pattern, chain = pattern_of(body), self._chain_number(chain_of(body))
        if chain == 0:
            ticket.answer({"jobs": [], "more": False})
            return
        mine = [job for job in self._under_way() if state in (State.READY, job.state)]
        under_way = sorted((job.seq for job in mine if _fits(job, pattern, chain)), reverse=True)
        without = frozenset(under_way)

        def search(reader: LedgerReader) -> list[Found]:
            if state in (State.SENT, State.FINISHED):
                named = (reader.find(str(seq)) for seq in under_way[: limit + 1])
                return [one for one in named if one is not None]
            # What is under way is ready for the ledger; it is left out, so more has to be read.
            found = reader.listed(state, limit + len(without) + 1, pattern=pattern, chain=chain)
            return [one for one in found if one.seq not in without][: limit + 1]

        def answer(found: list[Found]) -> None:
            shown = _bounded(found[:limit])
            jobs = [self._job(one) for one in shown]
            ticket.answer({"jobs": jobs, "more": len(shown) < len(found)})

        self._search(search, answer, ticket)

    def peek(self, body: Body, ticket: Ticket) -> None:
        """Show one job: the one that is named, or the next one in a state."""
        name, state = job_of(body), state_of(body, (State.READY, State.DELAYED, State.BURIED))
        if (name is None) == (state is None):
            raise SettingsError("name a job, or say which next one is meant: ready, delayed or buried")
        ready = self._next_ready() if state is State.READY else None

        def search(reader: LedgerReader) -> tuple[Found | None, list[Evidence]]:
            if name is not None:
                found = reader.find(name)
            elif state is State.READY:
                found = reader.find(str(ready)) if ready else None
            else:
                seqs = [reader.next_delayed()] if state is State.DELAYED else reader.pick(state, None, None, 0, 1)
                found = reader.find(str(seqs[0])) if seqs and seqs[0] else None
            return found, reader.evidence(found.seq) if found is not None else []

        def answer(result: tuple[Found | None, list[Evidence]]) -> None:
            found, evidence = result
            if found is None:
                ticket.answer({"found": False, "hint": _hint(name) if name else f"no job is {body['state']}"})
                return
            shown = [one._asdict() for one in evidence[-EVIDENCE_MAX:]]
            ticket.answer({"found": True, "job": self._job(found), "evidence": shown})

        self._search(search, answer, ticket)

    def why(self, body: Body, ticket: Ticket) -> None:
        """Tell the life of one job."""
        name = job_of(body)
        if name is None:
            raise SettingsError("name a job by number, key, URI or path")

        def search(reader: LedgerReader) -> tuple[Found, list[Happening], list[Evidence]] | None:
            found = reader.find(name)
            return None if found is None else (found, reader.story(found.seq), reader.evidence(found.seq))

        def answer(result: tuple[Found, list[Happening], list[Evidence]] | None) -> None:
            if result is None:
                ticket.answer({"found": False, "hint": _hint(name)})
                return
            found, story, evidence = result
            happened = Counter(one.event for one in story)
            ticket.answer(
                {
                    "found": True,
                    "job": self._job(found),
                    "counts": {mark: happened[mark] for mark in MARKS},
                    "history": [one._asdict() for one in story[-STORY_LINES_MAX:]],
                    "evidence": [one._asdict() for one in evidence[-EVIDENCE_MAX:]],
                }
            )

        self._search(search, answer, ticket)

    def _search(self, search: Callable[[LedgerReader], Any], answer: Callable[[Any], None], ticket: Ticket) -> None:
        """Search once all that was decided is on disk, as far as the disk takes it."""
        self._books.read(lambda: self._inquiries.search(search, answer, ticket.refuse), for_people=True)

    def _chain_number(self, text: str | None) -> int | None:
        """Return the number of a chain; None where none is meant, 0 for one that no job has."""
        if text is None:
            return None
        numbers = {known: number for number, known in self._books.ledger.chain_texts().items()}
        return numbers.get(text, 0)

    def _next_ready(self) -> int | None:
        window = self._machine.delivery.window
        job = window.head(list(window.shelves))
        return None if job is None else job.seq

    def _job(self, found: Found) -> Body:
        """Return a job as people are told of it."""
        job = self._machine.delivery.window.jobs.get(found.seq)
        state = found.state if job is None else job.state
        wall = wall_ms()
        ttr_ms = found.ttr_ms or self._machine.terms.ttr_ms
        told = {
            "seq": found.seq,
            "key": found.key.hex(),
            "uri": found.uri,
            "size": found.size,
            "state": state.name.lower(),
            "priority": found.priority,
            "failures": found.failures,
            "attempts": found.spent + found.failures + (state in _ATTEMPTED),
            "chain": found.chain,
            "accepted_ms": found.accepted_ms,
            "due_ms": found.due_ms,
            "settled_ms": found.settled_ms,
            "reason": found.reason,
            "ttr_ms": ttr_ms,
            "attempts_max": found.attempts_max or self._machine.terms.attempts_max,
            "age_ms": max(0, wall - found.accepted_ms),
            "due_in_ms": None if found.due_ms is None else max(0, found.due_ms - self._due_clock.now_ms()),
        }
        lane = self._machine.delivery.lanes.get(job.lane) if job is not None else None
        if job is not None and lane is not None:
            told |= {"worker": lane.worker, "lane": lane.id}
            if job.state is State.SENT:
                far, now = lane.running.get(job.seq), clock_now()
                told |= {"progress": _progress(far), "running_ms": round((now - job.sent_at) * 1000)}
                if far is not None:
                    told["time_left_ms"] = max(0, round(ttr_ms - (now - lane.moved[job.seq]) * 1000))
        return told


_ATTEMPTED = frozenset({State.SENT, State.FINISHED, State.STORED, State.DISCARDED})
"""States in which an attempt is under way or ended well."""


def _fits(job: Job, pattern: str | None, chain: int | None) -> bool:
    """Whether a job in memory is among those that are asked for; patterns are those of the ledger, GLOB."""
    return chain in (None, job.chain) and (pattern is None or fnmatchcase(job.uri, pattern.replace("[^", "[!")))


def _progress(far: float | None) -> float | None:
    """Return how far a job says it is, None where it does not."""
    return None if far is None or far < 0 else round(far, 3)


def _standing(sink: Sink) -> str:
    """Say in a word how a sink stands."""
    if not sink.up:
        return "away"
    return "stopping" if sink.leaving else "up"


def _bytes_of(path: Path) -> int | None:
    """Return a file's size; None where it was taken away."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _tally(tally: Any) -> Body:
    """Return what a worker of this name ever did."""
    if tally is None:
        return dict.fromkeys(TALLIED, 0) | {"first_ms": None, "last_ms": None}
    events = {event: tally["events"].get(event, 0) for event in TALLIED}
    return events | {"first_ms": tally["first_ms"], "last_ms": tally["last_ms"]}


def _bounded(found: Sequence[Found]) -> list[Found]:
    """Return as many of these jobs as an answer has room for."""
    shown, chars = [], 0
    for one in found:
        chars += len(one.uri) + len(one.reason or "") + len(one.chain)
        if chars > ANSWER_CHARS_MAX:
            break
        shown.append(one)
    return shown


def _hint(name: str | None) -> str:
    return f"no job here is called {name}: give its number, its key, or the path of its image as it was given"
