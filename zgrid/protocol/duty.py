"""A worker's duty: jobs from lanes to children, results to sinks, reports to ventilators.

Work is kept in the batches it came in; children get ranges of a batch, and what they return is cut out of the batch's
columns again. So a job costs no object of its own here, and a hundred thousand small jobs a second are no burden.
"""

from math import ceil
from typing import Any

from zgrid.protocol.agent_effects import (
    Assign,
    CloseLane,
    ConnectLane,
    Effect,
    Kill,
    Log,
    Push,
    Tell,
)  # fmt: skip
from zgrid.protocol.assignment import Batch, Child, Employer, Parcels, Range, Returned, cut
from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.liveness import FROZEN_S, Liveness
from zgrid.protocol.messages import (
    Beat,
    Bye,
    Code,
    Hello,
    Jobs,
    Message,
    Outcomes,
    Refuse,
    Results,
    Welcome,
    Who,
)  # fmt: skip

HELLO_AGAIN_S = 1.0

REFUSED_AGAIN_S = 5.0


class Duty:
    """The worker agent's decisions. Pure: takes messages, children's news and time; returns what is to be done.

    ``ventilators``: how many addresses it serves. ``versions``: what the children made of each chain's text.
    ``reads``: places with images by reference. ``blocked``: results wait for sinks, so children get nothing new.
    """

    def __init__(self, name: str, boot: bytes, host: str, procs: int, ventilators: int) -> None:
        self.name = name
        self.boot = boot
        self.host = host
        self.filters: dict[str, str] | None = None
        self.reads: list[str] = []
        self.employers = [Employer(index) for index in range(ventilators)]
        self.children = [Child(index) for index in range(procs)]
        self.versions: dict[str, str] = {}
        self.blocked = False
        self.leaving = False
        self._awake_at = 0.0
        self._tokens = 1
        self._turn = 0
        self._beats: Liveness[int] = Liveness(1.0, 3)

    # -- ventilators

    def received(self, index: int, message: Message, now: float) -> list[Effect]:
        """A ventilator said something on the control socket."""
        employer = self.employers[index]
        self._beats.heard(index, now)
        if type(message) is Welcome:
            return self._welcome(employer, message, now)
        if type(message) is Who:
            return [*self._leave_lane(employer), *self._hello(employer, now)]
        if type(message) is Refuse:
            return self._refused(employer, message, now)
        if type(message) is Beat and message.boot == employer.boot and message.lane == employer.lane:
            return [
                Tell(index, report) for report in employer.confirmed(message.serial, now, 2 * self._beats.interval_s)
            ]
        return []

    def work(self, index: int, jobs: Jobs, now: float) -> list[Effect]:
        """Jobs came down a lane."""
        employer = self.employers[index]
        if jobs.boot != employer.boot or jobs.lane != employer.lane:
            return []  # of a lane that is gone: its ventilator has given these to others
        batch = Batch(employer, jobs, self._tokens, now)
        self._tokens += len(jobs.seqs)
        if self.leaving:
            return [self._report(batch, range(len(jobs.seqs)), Code.RELEASED, now)]
        employer.queue.append(Range(batch, 0, len(jobs.seqs)))
        return self.assign(now)

    # -- children

    def child_ready(self, index: int, filters: dict[str, str], now: float) -> list[Effect]:
        """A child has started and can work; the first one tells which filters there are."""
        child = self.children[index]
        child.ready = True
        effects: list[Effect] = []
        if self.filters is None:
            self.filters = filters
            for employer in self.employers:
                effects += self._hello(employer, now)
        return effects + self.assign(now)

    def returned(self, index: int, news: Returned, now: float) -> list[Effect]:
        """A child has done some of its jobs, in order."""
        child = self.children[index]
        effects: list[Effect] = []
        start = 0
        for batch, first, last in child.done(len(news.codes)):
            part = news.part(start, start + last - first)
            start += last - first
            batch.employer.paced(sum(part.works) / len(part.works))
            effects += self._deliver(batch, first, part, now)
        # The next job first: the child waits for it, and what it has done can wait for a moment.
        return self.assign(now) + effects

    def child_died(self, index: int, token: int | None, why: dict[str, Any], now: float) -> list[Effect]:
        """A child is gone. ``token``: the job that it was running; the rest of its jobs go back to the queue."""
        child = self.children[index]
        ranges = child.gone()
        effects: list[Effect] = []
        code = Code.OVERRAN if child.overran else Code.CRASHED
        child.overran = False
        for part in reversed(ranges):
            at = -1 if token is None else token - part.batch.token
            if not part.start <= at < part.stop:
                self._requeue(part)
                continue
            self._requeue(Range(part.batch, at + 1, part.stop))
            self._requeue(Range(part.batch, part.start, at))
            effects.append(self._report(part.batch, range(at, at + 1), code, now, why))
        return effects + self.assign(now)

    def observed(self, index: int, token: int | None, moved_at: float, progress: float, now: float) -> list[Effect]:
        """Which job a child is at, when it last gave a sign, and its filter's progress.

        One that gives no sign for its job's time-to-run is to be killed, once.
        """
        self._awake(now)
        child = self.children[index]
        child.observe(token, moved_at, progress)
        ttr_s = child.overdue(now)
        if ttr_s is None:
            return []
        child.overran = True
        return [Kill(index, f"it ran for longer than its time-to-run of {ttr_s * 1000:.0f} ms")]

    # -- time and leaving

    def tick(self, now: float) -> list[Effect]:
        """Several times a second: beats, greetings, and ventilators that have gone silent."""
        effects: list[Effect] = []
        self._awake(now)
        for index in self._beats.silent(now):
            employer = self.employers[index]
            employer.hello_at = now
            effects.append(Log("ventilator_gone", str(index), {"ventilator": index, "reason": "silent"}))
        for employer in self.employers:
            if employer.lane and now - employer.beat_at >= self._beats.interval_s:
                effects.append(Tell(employer.index, self._beat(employer)))
                employer.beat_at = now
            if not self.leaving and self._unheard(employer, now):
                effects += self._hello(employer, now)
        return effects + self.assign(now)

    def leave(self, now: float) -> list[Effect]:
        """Stop: take nothing more, hand back what is not started. What runs is finished and reported."""
        self.leaving = True
        effects: list[Effect] = []
        for employer in self.employers:
            if employer.lane:
                effects.append(Tell(employer.index, self._beat(employer)))
            effects += [
                self._report(part.batch, range(part.start, part.stop), Code.RELEASED, now) for part in employer.queue
            ]
            employer.queue.clear()
        return effects

    def hand_back(self, now: float) -> list[Effect]:
        """Stop at once: hand back what runs, too. Its children are to be killed by the caller."""
        effects = self.leave(now)
        for child in self.children:
            for part in child.gone():
                effects.append(self._report(part.batch, range(part.start, part.stop), Code.RELEASED, now))
        return effects

    def farewell(self, reason: str) -> list[Effect]:
        """Say BYE to every ventilator: the last message."""
        return [
            Tell(employer.index, Bye(boot=employer.boot, lane=employer.lane, reason=reason))
            for employer in self.employers
            if employer.lane
        ]

    @property
    def idle(self) -> bool:
        """Whether no child has anything to do."""
        return not any(child.ranges for child in self.children)

    def assign(self, now: float) -> list[Effect]:
        """Give waiting jobs to children with room, ventilators in turn."""
        effects: list[Effect] = []
        if self.blocked or not any(employer.queue for employer in self.employers):
            return effects
        for depth in (1, 2):
            for child in self.children:
                while child.ready and len(child.ranges) < min(depth, child.depth):
                    part = self._next(idle=not child.ranges)
                    if part is None:
                        return effects
                    if not child.ranges:
                        child.moved_at = now
                    child.ranges.append(part)
                    effects.append(Assign(child.index, part.batch, part.start, part.stop))
        return effects

    # -- inside

    def _next(self, *, idle: bool) -> Range | None:
        """Cut a piece of work for a child, ``idle`` or not, off the queue of the ventilator whose turn it is.

        Single jobs are for idle children only: given is started, so that a dead worker's running jobs are known. Their
        ventilator keeps its turn until one is idle: another's short jobs would never let it be.
        """
        for _ in self.employers:
            turn = (self._turn + 1) % len(self.employers)
            employer = self.employers[turn]
            queue = employer.queue
            if not queue or not employer.sinks:
                self._turn = turn
                continue  # without sinks, results would have nowhere to go: the jobs wait until a welcome names them
            if not idle and (queue[0].batch.single or not employer.quick):
                return None
            self._turn = turn
            waiting = sum(part.stop - part.start for part in queue)
            size = 1 if queue[0].batch.single else min(employer.chunk(), ceil(waiting / len(self.children)))
            return cut(queue, size)
        return None

    def _deliver(self, batch: Batch, first: int, news: Returned, now: float) -> list[Effect]:
        """Push what was kept, then report all: a sink's word may overtake the report, never the other way round."""
        effects: list[Effect] = []
        jobs = len(news.codes)
        parcels = Parcels(news)
        kept, sinks = parcels.kept, len(batch.employer.sinks)
        for sink in range(sinks):
            mine = kept if sinks == 1 else [at for at in kept if batch.keys[(first + at) * KEY_BYTES] % sinks == sink]
            for part in parcels.fitting(mine):
                address = batch.employer.sinks[sink]
                effects.append(Push(address, self._results(batch, first, news, part, now)))
        report = self._reported(
            batch,
            seqs=batch.seqs[first : first + jobs],
            attempts=batch.attempts[first : first + jobs],
            codes=news.codes,
            work_ms=sum(news.works),
            reasons={str(at): why for at, why in news.reasons.items()},
            carries=parcels.carries(),
            now=now,
        )
        if report is not None:
            effects.append(report)
        return effects

    def _results(self, batch: Batch, first: int, news: Returned, kept: list[int], now: float) -> Results:
        started_ms = (now - batch.arrived) * 1000
        drawn = [at for at in kept if at in news.pictures] if news.pictures else []
        numbers = {at: number for number, at in enumerate(drawn)}
        whole = len(kept) == len(news.codes)

        def pick(column: list[Any]) -> list[Any]:
            return column if whole else [column[at] for at in kept]

        def cut(column: list[Any]) -> list[Any]:
            return column[first : first + len(kept)] if whole else [column[first + at] for at in kept]

        return Results(
            ledger=batch.ledger,
            worker=self.name,
            chain=batch.chain,
            chain_version=self.versions.get(batch.chain, ""),
            seqs=cut(batch.seqs),
            attempts=cut(batch.attempts),
            keys=batch.keys_of(first, first + len(kept))
            if whole
            else b"".join(batch.keys_of(first + at, first + at + 1) for at in kept),
            uris=cut(batch.uris),
            sizes=cut(batch.sizes),
            waits=[
                wait + started_ms - work if work < started_ms else wait
                for wait, work in zip(cut(batch.waits), pick(news.works), strict=True)
            ],
            reads=pick(news.reads),
            works=pick(news.works),
            widths=pick(news.widths),
            heights=pick(news.heights),
            formats=pick(news.formats),
            digests=pick(news.digests),
            notes=pick(news.notes),
            media=pick(news.media),
            pictures=[numbers.get(at, -1) for at in kept] if drawn else [-1] * len(kept),
            images=tuple(news.pictures[at] for at in drawn),
        )

    def _report(
        self, batch: Batch, places: range, code: Code, now: float, why: dict[str, Any] | None = None
    ) -> Effect:  # fmt: skip
        """Report the same outcome for a range of a batch."""
        effect = self._reported(
            batch,
            seqs=[batch.seqs[at] for at in places],
            attempts=[batch.attempts[at] for at in places],
            codes=bytes([code]) * len(places),
            work_ms=0.0,
            reasons={str(at): why for at in range(len(places))} if why else {},
            carries={},
            now=now,
        )
        return effect if effect is not None else Log("outcome_late", batch.chain, {"jobs": len(places)})

    def _reported(
        self, batch: Batch, *, seqs: list[int], attempts: list[int], codes: bytes, work_ms: float,
        reasons: dict[str, Any], carries: dict[str, int], now: float,
    ) -> Effect | None:  # fmt: skip
        employer = batch.employer
        if batch.boot != employer.boot or batch.lane != employer.lane:
            return None  # the lane is gone, and nobody waits for this report
        employer.serial += 1
        message = Outcomes(
            boot=batch.boot, lane=batch.lane, serial=employer.serial, seqs=seqs, attempts=attempts, codes=codes,
            work_ms=work_ms, reasons=reasons, carries=carries,
        )  # fmt: skip
        employer.unconfirmed.append((now, message))
        return Tell(employer.index, message)

    def _awake(self, now: float) -> None:
        """Note that time goes on; a long pause says that this process was frozen, perhaps with its children."""
        slept_s, self._awake_at = now - self._awake_at, now
        if slept_s > FROZEN_S:
            for child in self.children:
                child.moved_at = min(now, child.moved_at + slept_s)

    def _requeue(self, part: Range) -> None:
        employer = part.batch.employer
        if part.start < part.stop and part.batch.boot == employer.boot and part.batch.lane == employer.lane:
            employer.queue.appendleft(part)

    def _welcome(self, employer: Employer, message: Welcome, now: float) -> list[Effect]:
        effects: list[Effect] = []
        known = (employer.boot, employer.lane) == (message.boot, message.lane)
        if message.sinks or not known:
            employer.sinks = message.sinks
        interval_s = message.limits.get("beat_interval_ms", 1000) / 1000
        self._beats.interval_s = max(0.01, interval_s)
        self._beats.patience_s = self._beats.interval_s * max(2, message.limits.get("beats_missed_max", 3))
        if known:
            return self.assign(now)
        if self.leaving or (message.boot, message.lane) == employer.left:
            # Nothing more is wanted; or it has not noticed that this lane was left, and what is there would be lost.
            bye = Bye(boot=message.boot, lane=message.lane, reason="left that lane")
            return [Tell(employer.index, bye), *self._hello(employer, now)]
        effects += self._leave_lane(employer)
        employer.join(message.boot, message.lane, now)
        effects.append(ConnectLane(employer.index, message.lane, message.address))
        fields = {"ventilator": employer.index, "name": message.name, "lane": message.lane}
        effects.append(Log("ventilator_up", str(employer.index), fields))
        return effects

    def _refused(self, employer: Employer, message: Refuse, now: float) -> list[Effect]:
        """A ventilator says no, unless that answers an earlier HELLO than the one that brought the lane.

        Whoever has a lane is welcomed again. To leave it would look like a death there, and cost a job an attempt; if
        another process refuses, which knows of no lane, its WHO to the next beat says so.
        """
        if employer.lane and not message.final:
            return []
        employer.hello_at = now + REFUSED_AGAIN_S
        why = {"ventilator": employer.index, "reason": message.reason}
        return [*self._leave_lane(employer), Log("worker_refused", str(employer.index), why)]

    def _leave_lane(self, employer: Employer) -> list[Effect]:
        """Forget a lane that is gone: its queued jobs are others' now. What runs is finished; its results may win."""
        if not employer.lane:
            return []
        lane = employer.lane
        employer.left = employer.boot, lane
        employer.join(b"", 0, 0.0)
        return [CloseLane(employer.index, lane)]

    def _unheard(self, employer: Employer, now: float) -> bool:
        """Whether it is time to greet a ventilator that has not answered, not for long, or without naming its sinks.

        While results wait, its word of where a sink is now may be what was lost; to a HELLO it says so again.
        """
        watched = self._beats.age_s(employer.index, now) is not None
        served = employer.lane and employer.sinks and watched and not self.blocked
        return self.filters is not None and now >= employer.hello_at and not served

    def _hello(self, employer: Employer, now: float) -> list[Effect]:
        if self.filters is None or self.leaving:
            return []
        employer.hello_at = now + HELLO_AGAIN_S
        procs = len(self.children)
        hello = Hello(
            role="worker", name=self.name, boot=self.boot, host=self.host, procs=procs, filters=self.filters,
            reads=self.reads,
        )  # fmt: skip
        return [Tell(employer.index, hello)]

    def _beat(self, employer: Employer) -> Beat:
        running = [child for child in self.children if child.serves(employer)]
        return Beat(
            boot=employer.boot,
            lane=employer.lane,
            queued=sum(part.stop - part.start for part in employer.queue),
            leaving=self.leaving,
            seqs=[child.seq() for child in running],
            progress=[child.progress for child in running],
            alive=[child.seq() for child in running if child.moved_at >= employer.beat_at],
        )
