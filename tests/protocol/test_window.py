"""The part of the queue that is in memory, against a model that simply keeps all of it."""

from bisect import bisect_right

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State
from zgrid.protocol.lane import Job
from zgrid.protocol.window import FEW, Row, Window

TERMS = Terms(batch_jobs_max=2, ready_max=4)


def row(seq: int, priority: int = 0, chain: int = 1) -> Row:
    """Return an open job as the ledger gives it."""
    return Row(seq, seq.to_bytes(16, "big"), f"file:///{seq}", 10, 0, priority, 0, chain, 0)


def filled(*rows: Row) -> Window:
    """Return a window over a ledger that has just these."""
    window = Window(TERMS)
    for chain in {one.chain for one in rows}:
        window.load(chain, [one for one in rows if one.chain == chain], exhausted=True)
    return window


def order(window: Window, *chains: int) -> list[int]:
    """Take all ready jobs of these chains, in the window's order."""
    taken = []
    while (job := window.head(list(chains))) is not None:
        window.take([job])
        job.state = State.SENT
        taken.append(job.seq)
    return taken


def test_jobs_come_by_priority_and_number() -> None:
    """Urgent jobs come first; among equals the older one."""
    window = filled(row(1, 5), row(2, -1), row(3, 5), row(4, -1))
    assert order(window, 1) == [2, 4, 1, 3]


def test_many_and_few_come_into_one_order() -> None:
    """However many jobs come at once, each goes to its place among those that are there."""
    window = filled(*(row(seq, seq % 3) for seq in range(1, 4 * FEW, 2)))
    window.load(1, [row(seq, seq % 3) for seq in range(2, FEW, 2)], exhausted=True)
    window.load(1, [], exhausted=True)
    assert order(window, 1) == sorted([*range(1, 4 * FEW, 2), *range(2, FEW, 2)], key=lambda seq: (seq % 3, seq))


def test_each_chain_has_its_own_order() -> None:
    """A worker that can do one chain only is not stopped by the other's jobs."""
    window = filled(row(1, chain=1), row(2, chain=2), row(3, chain=1))
    assert order(window, 2) == [2]
    assert order(window, 1, 2) == [1, 3]


def test_a_closed_job_is_passed_over() -> None:
    """A job that was stored while it was ready is not given out again."""
    window = filled(row(1), row(2))
    assert [job.seq for job in window.drop([1, 7])] == [1]
    assert window.ready == 1
    assert order(window, 1) == [2]


def test_what_was_closed_a_moment_ago_is_not_read_back() -> None:
    """The ledger can be read before it has heard that a job is closed: the job stays closed here."""
    window = filled(row(1), row(2))
    assert order(window, 1) == [1, 2]
    window.drop([1])
    window.load(1, [row(1), row(3)], exhausted=True)
    assert order(window, 1) == [3]


def test_what_was_told_as_stored_is_not_opened_by_an_older_answer() -> None:
    """A kick whose answer comes after the sink's word opens nothing; a sink's word of jobs to come closes none."""
    window = filled(row(1), row(2))
    assert [job.seq for job in window.drop([1], stored=True)] == [1]
    assert window.drop([1, 3], stored=True) == []
    window.accept([row(1), row(3)])
    window.load(1, [row(1)], exhausted=True)
    assert order(window, 1) == [2, 3]


def test_a_job_that_is_due_again_is_taken_in() -> None:
    """A job that was postponed, and so dropped, comes back when the ledger says that its time has come."""
    window = filled(row(1))
    assert order(window, 1) == [1]
    window.drop([1])
    window.accept([row(1)])
    assert order(window, 1) == [1]


def test_urgent_jobs_push_others_out() -> None:
    """When too many urgent ones come, the least urgent go back to the disk, and are wanted again later."""
    window = filled(*[row(seq, 9) for seq in range(1, 5)])
    window.accept([row(seq, 0) for seq in range(5, 12)])
    assert window.ready == TERMS.ready_max
    assert not window.shelves[1].exhausted
    assert order(window, 1) == [5, 6, 7, 8]
    assert window.wants() == [1]


def test_a_job_that_was_dropped_and_came_back_goes_to_the_disk_once() -> None:
    """Its old place is still on the shelf when urgent jobs push it out: simulation, seed 51."""
    window = filled(*[row(seq, 9) for seq in range(1, 5)])
    window.drop([4])
    window.accept([row(4, 9)])
    window.accept([row(seq, 0) for seq in range(5, 12)])
    assert order(window, 1) == [5, 6, 7, 8]
    assert 4 not in window.jobs


def test_jobs_handed_back_behind_the_cursor_hide_none_in_front_of_them() -> None:
    """What went back to the disk is read again, even if jobs behind it were in memory all the time."""
    window = filled(*[row(seq) for seq in range(1, 8)])
    out = [window.jobs[seq] for seq in order(window, 1)]
    window.accept([row(seq, -1) for seq in range(11, 20)])
    assert order(window, 1) == [11, 12, 13, 14]
    for job in out:
        job.state = State.READY
        window.back(job)
    window.accept([row(20, -2), row(21, -2)])
    assert window.cursor(1) == (-1, 14)
    assert order(window, 1) == [20, 21]
    assert window.ready > 0
    assert window.wants() == [1]
    window.load(1, [row(seq, -1) for seq in range(15, 19)], exhausted=False)
    assert order(window, 1) == [15, 16, 17, 18]
    window.load(1, [row(19, -1), *(row(seq) for seq in range(1, 4))], exhausted=False)
    assert order(window, 1) == [19, 1, 2, 3]


