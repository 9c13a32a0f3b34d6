"""Who gets which job next: by idle children and credit, and towards the end by who would have done it first."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from zgrid.protocol.effects import Effect, Record, Send
from zgrid.protocol.flow import Terms
from zgrid.protocol.lane import Job, Lane, Stage, filters_of
from zgrid.protocol.survivors import URI_CHARS_PER_BATCH_MAX, shares
from zgrid.protocol.window import Window

OUTLOOK_S = 0.001
"""How old an outlook over a hundred workers may be, and no more for fewer: making one costs a look at each of them."""

ANSWERS_S = 0.1
"""What a worker's first job may take beyond thrice its usual time before nothing is expected of that worker."""


class Outlook(NamedTuple):
    """What is expected of all workers that can do a chain: see ``Dispatch._worth``.

    ``per_s``: jobs that they do per second. ``jobs``: what they have, and one more for each. ``first_s``: when the
    first of them would have done one more.
    """

    at: float
    per_s: float
    jobs: int
    first_s: float


class Dispatch:
    """Gives the window's ready jobs to ``lanes``.

    ``chains``: each chain's text by its number. ``sinks_known``: before that, results would have nowhere to go.
    ``paused`` and ``paused_chains`` (texts): what people have stopped; what is under way goes on. ``stopping``: this
    ventilator or a sink is about to end, and what is under way shall be settled before.
    """

    def __init__(self, terms: Terms, window: Window, lanes: dict[int, Lane]) -> None:
        self.terms = terms
        self.chains: dict[int, str] = {}
        self.sinks_known = True
        self.paused = False
        self.stopping = False
        self.paused_chains: set[str] = set()
        self._window = window
        self._lanes = lanes
        self._outlooks: dict[int, Outlook] = {}

    @property
    def open(self) -> bool:
        """Whether anything may be sent at all."""
        return self.sinks_known and not self.paused and not self.stopping

    def dispatch(self, now: float, lanes: Iterable[Lane] | None = None) -> list[Effect]:
        """Give ready jobs to whoever has room: first to idle children, then by each worker's credit.

        ``lanes``: those whose room has changed; by default all, which costs time for each worker there is.
        """
        effects: list[Effect] = []
        if self._window.ready and self.open:
            candidates = list(self._lanes.values() if lanes is None else lanes)
            # One worker with short jobs gets both in one message: two would cost a thousand workers twice as much.
            if len(candidates) > 1 or (candidates and candidates[0].pace.single):
                for lane in candidates:
                    if lane.idle(self.terms) > 0:
                        self._give(lane, lane.idle(self.terms), now, effects)
            for lane in candidates:
                room = lane.room(self.terms)
                if room > 0 and self._window.ready:
                    share = max(lane.idle(self.terms), -(-self._window.ready // len(self._lanes)))
                    self._give(lane, min(room, share), now, effects)
        return effects

    def overdraw(self, jobs: list[Job], credit: int, now: float) -> list[Effect]:
        """Send a dead worker's jobs to the others at once, beyond their credit: they have waited long enough.

        ``credit``: what the dead one had. What nobody can take now stays as it is.
        """
        effects: list[Effect] = []
        if self.open:
            going = [job for job in jobs if self.chains.get(job.chain) not in self.paused_chains]
            for lane, batch in shares(going, list(self._lanes.values()), self.chains, self.terms, credit):
                single = lane.pace.single or any(job.suspect for job in batch)
                _send(lane, batch, single, now, effects)
        return effects

    def waiting(self) -> list[str]:
        """Say of each chain with ready jobs why nobody gets them: it is paused, or no worker here can do it."""
        sentences = []
        for chain in self._window.shelves:
            if self._window.head([chain]) is None:
                continue
            text = self.chains.get(chain, "")
            if text in self.paused_chains:
                sentences.append(f"chain {text}: it is paused")
            elif not any(lane.can(text) for lane in self._lanes.values()):
                sentences.append(f"chain {text}: {self._lack(text)}")
        return sentences

    def _lack(self, text: str) -> str:
        have = {name for lane in self._lanes.values() for name in lane.filters}
        missing = sorted(filters_of(text) - have)
        if missing and self._lanes:
            return f"no worker has {', '.join(missing)}"
        return "no worker that has all of it is here"

    def _give(self, lane: Lane, room: int, now: float, effects: list[Effect]) -> None:
        """Take up to ``room`` ready jobs that this lane can do, in messages of one chain and one manner each."""
        chains = [chain for chain, shelf in self._window.shelves.items() if shelf.places and self._may(lane, chain)]
        while room > 0:
            room = min(room, self._worth(lane, chains, now))
            batch, single = self._batch(lane, chains, min(room, self.terms.batch_jobs_max))
            if not batch:
                return
            room -= len(batch)
            _send(lane, batch, single, now, effects)

    def _may(self, lane: Lane, chain: int) -> bool:
        text = self.chains.get(chain, "?")
        return text not in self.paused_chains and lane.can(text)

    def _worth(self, lane: Lane, chains: Sequence[int], now: float) -> int:
        """Return how many more jobs this worker may have without keeping all others waiting for it at the end.

        When little is left, a slow worker that takes one more job can be the last to finish by far. So it gets what it
        would have done by the time at which all together have done all, at their measured paces; whoever would be the
        first to finish one more job always gets that one, so no job waits for nobody.
        """
        head = self._window.head(chains)
        if head is None:
            return 0
        shelf = self._window.shelves[head.chain]
        if not shelf.exhausted or not lane.pace.per_s:
            return self._window.ready
        outlook = self._outlook(head.chain, now)
        if not outlook.per_s:
            return self._window.ready
        end_s = max((shelf.ready + outlook.jobs) / outlook.per_s, outlook.first_s)
        if _next_s(lane) > end_s:
            return 0
        return max(1, int(end_s * lane.per_s) - len(lane.sent))

    def _outlook(self, chain: int, now: float) -> Outlook:
        """Return what is expected of the workers that can do this chain, made anew when it is not of just now."""
        outlook = self._outlooks.get(chain)
        if outlook is None or now - outlook.at > OUTLOOK_S * max(1.0, len(self._lanes) / 100):
            text = self.chains.get(chain, "?")
            able = [lane for lane in self._lanes.values() if lane.can(text) and _answers(lane, now)]
            outlook = self._outlooks[chain] = Outlook(
                at=now,
                per_s=sum(lane.per_s for lane in able),
                jobs=sum(len(lane.sent) + 1 for lane in able),
                first_s=min(map(_next_s, able), default=0.0),
            )
        return outlook

    def _batch(self, lane: Lane, chains: list[int], room: int) -> tuple[list[Job], bool]:
        """Take jobs for one message: of one chain and one manner, within all that a message and the lane may have."""
        ahead = self._window.ahead(chains, room)
        if not ahead:
            return [], False
        batch: list[Job] = []
        slow, terms = lane.pace.single, self.terms
        size = chars = 0
        free = terms.unsettled_bytes_max - lane.unsettled_bytes
        bytes_max = min(free, terms.batch_bytes_max)
        first, single = ahead[0], slow or ahead[0].suspect
        for job in ahead:
            if size + job.size > bytes_max:
                if batch and size + job.size > terms.batch_bytes_max:
                    break
                if size + job.size > free and not lane.fits(len(batch) + 1, size + job.size, terms):
                    break
            if batch and (
                (slow or job.suspect) is not single or job.ttr_ms != first.ttr_ms or chars > URI_CHARS_PER_BATCH_MAX
            ):
                break
            size += job.size
            chars += len(job.uri)
            batch.append(job)
        self._window.take(batch)
        return batch, single


def _send(lane: Lane, batch: list[Job], single: bool, now: float, effects: list[Effect]) -> None:
    seqs = lane.put(batch, single=single, now=now)
    effects.append(Record("sent", seqs, lane.worker, lane.id, None))
    effects.append(Send(lane.id, batch, single))


def _answers(lane: Lane, now: float) -> bool:
    """Whether something can be expected of this worker: it has a pace, and its first job is not long overdue."""
    if lane.stage is not Stage.READY or not lane.pace.per_s:
        return False
    return not lane.sent or now - lane.head_since < 3 * (lane.pace.work_ms or 0.0) / 1000 + ANSWERS_S


def _next_s(lane: Lane) -> float:
    """Return in how many seconds this worker would have done one more job."""
    return max((lane.pace.work_ms or 0.0) / 1000, (len(lane.sent) + 1) / lane.per_s)
