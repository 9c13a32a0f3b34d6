"""A worker's duty: which child gets what, in whose turn, and what it says to ventilators."""

from zgrid.protocol import agent_effects
from zgrid.protocol.assignment import Returned
from zgrid.protocol.duty import Duty
from zgrid.protocol.messages import Bye, Code, Hello, Jobs, Refuse, Welcome, Who

BOOT = b"ventboot"
LEDGER = b"l" * 16


def employed() -> Duty:
    """Return a worker with one child and a lane."""
    duty = Duty("w", b"workboot", "here", 1, 1)
    duty.child_ready(0, {"null": "1"}, 1.0)
    duty.received(0, welcome(), 2.0)
    return duty


def welcome(lane: int = 3, sinks: tuple[str, ...] = ("tcp://sink:1",)) -> Welcome:
    """Return a ventilator's welcome."""
    return Welcome(name="v", boot=BOOT, lane=lane, address="tcp://*:5601", sinks=list(sinks))


def jobs(seqs: list[int], *, single: bool = True) -> Jobs:
    """Return jobs on lane 3."""
    count = len(seqs)
    return Jobs(
        boot=BOOT, ledger=LEDGER, lane=3, chain="null", ttr_ms=1000, single=single, seqs=seqs, attempts=[1] * count,
        keys=bytes(16 * count), uris=["file:///a"] * count, sizes=[1] * count, mtimes_ns=[0] * count, waits=[0] * count,
    )  # fmt: skip


def done(count: int, work_ms: float = 1.0) -> Returned:
    """Return what a child says of so many kept jobs."""
    return Returned.plain(bytes(count), [0.0] * count, [work_ms] * count)


def busy() -> Duty:
    """Return a worker with one child and two ventilators, the first of which keeps it busy with short jobs."""
    duty = Duty("w", b"workboot", "here", 1, 2)
    duty.child_ready(0, {"null": "1"}, 1.0)
    for index in (0, 1):
        duty.received(index, welcome(), 2.0)
    duty.work(0, jobs([1], single=False), 3.0)
    duty.returned(0, done(1), 3.1)
    duty.work(0, jobs(list(range(2, 1002)), single=False), 3.2)
    return duty


def test_a_report_tells_what_results_carry() -> None:
    """Pictures and notes, by index; of jobs that have neither, or are not kept, nothing is told."""
    duty = employed()
    duty.work(0, jobs([1, 2, 3, 4], single=False), 3.0)
    duty.returned(0, done(1), 3.1)
    news = done(3)
    news.codes = bytes([Code.FINISHED, Code.DISCARDED, Code.FINISHED])
    news.notes[2] = {"faces": []}
    news.media[2], news.pictures[2] = "image/jpeg", bytes(90)
    effects = duty.returned(0, news, 3.2)
    (report,) = [one.message for one in effects if isinstance(one, agent_effects.Tell)]
    assert report.carries == {"2": 90 + len("{'faces': []}")}


def test_a_welcome_to_a_lane_that_was_left() -> None:
    """A worker says BYE to a lane that it has left, so that its jobs go elsewhere, and greets again."""
    duty = employed()
    duty.received(0, Who(boot=BOOT), 3.0)
    said = [effect.message for effect in duty.received(0, welcome(), 4.0) if isinstance(effect, agent_effects.Tell)]
    assert [type(message) for message in said] == [Bye, Hello]
    assert said[0].lane == 3


def test_a_leaving_worker_takes_no_new_lane() -> None:
    """A welcome that comes when the worker is on its way out is answered with BYE, and nothing is connected."""
    duty = employed()
    duty.leave(3.0)
    (effect,) = duty.received(0, welcome(lane=4), 4.0)
    assert isinstance(effect, agent_effects.Tell)
    assert isinstance(effect.message, Bye)
    assert effect.message.lane == 4


def test_jobs_wait_for_the_names_of_the_sinks() -> None:
    """Without sinks no job is begun or handed back; the worker asks for their names until a welcome brings them."""
    duty = Duty("w", b"workboot", "here", 1, 1)
    duty.child_ready(0, {"null": "1"}, 1.0)
    duty.received(0, welcome(sinks=()), 2.0)
    assert duty.work(0, jobs([1]), 2.1) == []
    asked = [effect.message for effect in duty.tick(3.5) if isinstance(effect, agent_effects.Tell)]
    assert Hello in map(type, asked)
    begun = duty.received(0, welcome(), 4.0)
    assert [type(effect) for effect in begun] == [agent_effects.Assign]


