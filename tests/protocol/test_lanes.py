"""A lane's end as the ventilator's machine sees it: who is charged, and who gets the jobs."""

from dataclasses import replace
from typing import Any

from zgrid.protocol.effects import Bury, Charge, Postpone, Record, Reply, Review, Send, Settle, SettleLate, TellSink
from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State
from zgrid.protocol.lane import Lane, Stage
from zgrid.protocol.messages import Beat, Bye, Code, Hello, Outcomes, Welcome, Who
from zgrid.protocol.retry import UNREAD_TRIES_MAX
from zgrid.protocol.ventilator import Ventilator
from zgrid.protocol.window import Row

BOOT = b"ventboot"
LEDGER = b"l" * 16


def served(jobs: int, lanes: int, terms: Terms | None = None) -> tuple[Ventilator, list[Any]]:
    """Return a ventilator with so many jobs and one-child workers, all heard at 100 s, and what it did."""
    machine = Ventilator(terms or Terms(), "v", BOOT, LEDGER, "here", ["tcp://sink:1"])
    machine.delivery.chains = {1: "null"}
    machine.delivery.out.sinks_known = True
    for number in range(1, lanes + 1):
        lane = Lane(number, b"peer%d" % number, f"worker{number}", "here", 1, {"null": "1"})
        lane.stage, lane.address = Stage.READY, "tcp://*:5601"
        machine.delivery.lanes[number] = lane
        machine.peers[lane.peer] = number
        machine._workers.heard(lane.peer, 100.0)
    machine.tick(100.0)
    rows = [Row(seq, bytes(16), f"file:///{seq}", 1, 0, 0, 0, 1, 0) for seq in range(1, jobs + 1)]
    return machine, machine.delivery.loaded(1, rows, 100.0, exhausted=True)


def charged(effects: list[Any]) -> list[int]:
    """Return the jobs that are charged."""
    return [effect.seq for effect in effects if isinstance(effect, Charge)]


def test_a_dead_workers_first_job_is_charged() -> None:
    """What the worker had surely started costs an attempt, what waited behind it does not."""
    machine, _ = served(2, 1)
    assert list(machine.delivery.lanes[1].sent) == [1, 2]
    assert charged(machine.lane_down(1, 100.5, "disconnected")) == [1]


def test_what_was_sent_to_a_dead_worker_is_not_charged() -> None:
    """A job that was sent in the moment of its worker's death was not started there."""
    machine, _ = served(2, 1)
    assert charged(machine.lane_down(1, 100.05, "disconnected")) == []


def test_a_worker_whose_reports_are_overtaken_has_a_pace_all_the_same() -> None:
    """With a thousand workers the sink's word comes first; without a pace each of them got one job at a time."""
    machine, _ = served(100, 1)
    lane = machine.delivery.lanes[1]
    assert list(lane.sent) == [1, 2]
    machine.delivery.stored([1, 2], 100.1)
    report = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1, 2], attempts=[1, 1], codes=bytes(2), work_ms=0.02)
    effects = machine.received(lane.peer, report, 100.2)
    assert (machine.delivery.late["outcome"], lane.done, lane.unsettled_bytes) == (2, 2, 97)
    assert [len(effect.jobs) for effect in effects if isinstance(effect, Send)] == [97]


def test_message_names_its_speaker_by_lane() -> None:
    """Whatever names a lane is from its worker; what names none, or one of another ventilator's life, from nobody."""
    machine, _ = served(1, 2)
    report = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1], attempts=[1], codes=bytes(1), work_ms=0.0)
    assert machine.speaker(report) == b"peer1"
    assert machine.speaker(Beat(boot=BOOT, lane=2)) == machine.speaker(Bye(boot=BOOT, lane=2)) == b"peer2"
    assert machine.speaker(Beat(boot=BOOT, lane=3)) is machine.speaker(Beat(boot=b"another!", lane=2)) is None
    assert machine.speaker(Who(boot=BOOT)) is None


