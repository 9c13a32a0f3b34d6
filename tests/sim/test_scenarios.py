"""Failures by name, each a short story; test_seeds.py mixes them at random."""

import pytest
from grid import CHAIN, Grid
from stories import counts, failures, only, running, sent, small
from work import offers

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State
from zgrid.protocol.lane import Stage
from zgrid.protocol.messages import Beat, Who


def test_all_goes_well() -> None:
    """Without any fault each job ends as it must, is run once, and is stored once."""
    grid = small({"keep": 30, "discard": 5, "fail": 2}, 2, 2)
    grid.settle(30)
    assert counts(grid) == {State.STORED: 30, State.DISCARDED: 5, State.BURIED: 2}
    assert grid.sinks[0].store.duplicates == 0
    assert set(grid.work.runs.values()) == {1}


def test_what_workers_may_not_read_costs_nothing() -> None:
    """Jobs whose first worker may not read them are done at the second try, and none of them loses an attempt."""
    grid = small({"keep": 10, "unread": 20}, 2, 1)
    grid.settle(30)
    assert counts(grid) == {State.STORED: 30}
    assert failures(grid) == {0}
    assert set(grid.work.runs.values()) == {1, 2}
    assert all(lane.stage is Stage.READY for lane in only(grid).machine.delivery.lanes.values())


def test_worker_dies_before_it_reads_its_jobs() -> None:
    """Jobs that were on the way to a dead worker are done by another one."""
    grid = small({"keep": 20}, 2)
    grid.run_until(lambda: sent(grid) > 0)
    assert not running(grid.workers[0])
    grid.workers[0].crash()
    late = grid.add_worker(2)
    late.start()
    grid.settle()
    assert counts(grid) == {State.STORED: 20}


def test_worker_dies_while_it_runs_jobs() -> None:
    """Only the jobs that it ran are charged, and all are sent to the other worker within 100 ms."""
    grid = small({"keep": 40}, 2, 2, job_s=0.5)
    grid.run_until(lambda: running(grid.workers[0]))
    grid.run(0.3)
    lane = next(lane for lane in only(grid).machine.delivery.lanes.values() if lane.worker == "worker0")
    had = dict(lane.sent)
    grid.told_rate = 1.0
    grid.workers[0].crash()
    grid.run(0.1)
    jobs = only(grid).machine.delivery.window.jobs
    survivor = only(grid).machine.delivery.lanes
    assert all(jobs[seq].state is State.SENT and jobs[seq].lane in survivor for seq in had)
    grid.settle()
    assert failures(grid) == {0, 1}
    assert sum(entry.row.failures for entry in only(grid).ledger._jobs.values()) == 2


def test_worker_dies_after_its_result_before_the_ack() -> None:
    """The sink keeps one row, whoever else does the job again."""
    grid = small({"keep": 10}, 1, 1)
    grid.sinks[0].store_s = 0.5
    grid.run_until(lambda: not grid.sinks[0].machine.idle)
    grid.workers[0].crash()
    grid.workers[1].crash()
    grid.settle()
    assert counts(grid) == {State.STORED: 10}
    assert len(grid.sinks[0].store.rows) == 10


@pytest.mark.parametrize("job_s", [0.05, 0.5])
def test_worker_dies_for_good_without_a_word(job_s: float) -> None:
    """A worker whose machine is off is noticed by its silence, and its jobs go to the other one."""
    grid = small({"keep": 30}, 2, 2, job_s=job_s)
    grid.run_until(lambda: running(grid.workers[0]))
    grid.told_rate = 0.0
    grid.workers[0].crash()
    grid.run(4.5)
    assert [lane.worker for lane in only(grid).machine.delivery.lanes.values()] == ["worker1"]
    grid.settle()
    assert counts(grid) == {State.STORED: 30}


def test_ventilator_dies_before_the_commit() -> None:
    """What was not committed was not accepted, and is offered again after the restart."""
    grid = small({"keep": 30}, 2)
    grid.run_until(lambda: only(grid).disk.committing)
    assert not only(grid).accepted
    only(grid).crash()
    grid.settle()
    assert counts(grid) == {State.STORED: 30}


def test_ventilator_dies_with_jobs_at_its_workers() -> None:
    """After its restart late results are taken, and nothing is lost or stored twice."""
    grid = small({"keep": 60}, 2, 2)
    grid.run_until(lambda: sent(grid) > 5)
    only(grid).crash()
    grid.run(1.0)
    grid.settle()
    assert counts(grid) == {State.STORED: 60}
    assert failures(grid) == {0}


