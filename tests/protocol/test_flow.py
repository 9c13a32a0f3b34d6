"""Credit: a pace that is found from any start, and bounds that hold whatever happens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zgrid.protocol.effects import Send
from zgrid.protocol.flow import SINGLE_WORK_MS, Pace, Terms
from zgrid.protocol.job import State
from zgrid.protocol.lane import Job, Lane, Stage
from zgrid.protocol.messages import Code, Outcomes
from zgrid.protocol.survivors import shares
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row

BOOT = b"ventboot"


def work_off(pace: Pace, per_s: float, batch: int, for_s: float) -> None:
    """Report batches at a steady rate for a while."""
    now = 10.0
    pace.begun(now)
    for _ in range(int(for_s * per_s / batch)):
        now += batch / per_s
        pace.done(batch, batch * 1000 / per_s, now)


@pytest.mark.parametrize("per_s", [2.0, 50.0, 2_000.0, 80_000.0])
@pytest.mark.parametrize("batch", [1, 64])
def test_pace_converges(per_s: float, batch: int) -> None:
    """After two seconds of steady work the pace is within a tenth of the truth, for small and large batches."""
    pace = Pace()
    work_off(pace, per_s, batch, max(2.0, 3 * batch / per_s))
    assert pace.per_s == pytest.approx(per_s, rel=0.1)


def test_pace_follows_a_change() -> None:
    """A worker that becomes ten times slower has a tenth of the credit a second later."""
    pace = Pace()
    work_off(pace, 1000.0, 10, 2.0)
    now = 20.0
    pace.begun(now)
    for _ in range(10):
        now += 0.1
        pace.done(10, 1000.0, now)
    assert pace.per_s == pytest.approx(100.0, rel=0.2)


def test_idle_time_is_not_held_against_a_worker() -> None:
    """A worker that had nothing to do for an hour is as fast as it was before."""
    pace = Pace()
    work_off(pace, 500.0, 5, 2.0)
    pace.begun(4000.0)
    pace.done(5, 10.0, 4000.01)
    assert pace.per_s == pytest.approx(500.0, rel=0.1)


def test_credit_is_never_less_than_two_jobs_for_each_child() -> None:
    """However slow the worker: one job in each child, and one that waits for it."""
    pace = Pace()
    assert pace.credit(4, 0.1) == 8
    pace.done(1, 60_000.0, 60.0)
    assert pace.credit(4, 0.1) == 8


@pytest.mark.parametrize(("work_ms", "procs", "least"), [(0.01, 1, 96), (0.0, 1, 96), (5.0, 2, 40), (25.0, 2, 8)])
def test_a_worker_far_away_has_a_batch_worth_its_message(work_ms: float, procs: int, least: int) -> None:
    """However long the way there and back: what a worker does in the window by its own word it may have, up to 96."""
    pace = Pace()
    assert pace.credit(procs, 0.1) == 2 * procs  # nothing is known yet
    pace.begun(10.0)
    pace.done(2, 2 * work_ms, 11.0)
    assert pace.per_s == pytest.approx(2.0)
    assert pace.credit(procs, 0.1) == procs + least


def test_jobs_go_out_singly_until_they_are_known_to_be_short() -> None:
    """Only measured short jobs are handed over in chunks."""
    pace = Pace()
    assert pace.single
    pace.done(100, 100 * (SINGLE_WORK_MS - 1), 1.0)
    assert not pace.single


def job(seq: int, size: int) -> Job:
    """Return a ready job."""
    return Job(seq, bytes([seq % 256]) * 16, f"file:///{seq}", size, 0, 0, 0, 1, 0)


def lane(procs: int, number: int = 1) -> Lane:
    """Return a lane that is ready."""
    made = Lane(number, b"peer%d" % number, f"worker{number}", "here", procs, {"null": "1"})
    made.stage = Stage.READY
    return made


def test_a_job_for_each_child_and_one_more_may_always_be_unsettled() -> None:
    """Images larger than the whole allowance still flow, and results that wait for the sink count as well."""
    terms = Terms(unsettled_bytes_max=1000)
    mine = lane(2)
    assert mine.fits(3, 50_000, terms)
    assert not mine.fits(4, 50_000, terms)
    mine.finished = {1: job(1, 900), 2: job(2, 900)}
    mine.unsettled_bytes = 1800
    assert mine.fits(2, 50_000, terms)  # none of its children is idle while a sink gathers what they have done
    assert not mine.fits(3, 50_000, terms)
    mine.finished[3] = job(3, 900)
    assert mine.fits(1, 50_000, terms)
    assert not mine.fits(2, 50_000, terms)
    alone = lane(1)
    assert alone.fits(2, 50_000, terms)
    assert not alone.fits(3, 50_000, terms)


def test_idle_children_wait_when_nothing_is_settled() -> None:
    """With a sink that stores nothing, even idle children get no more than the allowance."""
    terms = Terms(unsettled_jobs_max=4)
    mine = lane(2)
    mine.finished = {seq: job(seq, 1) for seq in range(1, 4)}
    assert mine.idle(terms) == 1
    mine.finished[4] = job(4, 1)
    assert mine.idle(terms) == mine.room(terms) == 0


@given(
    st.lists(st.integers(0, 400), max_size=80),
    st.integers(1, 4),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.integers(0, 40),
)
def test_shares_of_a_dead_workers_jobs_are_bounded(sizes: list[int], procs: int, had: list[int], credit: int) -> None:
    """Each survivor gets at most up to twice its own or the dead one's credit; no job is given twice."""
    terms = Terms(unsettled_bytes_max=2000, batch_jobs_max=8, ready_max=16)
    lanes = [lane(procs, number) for number in range(len(had))]
    for number, count in enumerate(had):
        lanes[number].put([job(10_000 + 100 * number + at, 50) for at in range(count)], single=True, now=1.0)
    given_jobs = [job(seq, size) for seq, size in enumerate(sizes, 1)]
    seen: list[int] = []
    for mine, batch in shares(given_jobs, lanes, {1: "null"}, terms, credit):
        assert 0 < len(batch) <= terms.batch_jobs_max
        before = len(mine.sent)
        mine.put(batch, single=True, now=1.0)
        assert len(mine.sent) <= max(before, 2 * max(credit, mine.pace.credit(procs, 0.1)))
        assert mine.unsettled_bytes <= 2 * terms.unsettled_bytes_max
        seen += [one.seq for one in batch]
    assert len(seen) == len(set(seen))