def test_sink_that_is_reached_is_greeted_at_once() -> None:
    """It answers with its boot: of the same one only what was closed is asked, of another all that is on its way."""
    machine, _ = served(0, 1)
    (hello,) = machine.sink_arrived(0)
    assert isinstance(hello, TellSink)
    assert isinstance(hello.message, Hello)
    welcome = Welcome(name="s", boot=b"sinkboot", address="tcp://sink:2")
    assert any(isinstance(effect, Review) for effect in machine.sink_received(0, welcome, 100.0))
    again = machine.sink_received(0, welcome, 100.1)
    assert [type(effect) for effect in again] == [Review], "an answer over the old connection may have been lost"
    other = Welcome(name="s", boot=b"another.", address="tcp://sink:2")
    assert any(isinstance(effect, Review) for effect in machine.sink_received(0, other, 100.2))


def test_what_was_sent_to_a_silent_worker_is_not_charged() -> None:
    """A job that was sent after its worker's last word may never have come there."""
    machine, _ = served(0, 1)
    machine.tick(101.5)
    machine.delivery.accepted([Row(1, bytes(16), "file:///1", 1, 0, 0, 0, 1, 0)], 102.0)
    assert list(machine.delivery.lanes[1].sent) == [1]
    machine.tick(103.0)
    assert charged(machine.tick(103.1)) == []
    assert not machine.delivery.lanes


def test_workers_that_fall_silent_together_get_none_of_each_others_jobs() -> None:
    """Those that are found silent in one tick are all gone before the first one's jobs are passed on."""
    machine, sent = served(6, 3)
    assert {effect.lane for effect in sent if isinstance(effect, Send)} == {1, 2, 3}
    machine.tick(101.0)
    machine.tick(102.5)
    effects = machine.tick(103.1)
    assert not machine.delivery.lanes
    assert not [effect for effect in effects if isinstance(effect, Send)]


def test_a_leaving_workers_jobs_are_innocent() -> None:
    """When a leaving worker's lane closes before its BYE is read, nothing is charged."""
    machine, _ = served(2, 1)
    machine.received(b"peer1", Beat(boot=BOOT, lane=1, leaving=True), 100.4)
    assert charged(machine.lane_down(1, 100.5, "disconnected")) == []


def withdraw(machine: Ventilator, seqs: list[int], state: State) -> list[Any]:
    """Have people close these jobs."""
    return machine.delivery.withdrawn(seqs, state, 100.2)


def test_a_withdrawn_job_keeps_its_place_at_the_worker_until_it_is_reported() -> None:
    """The child is busy with it all the same; what it makes of it is late, and nothing is charged or sent again."""
    machine, _ = served(3, 1)
    lane = machine.delivery.lanes[1]
    withdraw(machine, [1, 3], State.CANCELLED)
    assert list(lane.sent) == [1, 2]
    assert list(machine.delivery.window.jobs) == [2]
    crashed = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1], attempts=[1], codes=bytes([Code.CRASHED]))
    assert charged(machine.received(b"peer1", crashed, 100.3)) == []
    assert list(lane.sent) == [2]
    assert (lane.unsettled_bytes, machine.delivery.late["outcome"]) == (1, 1)


def test_a_withdrawn_job_that_was_stored_is_stored() -> None:
    """The sink's row is there, whatever people decided while the result was under way."""
    machine, _ = served(1, 1)
    finished = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1], attempts=[1], codes=bytes([Code.FINISHED]))
    machine.received(b"peer1", finished, 100.1)
    withdraw(machine, [1], State.BURIED)
    assert not machine.delivery.finished[0]
    assert machine.delivery.lanes[1].unsettled_bytes == 0
    assert SettleLate([1]) in machine.delivery.stored([1], 100.3)