def test_ventilator_dies_after_any_effect() -> None:
    """Whichever effect was the last one before its death, the restart makes good for it."""
    for fuse in range(1, 60, 3):
        grid = small({"keep": 20, "discard": 5}, 2, job_s=0.01)
        only(grid).fuse = fuse
        grid.run(2.0)
        grid.settle()
        assert counts(grid) == {State.STORED: 20, State.DISCARDED: 5}


@pytest.mark.parametrize("committed", [True, False])
def test_sink_dies_before_the_ack(*, committed: bool) -> None:
    """A result that is lost with the sink is made again; one that was committed is found there."""
    grid = small({"keep": 10}, 2)
    sink = grid.sinks[0]
    sink.store_s = 0.2
    grid.run_until(lambda: not sink.machine.idle)
    grid.rng.random = lambda: 0.1 if committed else 0.9  # type: ignore[method-assign]
    sink.crash()
    del grid.rng.random
    assert bool(sink.store.rows) == committed
    grid.settle()
    assert counts(grid) == {State.STORED: 10}


def test_sink_dies_with_results_in_flight() -> None:
    """Results that nobody took are asked for and made again, without a charge."""
    grid = small({"keep": 40}, 2, 2, sinks=2)
    grid.run_until(lambda: len(grid.sinks[0].store.rows) > 3)
    for _ in range(3):
        grid.sinks[0].crash()
        grid.run(0.2)
        grid.sinks[0].start()
        grid.run(0.3)
    grid.settle()
    assert counts(grid) == {State.STORED: 40}
    assert failures(grid) == {0}


def test_sink_moves_and_a_worker_misses_it() -> None:
    """A worker that has not heard of a sink's new intake is told again when its results do not arrive."""
    grid = small({"keep": 60}, 1)
    grid.run_until(lambda: len(grid.sinks[0].store.rows) > 3)
    control = next(iter(only(grid).controls.values()))
    control.cut()
    control.broken = True
    grid.sinks[0].moves = True
    grid.sinks[0].crash()
    grid.sinks[0].start()
    grid.run(1.5)
    control.broken = False
    control.connect()
    grid.run_until(lambda: grid.settled, 15.0)
    grid.settle()
    assert counts(grid) == {State.STORED: 60}


def test_full_disk_at_the_sink_stops_nothing_for_good() -> None:
    """Results wait, credit ends, memory stays bounded, and everything is stored when there is space again."""
    terms = Terms(batch_jobs_max=8, ready_max=64, ttr_ms=2000, unsettled_jobs_max=16)
    grid = small({"keep": 100}, 2, terms=terms)
    grid.sinks[0].broken = True
    grid.run(20.0)
    assert not counts(grid).get(State.STORED), "a store that failed was acknowledged"
    grid.sinks[0].broken = False
    grid.settle()
    assert counts(grid) == {State.STORED: 100}
    assert failures(grid) == {0}


def test_suspended_worker_comes_back() -> None:
    """A suspended worker's jobs go elsewhere; it is welcomed back, its late results too, and nothing is buried."""
    grid = small({"keep": 40}, 2, 2, job_s=0.2)
    grid.run_until(lambda: running(grid.workers[0]))
    grid.workers[0].suspend(10.0)
    grid.run(12.0)
    assert len(only(grid).machine.delivery.lanes) == 2
    grid.settle()
    assert counts(grid) == {State.STORED: 40}
    assert grid.sinks[0].store.duplicates > 0


def test_suspended_worker_does_not_blame_its_children() -> None:
    """A machine that slept for longer than the time-to-run kills none of its children for that."""
    grid = small({"keep": 10}, 2, job_s=1.0)
    grid.run_until(lambda: running(grid.workers[0]))
    grid.workers[0].suspend(2.5)
    grid.run(3.0)
    grid.settle()
    assert set(grid.work.runs.values()) == {1}
    assert failures(grid) == {0}


def test_frozen_ventilator_blames_nobody() -> None:
    """A ventilator that slept for long takes no worker for silent and no job for overdue."""
    grid = small({"keep": 60}, 2, 2, job_s=0.2)
    grid.run_until(lambda: sent(grid) > 4)
    lanes = set(only(grid).machine.delivery.lanes)
    only(grid).freeze(60.0)
    grid.run(61.0)
    assert set(only(grid).machine.delivery.lanes) == lanes
    grid.settle()
    assert set(grid.work.runs.values()) == {1}
    assert failures(grid) == {0}


