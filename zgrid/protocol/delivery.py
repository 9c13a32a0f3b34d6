"""The life of jobs at the ventilator: which worker has which, what comes back, what is sent again.

Pure: every method takes what happened and the time in monotonic seconds, and returns what is to be done. What a change
does to a job is looked up in ``moves.MOVES``; a change that comes late alters nothing and is counted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from zgrid.protocol.asking import Reviews, asks, by_sink, sink_of
from zgrid.protocol.dispatch import Dispatch
from zgrid.protocol.effects import (
    Bury,
    Charge,
    CloseLane,
    Effect,
    Log,
    Postpone,
    Record,
    Refill,
    Settle,
    SettleLate,
)
from zgrid.protocol.flow import Terms
from zgrid.protocol.job import FINISHED, SENT, STORED, State
from zgrid.protocol.lane import Job, Lane, Stage
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.protocol.liveness import FROZEN_S
from zgrid.protocol.messages import Code, Outcomes
from zgrid.protocol.moves import CAN_FINISH, MOVES, Change
from zgrid.protocol.retry import Unread, given_back, retry_delay_ms
from zgrid.protocol.survivors import NOTICED_S, Charged, Departed
from zgrid.protocol.window import START, Place, Row, Window


class Delivery:
    """Which job is where. ``sinks``: how many sinks there are; a job's key decides which of them gets its result."""

    def __init__(self, terms: Terms, ledger: bytes, sinks: int) -> None:
        self.terms = terms
        self.ledger = ledger
        self.window = Window(terms)
        self.lanes: dict[int, Lane] = {}
        self.out = Dispatch(terms, self.window, self.lanes)
        self.late: Counter[str] = Counter()
        self.finished: list[dict[int, Job]] = [{} for _ in range(sinks)]
        self.reviews = Reviews()
        self.unread = Unread()
        self._asked_at = 0.0
        self._sink_since = [0.0] * sinks
        self._ticked_at: float | None = None
        self._refilling: dict[int, Place] = {}
        self._charged = Charged()
        self._departed = Departed()

    @property
    def chains(self) -> dict[int, str]:
        """Each chain's text by its number in the ledger."""
        return self.out.chains

    @chains.setter
    def chains(self, texts: dict[int, str]) -> None:
        new = texts.keys() - self.out.chains.keys()
        self.out.chains = texts
        self.window.know(new)

    # -- jobs come in

    def accepted(self, rows: Sequence[Row], now: float) -> list[Effect]:
        """Jobs were accepted and are on disk."""
        self.window.accept(rows)
        return self.dispatch(now)

    def loaded(self, chain: int, rows: list[Row], now: float, *, exhausted: bool) -> list[Effect]:
        """The ledger answered a Refill; ``exhausted`` when there is nothing of the chain behind these."""
        # If urgent jobs have pushed the cursor back meanwhile, these are not the next ones any more: ask again.
        if self._refilling.pop(chain, START) == self.window.cursor(chain):
            self.window.load(chain, rows, exhausted=exhausted)
        return self.dispatch(now)

    def withdrawn(self, seqs: Iterable[int], state: State, now: float) -> list[Effect]:
        """These were closed by hand, in the ledger already: CANCELLED or BURIED. What is said of them later is late.

        What runs at a worker runs on, and keeps its place there until it is reported. If a sink stores its result
        after all, that counts.
        """
        change = Change.CANCEL if state is State.CANCELLED else Change.BURY
        relieved: dict[int, Lane] = {}
        for seq in seqs:
            job = self.window.jobs.get(seq)
            if job is None:
                continue
            if job.state is State.FINISHED:
                self._unfinish(job)
                if job.lane in self.lanes:
                    relieved[job.lane] = self.lanes[job.lane]
            self._close(job, change)
        return self.dispatch(now, relieved.values())

    # -- what people stop

    def pause(self, chain: str | None) -> None:
        """Send nothing more, of this chain or at all; what is under way goes on."""
        if chain is None:
            self.out.paused = True
        else:
            self.out.paused_chains.add(chain)

    def resume(self, chain: str | None, now: float) -> list[Effect]:
        """Send again, of this chain or at all; chains that were paused by themselves stay so."""
        if chain is None:
            self.out.paused = False
        else:
            self.out.paused_chains.discard(chain)
        return self.dispatch(now)

    # -- workers come and go

    def lane_up(self, lane_id: int, now: float) -> list[Effect]:
        """The worker has connected to its lane."""
        lane = self.lanes.get(lane_id)
        if lane is None or lane.stage is not Stage.OPENING:
            return []
        lane.stage = Stage.READY
        return self.dispatch(now, [lane])

    def lane_down(
        self, lane_id: int, now: float, why: str, *, innocent: bool, dead_s: float = NOTICED_S, dispatch: bool = True
    ) -> list[Effect]:
        """The lane's worker is gone: its jobs are ready again at once.

        ``innocent``: it left on purpose and had told what it ran, so nothing is charged to its jobs. ``dead_s``: how
        long it may have been dead already; what was sent since then was not started there. ``dispatch``: false where
        others go at the same time, and the caller dispatches once for all: it costs a look at each lane that is left.
        """
        lane = self.lanes.pop(lane_id, None)
        if lane is None:
            return []
        effects: list[Effect] = []
        if innocent:
            self._departed.left(lane_id, now)
        lost = [job for job in lane.sent.values() if job.state is State.SENT and job.lane == lane_id]
        guilty = set() if innocent else set(lane.suspects(now - dead_s))
        self._charged.remember(lane.peer, guilty)
        if lost:
            effects.append(Record("lost", [job.seq for job in lost], lane.worker, lane_id, why))
        again: list[Job] = []
        for job in lost:
            job.suspect = job.suspect or not (innocent or job.seq in lane.singles)
            reason = f"worker {lane.worker} died while it ran this: {why}"
            if job.seq not in guilty or self._charge(job, reason, lane.evidence(job), effects):
                again.append(job)
        effects += self._ask(list(lane.finished.values()))
        effects.append(CloseLane(lane_id))
        effects += self.out.overdraw(again, lane.credit(self.terms), now)
        for job in again:
            if job.state is not State.SENT or job.lane == lane_id:
                self._ready(job)
        return effects + self.dispatch(now) if dispatch else effects

    def came_back(self, peer: bytes) -> list[Effect]:
        """The process whose lane went down is here again: only its link was cut, so its jobs get their attempt back."""
        effects: list[Effect] = []
        for seq in self._charged.take(peer):
            job = self.window.jobs.get(seq)
            if job is not None and job.failures > 0:
                job.failures -= 1
                effects.append(Charge(seq, job.failures, "the worker came back: the attempt does not count", {}))
        return effects

    # -- workers report

    def reported(self, message: Outcomes, now: float) -> list[Effect]:
        """A worker says what became of some of its jobs."""
        lane = self.lanes.get(message.lane)
        if lane is None:
            self.late["outcome"] += len(message.seqs)
            return []
        if not lane.heard(message.serial):
            self.late["outcome"] += len(message.seqs)
            return []
        effects: list[Effect] = []
        finished: dict[int, Job] = {}
        others: list[tuple[Job, Code, dict[str, Any]]] = []
        head = next(iter(lane.sent), 0)
        sent, lane_id, late, overtaken = lane.sent, lane.id, 0, 0
        for index, (seq, attempt, code) in enumerate(zip(message.seqs, message.attempts, message.codes, strict=True)):
            job = sent.get(seq)
            if job is None or job.attempt != attempt:
                late += 1
                continue
            del sent[seq]
            lane.unsettled_bytes -= job.size
            if job.lane != lane_id or job.state not in CAN_FINISH:
                late += 1  # stored already, or given to another worker meanwhile
                overtaken += job.state is State.STORED and code != Code.RELEASED  # work that was done tells the pace
            elif not code:
                job.state, job.finished_at = FINISHED, now
                finished[seq] = job
            else:
                why = message.reasons.get(str(index), {})
                others.append((job, given_back(job, Code(code), why), why))
        if late:
            self.late["outcome"] += late
        lane.singles.difference_update(message.seqs)
        if finished:
            lane.finish(finished, message)
            for waiting, jobs in zip(self.finished, by_sink(finished, len(self.finished)), strict=True):
                waiting.update(jobs)
            effects.append(Record("finished", list(finished), lane.worker, lane.id, None))
        self._not_finished(others, lane, effects)
        done = len(finished) + overtaken + sum(code != Code.RELEASED for _, code, _ in others)
        self._paced(lane, done, message.work_ms, head, now)
        return effects + self.dispatch(now, [lane])

    def unreadable(self, lane_id: int, job: Job, reason: str, now: float, *, transient: bool) -> list[Effect]:
        """An image that was to go out cannot be read, so its job fails here and never reaches the worker."""
        lane = self.lanes.get(lane_id)
        if lane is None or lane.sent.get(job.seq) is not job:  # or it was withdrawn, brought back, and is sent anew
            return []
        head = next(iter(lane.sent))
        lane.take(job)
        self._paced(lane, 0, 0.0, head, now)
        effects: list[Effect] = []
        if job.lane == lane_id and job.state is SENT:
            tries = self.unread.tried(job.seq, reason) if transient else None
            if tries is None:
                self._not_finished([(job, Code.FAILED, {"reason": reason})], lane, effects)
            else:
                self._close(job, Change.POSTPONE)
                evidence = lane.evidence(job, {"reason": reason})
                effects.append(Postpone(job.seq, job.failures, retry_delay_ms(tries, job.key), reason, evidence))
        return effects + self.dispatch(now, [lane])

    def touched(
        self, lane_id: int, seqs: Sequence[int], progress: Sequence[float], now: float, alive: Iterable[int] = ()
    ) -> None:
        """A worker's beat says which jobs run; one that made progress, or is ``alive``, has its time begin anew."""
        lane = self.lanes.get(lane_id)
        if lane is not None:
            lane.touch(dict(zip(seqs, progress, strict=True)), now, alive)

    # -- sinks report

    def stored(self, seqs: Sequence[int], now: float) -> list[Effect]:
        """A sink has these on disk. The first committed result wins, whoever made it."""
        relieved: dict[int, Lane] = {}
        jobs = self.window.drop(seqs, stored=True)
        self.unread.forget(seqs)
        if len(jobs) < len(seqs):
            self.late["ack"] += len(seqs) - len(jobs)
        lanes, waiting, sinks = self.lanes, self.finished, len(self.finished)
        lane = None
        for job in jobs:
            if lane is None or lane.id != job.lane:
                lane = lanes.get(job.lane)
                if lane is not None:
                    relieved[job.lane] = lane
            if job.state is FINISHED:
                waiting[sink_of(job.key, sinks) if sinks > 1 else 0].pop(job.seq, None)
                if lane is not None:
                    lane.unfinish(job.seq)
            job.state = STORED
        mine = seqs if len(jobs) == len(seqs) else [job.seq for job in jobs]
        effects: list[Effect] = []
        if mine:
            effects += [Record("stored", list(mine), None, None, None), Settle(list(mine), State.STORED, None)]
        if mine is not seqs and (late := sorted(set(seqs).difference(mine))):
            effects.append(SettleLate(late))  # open on disk alone (a result of before a restart), or told twice
        return effects + self.dispatch(now, relieved.values())

    def lacking(self, seqs: Sequence[int], now: float, *, busy: bool) -> list[Effect]:
        """A sink has never seen these. ``busy``: results may wait before its door, so it cannot know."""
        again: list[Job] = []
        for seq in seqs:
            job = self.window.jobs.get(seq)
            if job is None or job.state is not State.FINISHED or busy:
                continue
            restarted = job.finished_at < self._sink_since[self.sink_of(job)]
            gone = job.lane not in self.lanes and not self._departed.lately(job.lane, now)
            if gone or restarted or (now - job.finished_at) * 1000 > self.terms.result_patience_ms:
                self._unfinish(job)
                again.append(job)
        if not again:
            return []
        for job in again:
            job.attempt += 1
            self._ready(job)
        note = "the sink never got its result"
        return [Record("lost", [job.seq for job in again], None, None, note), *self.dispatch(now)]

    def lanes_of(self, seqs: Sequence[int]) -> list[Lane]:
        """Return the lanes whose workers say that they have finished one of these, of those that are here."""
        jobs = [job for seq in seqs if (job := self.window.jobs.get(seq)) is not None and job.state is State.FINISHED]
        return [self.lanes[lane] for lane in sorted({job.lane for job in jobs}) if lane in self.lanes]

    def under_way(self, sinks: Iterable[int]) -> bool:
        """Whether any job is at a worker, or has its result on the way to one of these sinks."""
        if any(self.finished[sink] for sink in sinks):
            return True
        return any(job.state is State.SENT for lane in self.lanes.values() for job in lane.sent.values())

    def sink_came(self, sink: int, now: float) -> list[Effect]:
        """A sink is there that was not, or is another process: what the old one had not stored may be gone."""
        self._sink_since[sink] = now
        return [*self._ask(list(self.finished[sink].values())), self.reviews.welcomed(now)]

    def reviewed(self, jobs: Sequence[tuple[int, bytes]]) -> list[Effect]:
        """The ledger answered a Review with (seq, key) of each: ask the sinks whether they have any of these.

        A result may have been under way when its job was closed, and the sink's word been lost with one of us.
        """
        return asks(self.ledger, len(self.finished), jobs)

    # -- time

    def tick(self, now: float) -> list[Effect]:
        """Several times a second: what is overdue at workers or at sinks."""
        effects: list[Effect] = []
        slept_s = 0.0 if self._ticked_at is None else now - self._ticked_at - FROZEN_S
        self._ticked_at = now
        if slept_s > 0:
            for lane in self.lanes.values():
                lane.slept(slept_s + FROZEN_S, now)
        overdue = [lane for lane in self.lanes.values() if lane.overdue(now, self.terms)]
        for lane in overdue:
            lane.stage = Stage.GONE  # before the first one's jobs are passed on, so that none of them gets any
        for lane in overdue:
            effects += self._overdue(lane, now)
        effects += self.reviews.due(now)
        if now - self._asked_at > 1.0:
            self._asked_at = now
            since = now - min(5.0, self.terms.result_patience_ms / 1000)
            for waiting in self.finished:
                old = [job for job, _ in zip(waiting.values(), range(BATCH_JOBS_MAX), strict=False)]
                effects += self._ask([job for job in old if job.finished_at < since])
        return effects + self.dispatch(now)

    # -- sending

    def dispatch(self, now: float, lanes: Iterable[Lane] | None = None) -> list[Effect]:
        """Give ready jobs to whoever has room, and read more where few are left; see ``Dispatch.dispatch``."""
        effects = self.out.dispatch(now, lanes)
        self.window.workers = len(self.lanes)
        for chain in self.window.wants():
            if chain not in self._refilling:
                after = self._refilling[chain] = self.window.cursor(chain)
                effects.append(Refill(chain, after, min(self.window.room, self.terms.ready_max)))
        return effects

    def sink_of(self, job: Job) -> int:
        """Return the number of the sink that gets this job's result: always the same one for a key."""
        return sink_of(job.key, len(self.finished))

    # -- inside

    def _ready(self, job: Job) -> None:
        job.state, job.lane = State.READY, 0
        self.window.back(job)

    def _unfinish(self, job: Job) -> None:
        """Take a job out of those that wait for a sink's word."""
        self.finished[self.sink_of(job)].pop(job.seq, None)
        if job.lane in self.lanes:
            self.lanes[job.lane].unfinish(job.seq)

    def _not_finished(self, others: list[tuple[Job, Code, dict[str, Any]]], lane: Lane, effects: list[Effect]) -> None:
        """Do what every outcome but FINISHED asks for, one group of jobs for each code and reason."""
        groups: dict[tuple[Code, str], list[int]] = {}
        for job, code, why in others:
            reason = str(why.get("reason") or code.name.lower())
            groups.setdefault((code, reason), []).append(job.seq)
            if code == Code.RELEASED and not why.get("unread"):
                lane.stage = Stage.LEAVING  # it will not take more either, even if the beat that says so was lost
            if code == Code.DISCARDED:
                self._close(job, Change.DISCARD)
            elif code == Code.RELEASED or self._failed(job, code, lane, reason, why, effects):
                self._ready(job)
        for (code, reason), seqs in groups.items():
            effects.append(Record(code.name.lower(), seqs, lane.worker, lane.id, reason))
            if code == Code.DISCARDED:
                effects.append(Settle(seqs, State.DISCARDED, reason))

    def _failed(
        self, job: Job, code: Code, lane: Lane, reason: str, why: dict[str, Any], effects: list[Effect]
    ) -> bool:
        """Bury, postpone or charge a job that failed; return whether it is ready again."""
        lane.failed += 1
        evidence = lane.evidence(job, why)
        if code == Code.FAILED:
            job.failures += 1
            self._close(job, Change.BURY)
            effects.append(Bury(job.seq, job.failures, reason, evidence))
            return False
        if code == Code.TROUBLED and job.failures + 1 < self._attempts_max(job):
            job.failures += 1
            self._close(job, Change.POSTPONE)
            effects.append(Postpone(job.seq, job.failures, retry_delay_ms(job.failures, job.key), reason, evidence))
            return False
        return self._charge(job, reason, evidence, effects)

    def _charge(self, job: Job, reason: str, evidence: dict[str, Any], effects: list[Effect]) -> bool:
        """Charge an attempt; bury the job when it was the last one, else return true: it is ready again, singly."""
        job.failures += 1
        job.attempt += 1
        job.suspect = True
        if job.failures < self._attempts_max(job):
            effects.append(Charge(job.seq, job.failures, reason, evidence))
            return True
        self._close(job, Change.BURY)
        effects.append(Bury(job.seq, job.failures, reason, evidence))
        return False

    def _attempts_max(self, job: Job) -> int:
        return job.attempts_max or self.terms.attempts_max

    def _close(self, job: Job, change: Change) -> None:
        state = MOVES[job.state][change]
        assert state is not None, (job.state, change)
        self.window.drop((job.seq,))
        job.state = state
        if state is not State.DELAYED:
            self.unread.forget((job.seq,))

    def _paced(self, lane: Lane, jobs: int, work_ms: float, head: int, now: float) -> None:
        lane.done += jobs
        if jobs:
            lane.pace.done(jobs, work_ms, now)
        if head not in lane.sent:
            lane.head_since = now

    def _overdue(self, lane: Lane, now: float) -> list[Effect]:
        """Give up on a worker whose first job ran far beyond its time: it takes jobs and never answers."""
        seq = next(iter(lane.sent))
        ttr_ms = lane.sent[seq].ttr_ms or self.terms.ttr_ms
        note = f"job {seq} was not reported within its time-to-run of {ttr_ms} ms"
        log = Log("worker_gone", lane.worker, {"worker": lane.worker, "lane": lane.id, "reason": note})
        # Where its beats do not show the job as running, no child of it has started anything: nothing is charged.
        effects = self.lane_down(lane.id, now, note, innocent=seq not in lane.running, dispatch=False)
        self._charged.take(lane.peer)  # it will be back at once, but that excuses nothing
        return [log, *effects]

    def _ask(self, jobs: list[Job]) -> list[Effect]:
        """Ask each sink what it has of those of these jobs whose result is on its way there."""
        waiting = [(job.seq, job.key) for job in jobs if job.state is State.FINISHED]
        return asks(self.ledger, len(self.finished), waiting)