def test_what_a_sink_says_again_is_late() -> None:
    """Of jobs that are told as stored once more the ledger decides what is new; others are closed as ever."""
    machine, _ = served(2, 1)
    first = machine.delivery.stored([1], 100.1)
    assert [one for one in first if isinstance(one, SettleLate)] == []
    again = machine.delivery.stored([1, 2, 1], 100.2)
    assert again[:3] == [Record("stored", [2], None, None, None), Settle([2], State.STORED, None), SettleLate([1])]


def test_images_count_until_they_are_reported_and_results_until_they_are_stored() -> None:
    """What a kept image leaves to be stored counts on, and of a discarded one nothing, whatever its worker claims."""
    machine, _ = served(3, 1)
    lane = machine.delivery.lanes[1]
    assert (len(lane.sent), lane.unsettled_bytes) == (2, 2)
    codes, carries = bytes([Code.FINISHED, Code.DISCARDED]), {"0": 700, "1": 500, "2": 9, "x": 1, "-1": 7}
    report = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1, 2], attempts=[1, 1], codes=codes, carries=carries)
    machine.received(b"peer1", report, 100.1)
    assert (list(lane.sent), lane.carried, lane.unsettled_bytes) == ([3], {1: 700}, 701)
    machine.received(b"peer1", replace(report, serial=2), 100.2)
    assert lane.unsettled_bytes == 701
    machine.delivery.stored([1], 100.3)
    assert (lane.carried, lane.unsettled_bytes) == ({}, 1)


def test_a_job_brought_back_to_the_worker_that_still_runs_it_counts_once() -> None:
    """Cancelled and taken up again while it runs: its bytes count once, and the first attempt's report is late."""
    machine, _ = served(1, 1)
    lane = machine.delivery.lanes[1]
    withdraw(machine, [1], State.CANCELLED)
    machine.delivery.accepted([Row(1, bytes(16), "file:///1", 1, 0, 0, 0, 1, 0, spent=1)], 100.3)
    assert (list(lane.sent), lane.sent[1].attempt, lane.unsettled_bytes) == ([1], 2, 1)
    old = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1], attempts=[1], codes=bytes([Code.FAILED]))
    machine.received(b"peer1", old, 100.4)
    assert list(lane.sent) == [1]


def test_nothing_of_a_paused_chain_goes_out() -> None:
    """A chain, or all of them: what is at the worker stays there, more does not come until it is resumed."""
    machine, _ = served(0, 1)
    delivery = machine.delivery
    delivery.chains = {1: "null", 2: "null:x=1"}
    delivery.pause("null")
    rows = [Row(seq, bytes(16), f"file:///{seq}", 1, 0, 0, 0, 1 + seq % 2, 0) for seq in (1, 2)]
    for chain in (1, 2):
        delivery.loaded(chain, [row for row in rows if row.chain == chain], 100.1, exhausted=True)
    assert list(delivery.lanes[1].sent) == [1]
    assert delivery.out.waiting() == ["chain null: it is paused"]
    delivery.pause(None)
    delivery.resume("null", 100.2)
    assert list(delivery.lanes[1].sent) == [1]
    assert "the ventilator is paused: zgrid resume lets it go on" in machine.waiting()
    delivery.resume(None, 100.3)
    assert list(delivery.lanes[1].sent) == [1, 2]


def test_a_jobs_own_terms_are_kept() -> None:
    """Jobs of different time-to-run go out in different messages, and a job's own number of attempts decides."""
    machine, _ = served(0, 1)
    rows = [
        Row(1, bytes(16), "file:///1", 1, 0, 0, 0, 1, 0, ttr_ms=50, attempts_max=1),
        Row(2, bytes(16), "file:///2", 1, 0, 0, 0, 1, 0),
    ]
    sent = [effect for effect in machine.delivery.loaded(1, rows, 100.0, exhausted=True) if isinstance(effect, Send)]
    assert [[job.seq for job in effect.jobs] for effect in sent] == [[1], [2]]
    assert [effect.seq for effect in machine.lane_down(1, 101.0, "died") if isinstance(effect, Bury)] == [1]