def test_cut_lane_is_no_attempt() -> None:
    """A worker that only lost its lane comes back on another one, and its jobs get their attempt back."""
    grid = small({"keep": 60}, 2, 2, job_s=0.3)
    for _ in range(4):
        grid.run_until(lambda: running(grid.workers[0]) and bool(grid.workers[0].lanes))
        grid.workers[0].cut_lane(0, told=True)
        grid.run(0.5)
    grid.settle()
    assert counts(grid) == {State.STORED: 60}
    assert failures(grid) == {0}


def test_two_workers_of_one_name() -> None:
    """Two workers with the same name are two workers, told apart by a number."""
    grid = Grid(1)
    grid.add_sink()
    grid.add_ventilator({"keep": 30})
    for _ in range(3):
        grid.add_worker(1, name="twin")
    grid.start()
    grid.run_until(lambda: len(only(grid).machine.delivery.lanes) == 3)
    names = {lane.worker for lane in only(grid).machine.delivery.lanes.values()}
    assert names == {"twin", "twin#2", "twin#3"}
    grid.settle()


def test_everything_is_said_twice_and_late() -> None:
    """Repeated and shuffled control messages change nothing: late ones are counted."""
    grid = small({"keep": 60, "discard": 10, "trouble": 4}, 2, 2)
    grid.weather.hostile = True
    grid.weather.repeat = grid.weather.shuffle = 0.5
    grid.run(8.0)
    late = only(grid).machine.delivery.late
    grid.settle()
    assert late["outcome"] > 0
    assert counts(grid) == {State.STORED: 64, State.DISCARDED: 10}


def test_poison_is_buried_and_harms_nobody() -> None:
    """A job that kills its child is buried after three attempts; the jobs around it are never charged."""
    grid = small({"keep": 60, "crash": 3, "once": 3, "hang": 1}, 2, 2, job_s=0.002)
    grid.settle()
    assert counts(grid) == {State.STORED: 63, State.BURIED: 4}
    for entry in only(grid).ledger._jobs.values():
        kind = entry.row.uri.split("/")[3]
        assert entry.row.failures == {"keep": 0, "once": 1, "crash": 3, "hang": 3}[kind]
    runs = [
        count for (_, key), count in grid.work.runs.items() if only(grid).ledger.find(key.hex()).state is State.BURIED
    ]
    assert runs == [3, 3, 3, 3]


def test_leaving_worker_hands_back_what_it_has_not_begun() -> None:
    """A worker that is asked to stop finishes what runs; the rest goes to the other, and nothing is charged."""
    grid = small({"keep": 40}, 2, 2, job_s=0.3)
    grid.run_until(lambda: running(grid.workers[0]))
    grid.workers[0].leave()
    grid.run(2.0)
    assert not grid.workers[0].alive
    assert [lane.worker for lane in only(grid).machine.delivery.lanes.values()] == ["worker1"]
    grid.settle()
    assert failures(grid) == {0}
    assert set(grid.work.runs.values()) == {1}


def test_leaving_worker_meets_a_restarted_ventilator() -> None:
    """A worker on its way out takes no lane of a new ventilator, which would only send jobs to and fro."""
    grid = small({"keep": 20}, 2, job_s=1.2)
    grid.run_until(lambda: running(grid.workers[0]))
    only(grid).crash()
    grid.run(4.0)
    only(grid).start()
    grid.workers[0].leave()
    before = grid.clock.steps
    grid.run(3.0)
    assert grid.clock.steps - before < 1000
    assert "worker_joined" not in {log.event for log in only(grid).log}
    grid.settle()
    assert failures(grid) == {0}


def test_chain_that_nobody_can_do_waits() -> None:
    """Jobs of a chain that no worker has wait, and the ventilator says which filter is missing."""
    grid = Grid(1)
    grid.add_sink()
    jobs = [(offer, "faces paint", 0) for offer in offers(grid.rng, {"keep": 5})]
    grid.add_ventilator(jobs)
    grid.add_worker(1)
    grid.start()
    grid.run(5.0)
    assert counts(grid) == {State.READY: 5}
    assert only(grid).machine.delivery.out.waiting() == ["chain faces paint: no worker has paint"]
    grid.add_worker(1, filters="faces paint").start()
    grid.settle()
    assert counts(grid) == {State.STORED: 5}


def test_worker_that_never_answers() -> None:
    """A worker that takes jobs and beats but starts none loses them to another one, and they are not charged."""
    grid = small({"keep": 12}, 2)
    grid.workers[0].mute = True
    grid.run_until(lambda: sent(grid) > 0)
    grid.add_worker(2).start()
    grid.run_until(lambda: grid.settled, 90.0)
    grid.settle()
    assert counts(grid) == {State.STORED: 12}
    assert failures(grid) == {0}