def test_a_chain_that_nobody_takes_keeps_no_other_on_the_disk() -> None:
    """However many jobs of a paused chain wait in front: those of another are in memory, too."""
    window = filled(*[row(seq, chain=1) for seq in range(1, 5)])
    window.accept([row(seq, chain=1) for seq in range(5, 50)])
    window.accept([row(50, chain=2)])
    assert window.wants() == [2]
    window.load(2, [row(50, chain=2)], exhausted=True)
    assert order(window, 2) == [50]


def test_chains_that_are_done_take_no_room() -> None:
    """A ledger may have seen a thousand chains: those without open jobs are forgotten, and come back when needed."""
    window = Window(TERMS)
    window.know(range(1000))
    for chain in window.wants():
        window.load(chain, [], exhausted=True)
    assert window.wants() == []
    assert not window.shelves
    window.accept([row(1, chain=7)])
    assert window.wants() == [7]


def test_a_batch_is_taken_at_once() -> None:
    """What is ahead is in order, of one chain, up to another chain's turn; what is not taken stays."""
    window = filled(row(1), row(2), row(3, chain=2), row(4), row(5, -1))
    assert [job.seq for job in window.ahead([1, 2], 9)] == [5, 1, 2]
    assert [job.seq for job in window.ahead([1, 2], 2)] == [5, 1]
    window.take(window.ahead([1, 2], 9)[:2])
    assert window.ready == 3
    assert [job.seq for job in window.ahead([1], 9)] == [2, 4]
    assert [job.seq for job in window.ahead([2, 1], 9)] == [2]
    assert window.ahead([], 9) == []


def test_a_closed_job_ends_a_batch_and_is_passed_over_by_the_next() -> None:
    """A place whose job was stored meanwhile is in no batch, and neither is a job twice that has two places."""
    window = filled(row(1), row(2), row(3), row(4))
    window.drop([2])
    assert [job.seq for job in window.ahead([1], 9)] == [1]
    window.take(window.ahead([1], 9))
    assert [job.seq for job in window.ahead([1], 9)] == [3, 4]
    window.drop([3])
    window.accept([row(3)])
    assert order(window, 1) == [3, 4]


def test_more_workers_have_more_jobs_in_memory() -> None:
    """With many workers there is a batch in memory for each of them."""
    window = filled(*[row(seq) for seq in range(1, 4)])
    assert window.room == TERMS.ready_max
    window.workers = 100
    assert window.room == 100 * TERMS.batch_jobs_max


def test_places_of_closed_jobs_do_not_gather() -> None:
    """However many ready jobs are closed by late results, their places on the shelf are swept out."""
    window = filled(row(1))
    for seq in range(2, 500):
        window.accept([row(seq)])
        window.drop([seq])
    assert len(window.shelves[1].places) <= 2 * TERMS.ready_max
    assert order(window, 1) == [1]


class AgainstTheLedger(RuleBasedStateMachine):
    """A window and a ledger: jobs come, go out, come back, are closed; the order is always that of the whole queue."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(TERMS)
        self.ledger: dict[int, Row] = {}
        self.out: dict[int, Job] = {}
        self.last = 0
        self.back_most = 0

    @rule(priorities=st.lists(st.integers(-2, 2), min_size=1, max_size=6))
    def accept(self, priorities: list[int]) -> None:
        """New jobs are on disk, and are told to the window."""
        rows = []
        for priority in priorities:
            self.last += 1
            rows.append(row(self.last, priority, self.last % 2))
        self.ledger.update((one.seq, one) for one in rows)
        self.window.accept(rows)

    @precondition(lambda self: self.window.wants())
    @rule(data=st.data())
    def refill(self, data: st.DataObject) -> None:
        """The ledger gives what is behind a chain's cursor."""
        chain = data.draw(st.sampled_from(self.window.wants()))
        room = self.window.room
        places = sorted((one.priority, one.seq) for one in self.ledger.values() if one.chain == chain)
        behind = places[bisect_right(places, self.window.cursor(chain)) :][:room]
        self.window.load(chain, [self.ledger[seq] for _, seq in behind], exhausted=len(behind) < room)

    @rule()
    def send(self) -> None:
        """The first job goes out, and it is the first of all of its chains that are not out yet."""
        chains = [chain for chain in self.window.shelves if self.window.head([chain])]
        job = self.window.head(chains)
        if job is None:
            wanted = self.window.wants()
            assert all(not shelf.ready or chain in wanted for chain, shelf in self.window.shelves.items())
            assert wanted or len(self.out) == len(self.ledger)
            return
        waiting = min(
            (one.priority, one.seq) for one in self.ledger.values() if one.seq not in self.out and one.chain in chains
        )
        assert (job.priority, job.seq) == waiting
        self.window.take([job])
        job.state = State.SENT
        self.out[job.seq] = job

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """A job is handed back."""
        job = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        job.state = State.READY
        self.window.back(job)

    @precondition(lambda self: self.ledger)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """A job is closed, wherever it is."""
        seq = data.draw(st.sampled_from(sorted(self.ledger)))
        del self.ledger[seq]
        self.out.pop(seq, None)
        self.window.drop([seq])

    @invariant()
    def counts_are_right(self) -> None:
        """READY jobs are counted, each has a place on its shelf, and nothing closed is in memory."""
        ready = [job for job in self.window.jobs.values() if job.state is State.READY]
        assert self.window.ready == len(ready)
        for job in ready:
            assert (job.priority, job.seq) in self.window.shelves[job.chain].places
        assert self.window.jobs.keys() <= self.ledger.keys()

    @invariant()
    def memory_is_bounded(self) -> None:
        """Ready jobs are bounded by the setting and by what came back from workers."""
        self.back_most = max(self.back_most, len(self.out))
        assert self.window.ready <= 2 * TERMS.ready_max + 3 * 2 * self.window.room + self.back_most


TestAgainstTheLedger = AgainstTheLedger.TestCase
TestAgainstTheLedger.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