def test_who_hands_jobs_back_gets_no_more() -> None:
    """A job that is handed back says that its worker leaves, even if the beat that says so was lost."""
    machine, _ = served(2, 1)
    back = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1, 2], attempts=[1, 1], codes=bytes([Code.RELEASED] * 2))
    effects = machine.received(b"peer1", back, 100.1)
    assert not [effect for effect in effects if isinstance(effect, Send)]
    assert machine.delivery.window.ready == 2


def unread(serial: int) -> Outcomes:
    """Return the report of a worker that may not read the image of its job 1."""
    why = {"reason": "is not below --allow", "unread": True}
    return Outcomes(
        boot=BOOT, lane=1, serial=serial, seqs=[1], attempts=[1], codes=bytes([Code.TROUBLED]), reasons={"0": why}
    )


def test_what_a_worker_may_not_read_is_no_attempt_and_travels() -> None:
    """The job is ready again at once, uncharged, for the same worker too; its image goes with it."""
    machine, _ = served(1, 1)
    effects = machine.received(b"peer1", unread(1), 100.1)
    assert not [effect for effect in effects if isinstance(effect, Charge | Postpone | Bury)]
    ((job,),) = [effect.jobs for effect in effects if isinstance(effect, Send)]
    assert (job.seq, job.failures, job.attempt, job.unread, job.suspect) == (1, 0, 1, True, False)
    ((seqs, detail),) = [(one.seqs, one.note) for one in effects if isinstance(one, Record) and one.event == "released"]
    assert (seqs, detail) == ([1], "is not below --allow")
    lane = machine.delivery.lanes[1]
    assert (lane.stage, lane.failed, lane.done, lane.unsettled_bytes) == (Stage.READY, 0, 0, 1)


def test_a_worker_that_cannot_read_what_travelled_is_charged() -> None:
    """Whoever says it again, of bytes that it was sent, does not get the job back for ever."""
    machine, _ = served(1, 1)
    machine.received(b"peer1", unread(1), 100.1)
    machine.received(b"peer1", unread(1), 100.2)
    assert machine.delivery.late["outcome"] == 1, "a report that is repeated is late"
    effects = machine.received(b"peer1", unread(2), 100.3)
    assert [(effect.seq, effect.failures) for effect in effects if isinstance(effect, Postpone)] == [(1, 1)]


def test_a_job_that_waited_long_has_its_full_time_once_it_runs() -> None:
    """The time-to-run counts from when the worker's beats show the first job as running, not from when it was sent."""
    machine, _ = served(1, 1, Terms(ttr_ms=10_000))
    lane = machine.delivery.lanes[1]
    lane.touch({}, 110.0)
    assert not lane.overdue(120.0, machine.terms)
    lane.touch({1: -1.0}, 130.0)
    assert not lane.overdue(144.0, machine.terms)
    lane.touch({1: -1.0}, 145.0)
    assert lane.overdue(145.1, machine.terms)


def test_time_of_the_next_job_begins_when_the_first_cannot_be_read() -> None:
    """A job that never went out takes nothing of the time of the one behind it."""
    machine, _ = served(2, 1, Terms(ttr_ms=10_000))
    lane = machine.delivery.lanes[1]
    machine.delivery.unreadable(1, lane.sent[1], "the file is gone", 130.0, transient=False)
    assert not lane.overdue(174.0, machine.terms)
    assert list(lane.sent) == [2]
    assert lane.unsettled_bytes == 1


def test_a_withdrawn_job_that_cannot_be_read_leaves_the_lane() -> None:
    """It never went out, so no worker will report it; a new attempt at it is not what could not be read."""
    machine, _ = served(1, 1)
    lane = machine.delivery.lanes[1]
    job = lane.sent[1]
    withdraw(machine, [1], State.CANCELLED)
    assert machine.delivery.unreadable(1, job, "the file is gone", 100.2, transient=False) == []
    assert (list(lane.sent), lane.unsettled_bytes) == ([], 0)
    machine.delivery.accepted([Row(1, bytes(16), "file:///1", 1, 0, 0, 0, 1, 0, spent=1)], 100.3)
    assert lane.sent[1] is not job
    assert machine.delivery.unreadable(1, job, "the file is gone", 100.4, transient=False) == []
    assert list(lane.sent) == [1]