class Floor:
    """A ventilator with workers that take jobs and report them as they are told, and no sink that ever stores."""

    def __init__(self, terms: Terms, procs: list[int], sizes: list[int]) -> None:
        self.now = 100.0
        self.machine = Ventilator(terms, "v", BOOT, b"l" * 16, "here", ["tcp://sink:1"])
        self.delivery = self.machine.delivery
        self.delivery.chains = {1: "null"}
        self.delivery.out.sinks_known = True
        for number, count in enumerate(procs, 1):
            self.delivery.lanes[number] = lane(count, number)
        rows = [
            Row(seq, bytes([seq % 256]) * 16, f"file:///{seq}", size, 0, 0, 0, 1, 0)
            for seq, size in enumerate(sizes, 1)
        ]
        self.serials = dict.fromkeys(self.delivery.lanes, 0)
        self.largest = max(sizes, default=0)
        self.take(self.delivery.loaded(1, rows, self.now, exhausted=True))

    def take(self, effects: list[object]) -> None:
        """Check each batch that goes out."""
        for effect in effects:
            if isinstance(effect, Send):
                self.bounded(effect)

    def bounded(self, effect: Send) -> None:
        """Check a lane's credit in jobs and bytes, and the batch's own limits."""
        terms = self.delivery.terms
        mine = self.delivery.lanes[effect.lane]
        unsettled = len(mine.sent) + len(mine.finished)
        assert len(mine.sent) <= mine.pace.credit(mine.procs, terms.window_ms / 1000)
        assert unsettled <= max(terms.unsettled_jobs_max, 2 * mine.procs)
        assert mine.unsettled_bytes <= terms.unsettled_bytes_max or (
            len(mine.sent) <= mine.procs + 1 and unsettled <= 2 * mine.procs
        )
        assert len(effect.jobs) <= terms.batch_jobs_max
        size = sum(one.size for one in effect.jobs)
        assert size <= max(terms.batch_bytes_max, self.largest)

    def report(self, number: int, jobs: int, code: Code, after_s: float) -> None:
        """A worker reports the first jobs of its lane."""
        mine = self.delivery.lanes[number]
        done = list(mine.sent.values())[:jobs]
        self.now += after_s
        self.serials[number] += 1
        if done:
            message = Outcomes(
                boot=BOOT, lane=number, serial=self.serials[number], seqs=[one.seq for one in done],
                attempts=[one.attempt for one in done], codes=bytes([code]) * len(done), work_ms=after_s * 1000,
            )  # fmt: skip
            self.take(self.delivery.reported(message, self.now))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.lists(st.integers(0, 5000), min_size=1, max_size=300),
    st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(1, 40), st.sampled_from([Code.FINISHED, Code.DISCARDED, Code.FAILED]),
            st.floats(0.0, 0.5),
        ),
        max_size=40,
    ),
    st.sampled_from([(2_000, 8), (20_000, 8192), (1 << 20, 16)]),
)  # fmt: skip
def test_credit_holds_whatever_is_reported(
    procs: list[int], sizes: list[int], reports: list[tuple[int, int, Code, float]], limits: tuple[int, int]
) -> None:
    """Whatever workers report, in whatever pace: no lane ever has more jobs or bytes than its terms allow."""
    terms = Terms(unsettled_bytes_max=limits[0], unsettled_jobs_max=limits[1], batch_jobs_max=16, batch_bytes_max=8000)
    floor = Floor(terms, procs, sizes)
    for number, jobs, code, after_s in reports:
        floor.report(number % len(procs) + 1, jobs, code, after_s)
    sent = [one for mine in floor.delivery.lanes.values() for one in mine.sent.values()]
    assert all(one.state is State.SENT for one in sent)