def test_single_jobs_are_for_idle_children_only() -> None:
    """However short jobs are: one that is sent singly is given only when it can start, so the order tells who ran."""
    duty = employed()
    duty.work(0, jobs(list(range(1, 5)), single=False), 3.0)
    duty.returned(0, done(1), 3.1)
    duty.returned(0, done(3), 3.2)
    effects = duty.work(0, jobs([5, 6]), 3.3)
    assert [type(effect) for effect in effects] == [agent_effects.Assign]
    effects = duty.returned(0, done(1), 3.4)
    assert [(effect.start, effect.stop) for effect in effects if isinstance(effect, agent_effects.Assign)] == [(1, 2)]


def test_a_child_gets_several_jobs_at_a_time_unless_each_is_long() -> None:
    """Of jobs of 10 ms a child gets 50 ms' worth, and as many to go on with; of jobs of 60 ms one, and no other."""
    for work_ms, given in ((10.0, [(0, 5), (5, 10)]), (60.0, [(0, 1)])):
        duty = employed()
        duty.work(0, jobs([1], single=False), 3.0)
        duty.returned(0, done(1, work_ms), 3.1)
        effects = duty.work(0, jobs(list(range(2, 14)), single=False), 3.2)
        assigned = [(one.start, one.stop) for one in effects if isinstance(one, agent_effects.Assign)]
        assert assigned == given, work_ms


def test_single_jobs_of_one_ventilator_have_their_turn() -> None:
    """While another's short jobs keep a child busy: it runs dry for a moment, and the single one is given then."""
    duty = busy()
    duty.work(1, jobs([1, 2]), 3.3)
    given = []
    for _ in range(6):
        (child,) = duty.children
        given.append([(part.batch.employer.index, part.stop - part.start) for part in child.ranges])
        first = child.ranges[0]
        duty.returned(0, done(first.stop - first.start, 10.0), 3.4)
    served = [turn[0][0] for turn in given]
    assert served.count(1) == 2, given
    assert 1 in served[:3], given


def test_short_jobs_keep_their_chunks_beside_another_ventilators_long_ones() -> None:
    """What a chunk is goes by the pace of a ventilator's own jobs; behind a long job nothing waits for its child."""
    duty = busy()
    duty.work(1, jobs([1, 2, 3]), 3.3)
    (child,) = duty.children
    given = []
    for _ in range(6):
        first = child.ranges[0]
        given.append((first.batch.employer.index, first.stop - first.start))
        assert first.batch.employer.index == 0 or len(child.ranges) == 1
        duty.returned(0, done(first.stop - first.start, 1.0 if first.batch.employer.index == 0 else 100.0), 3.4)
    assert given[1:] == [(0, 50), (1, 1), (0, 50), (1, 1), (0, 50)]


def test_an_overtaken_refusal_ends_no_lane() -> None:
    """The answer to an earlier HELLO comes after the WELCOME to a later one: the lane stays, nobody seems to die."""
    duty = employed()
    duty.work(0, jobs([1]), 3.0)
    assert duty.received(0, Refuse(reason="no port is free"), 3.1) == []
    assert duty.employers[0].lane == 3
    assert agent_effects.CloseLane in map(type, duty.received(0, Refuse(reason="its key was revoked", final=True), 3.2))
    without = Duty("w", b"workboot", "here", 1, 1)
    without.child_ready(0, {"null": "1"}, 1.0)
    assert [type(one) for one in without.received(0, Refuse(reason="no port is free"), 2.0)] == [agent_effects.Log]


def test_where_sinks_are_is_asked_again_while_results_wait() -> None:
    """A welcome that names a sink's new place may be lost: each ventilator is greeted once a second until it comes."""
    duty = employed()
    duty.blocked = True
    said = [duty.tick(at) for at in (3.1, 3.5, 4.2)]
    greetings = [[type(one.message) for one in effects].count(Hello) for effects in said]
    assert greetings == [1, 0, 1]
    duty.received(0, welcome(sinks=("tcp://sink:2",)), 4.3)
    assert duty.employers[0].sinks == ["tcp://sink:2"]
    duty.blocked = False
    assert Hello not in [type(one.message) for one in duty.tick(5.5)]