def test_queue_is_larger_than_memory() -> None:
    """A backlog far beyond the memory's bound is read from the ledger bit by bit, in order."""
    terms = Terms(batch_jobs_max=4, ready_max=8, ttr_ms=2000)
    grid = small({"keep": 300}, 2, job_s=0.01, terms=terms)
    most = 0
    while not grid.settled:
        grid.run(0.02)
        most = max(most, len(only(grid).machine.delivery.window.jobs))
    grid.settle()
    assert most < 60
    assert counts(grid) == {State.STORED: 300}


def test_urgent_jobs_go_first() -> None:
    """Urgent jobs that come last overtake everything that is not sent yet, even where memory is full."""
    grid = Grid(1, job_s=0.05)
    grid.add_sink()
    found = offers(grid.rng, {"keep": 100})
    jobs = [(offer, CHAIN, 0) for offer in found[:80]] + [(offer, CHAIN, -1) for offer in found[80:]]
    grid.add_ventilator(jobs, terms=Terms(batch_jobs_max=2, ready_max=4, ttr_ms=2000))
    grid.add_worker(2)
    grid.start()
    grid.run_until(lambda: len(grid.sinks[0].store.rows) >= 60)
    urgent = {offer.uri for offer in found[80:]}
    first = [row["uri"] for row in list(grid.sinks[0].store.rows.values())[:40]]
    assert urgent <= set(first)
    grid.settle()


def test_trouble_is_tried_again_later() -> None:
    """A job with trouble that may pass waits longer each time, and is stored when it works."""
    grid = small({"trouble": 3}, 2)
    grid.run_until(lambda: counts(grid).get(State.DELAYED) == 3)
    began = grid.clock.now
    grid.run_until(lambda: grid.settled)
    assert 2.0 < grid.clock.now - began < 5.0
    grid.settle()
    assert counts(grid) == {State.STORED: 3}
    assert failures(grid) == {2}


def test_two_ventilators_share_workers_over_one_folder() -> None:
    """Both finish; the sink has one row for each image, and both are told that it is stored."""
    grid = Grid(1)
    grid.add_sink()
    jobs = [(offer, CHAIN, 0) for offer in offers(grid.rng, {"keep": 40})]
    first, second = grid.add_ventilator(jobs), grid.add_ventilator(jobs)
    grid.add_worker(2)
    grid.start()
    grid.settle()
    assert first.ledger.counts()[State.STORED] == second.ledger.counts()[State.STORED] == 40
    assert len(grid.sinks[0].store.rows) == 40


def test_worker_waits_behind_another_ventilators_jobs() -> None:
    """A job that waits long at a worker, because it serves others too, is not given up on when it begins at last."""
    grid = Grid(1, job_s=1.2)
    grid.add_sink()
    grid.add_ventilator({"keep": 12})
    grid.add_ventilator({"keep": 12})
    grid.add_worker(1)
    grid.start()
    grid.settle()
    assert set(grid.work.runs.values()) == {1}


def test_stray_word_of_an_old_ventilator() -> None:
    """A WHO that nobody meant makes a worker leave its lane and join again; nothing is lost and nothing is charged."""
    grid = small({"keep": 40}, 2, job_s=0.2)
    grid.run_until(lambda: running(grid.workers[0]))
    for _ in range(3):
        next(iter(only(grid).controls.values())).down.send(Who(boot=b"olderone"))
        grid.run(0.7)
    grid.settle()
    assert counts(grid) == {State.STORED: 40}
    assert failures(grid) == {0}


def test_beat_for_a_lane_that_is_gone() -> None:
    """A worker that believes in a lane of the past is told where the present one is."""
    grid = small({"keep": 10}, 1)
    grid.run_until(lambda: sent(grid) > 0)
    (peer,) = only(grid).machine.peers
    effects = only(grid).machine.received(peer, Beat(boot=only(grid).boot, lane=77), grid.clock.now)
    assert [type(effect.message).__name__ for effect in effects] == ["Welcome"]
    grid.settle()


def test_restarts_leave_nothing_behind_at_the_sink() -> None:
    """Each ventilator process that ever greeted a sink is forgotten when the next one of its ledger does."""
    grid = small({"keep": 5}, 1)
    for _ in range(20):
        grid.run(0.5)
        only(grid).crash()
        only(grid).start()
    grid.settle()
    assert list(grid.sinks[0].machine.peers) == [only(grid).boot]