def test_an_image_out_of_reach_is_looked_for_until_a_share_can_be_back() -> None:
    """Minutes; then its job is buried. Who asks what the grid waits for is told meanwhile."""
    machine, _ = served(1, 1)
    delivery, row, pauses_ms = machine.delivery, Row(1, bytes(16), "file:///1", 1, 0, 0, 0, 1, 0), []
    while True:
        effects = delivery.unreadable(1, delivery.lanes[1].sent[1], "its folder is gone", 100.0, transient=True)
        (end,) = [effect for effect in effects if isinstance(effect, Postpone | Bury)]
        if isinstance(end, Bury):
            break
        assert "1 image cannot be read for now and is looked for again: its folder is gone" in machine.waiting()
        pauses_ms.append(end.delay_ms)
        delivery.accepted([row._replace(failures=end.failures)], 100.0)
    assert len(pauses_ms) == UNREAD_TRIES_MAX - 1
    assert 5 * 60_000 < sum(pauses_ms) < 15 * 60_000
    assert not delivery.unread


def test_an_image_that_was_out_of_reach_has_all_its_attempts() -> None:
    """No worker has had it meanwhile: one that dies with it now costs it the first attempt, and not its last."""
    machine, _ = served(1, 1)
    delivery = machine.delivery
    for _ in range(UNREAD_TRIES_MAX - 1):
        delivery.unreadable(1, delivery.lanes[1].sent[1], "its folder is gone", 100.0, transient=True)
        delivery.accepted([Row(1, bytes(16), "file:///1", 1, 0, 0, 0, 1, 0)], 100.0)
    delivery.lanes[1].singles.add(1)
    effects = machine.lane_down(1, 200.0, "it died")
    assert [effect.failures for effect in effects if isinstance(effect, Charge)] == [1]
    assert not [effect for effect in effects if isinstance(effect, Bury)]
    delivery.stored([1], 201.0)
    assert not delivery.unread


def test_a_beat_for_another_lane_is_answered_with_the_right_one() -> None:
    """A worker that believes in a lane of the past hears again where the present one is."""
    machine, _ = served(0, 1)
    (effect,) = machine.received(b"peer1", Beat(boot=b"olderone", lane=9), 100.2)
    assert isinstance(effect, Reply)
    assert isinstance(effect.message, Welcome)
    assert effect.message.lane == 1


def test_a_report_of_an_earlier_attempt_is_late() -> None:
    """A repeated report does not end the attempt that has begun since on the same lane."""
    machine, _ = served(1, 1)
    crashed = Outcomes(boot=BOOT, lane=1, serial=1, seqs=[1], attempts=[1], codes=bytes([Code.CRASHED]))
    assert charged(machine.received(b"peer1", crashed, 100.1)) == [1]
    assert machine.delivery.lanes[1].sent[1].attempt == 2
    assert machine.received(b"peer1", crashed, 100.2) == []
    assert machine.delivery.late["outcome"] == 1
    assert list(machine.delivery.lanes[1].sent) == [1]


def test_keys_of_sinks_keep_their_places():
    """Of two sinks one may be a socket without keys: both have a place among the keys; where none has one, neither."""
    machine = Ventilator(Terms(), "v", BOOT, LEDGER, "here", ["ipc:///s", "tcp://sink:1"])
    lane = Lane(1, b"peer1", "worker1", "here", 1, {"null": "1"})
    for sink in machine.sinks:
        sink.intake = sink.address
    assert machine._welcome(lane).sink_keys == b""
    machine.sinks[1].key = b"k" * 32
    assert machine._welcome(lane).sink_keys == bytes(32) + b"k" * 32
