"""Stops in order, long absences, clocks that are set, full disks, bad links and strange ports: each a short story."""

import pytest
from grid import Grid
from noise import Strangers
from stories import again, counts, failures, only, running, sent, small

from zgrid.protocol.flow import Terms
from zgrid.protocol.job import State


def test_rolling_restart() -> None:
    """Every process is stopped and started under load, twice: no job is run twice, lost or charged for it."""
    grid = small({"keep": 400, "discard": 40}, 2, 2, 1, job_s=0.1, sinks=2)
    grid.lane_ports = range(5600, 5606)
    grid.run_until(lambda: sum(len(sink.store.rows) for sink in grid.sinks) > 20)
    for process in [*grid.processes, *reversed(grid.processes)]:
        again(grid, process)
    assert not grid.settled, "there was no load in the end"
    grid.settle()
    assert counts(grid) == {State.STORED: 400, State.DISCARDED: 40}
    assert set(grid.work.runs.values()) == {1}
    assert failures(grid) == {0}
    assert not any(sink.store.duplicates for sink in grid.sinks)


def test_sink_that_stops_waits_for_no_dead_ventilator() -> None:
    """A ventilator that died without a word keeps a sink that was asked to stop for a second and no longer."""
    grid = small({"keep": 40}, 2)
    grid.run_until(lambda: len(grid.sinks[0].store.rows) > 3)
    only(grid).crash()
    grid.sinks[0].leave()
    grid.run_until(lambda: not grid.sinks[0].alive, 2.0)
    grid.settle()


def test_sink_that_never_comes_back_is_named() -> None:
    """While a sink that was asked to stop is away, jobs wait, none fails, and the ventilator says for what."""
    grid = small({"keep": 40}, 2)
    grid.run_until(lambda: len(grid.sinks[0].store.rows) > 3)
    grid.sinks[0].leave()
    grid.run_until(lambda: not grid.sinks[0].alive)
    grid.run(600.0)
    assert not sent(grid)
    assert only(grid).machine.waiting() == ["the sink at tcp://sink0:5560 was asked to stop: jobs wait for its return"]
    grid.settle()
    assert set(grid.work.runs.values()) == {1}


def test_no_worker_for_an_hour() -> None:
    """All workers die, and for an hour there is none: jobs wait, nothing fails, and nothing is said about them."""
    grid = small({"keep": 40}, 2, 2)
    grid.run_until(lambda: len(grid.sinks[0].store.rows) > 3)
    for worker in grid.workers:
        worker.crash()
    grid.run(10.0)
    said = len(only(grid).log)
    grid.run(3600.0)
    assert len(only(grid).log) == said
    assert counts(grid).keys() == {State.READY, State.STORED}
    grid.settle()
    assert counts(grid) == {State.STORED: 40}


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
def test_wall_clock_is_set(jump_ms: int) -> None:
    """By an hour, while jobs are delayed, and before a restart: they wait as long as they would have."""
    grid = small({"trouble": 3, "keep": 20}, 2)
    grid.run_until(lambda: counts(grid).get(State.DELAYED) == 3)
    only(grid).set_ms += jump_ms
    grid.run(0.5)
    only(grid).crash()
    only(grid).start()
    grid.run_until(lambda: grid.settled, 12.0)
    grid.settle()
    assert counts(grid) == {State.STORED: 23}
    assert only(grid).log
    assert not {"worker_gone", "worker_silent", "sink_gone"} & {log.event for log in only(grid).log}


def test_full_disk_of_the_ledger_stops_only_what_is_new() -> None:
    """Nothing is accepted while the ledger's disk is full; what was is done, and afterwards all the rest."""
    grid = small({"keep": 120}, 2)
    only(grid).feed_s = 0.5
    grid.run_until(lambda: len(only(grid).accepted) >= 32)
    only(grid).disk.broken = True
    grid.run(10.0)
    accepted = len(only(grid).accepted)
    assert accepted < 120
    assert len(grid.sinks[0].store.rows) == accepted
    only(grid).disk.broken = False
    grid.settle()
    assert counts(grid) == {State.STORED: 120}
    assert set(grid.work.runs.values()) == {1}


@pytest.mark.parametrize("away_s", [10.0, 60.0])
def test_link_is_cut_without_a_word_and_restored(away_s: float) -> None:
    """Nobody is told that a worker's link is cut: after three beats its jobs go elsewhere; it is welcome again."""
    grid = small({"keep": 400}, 2, 2, job_s=0.1)
    grid.run_until(lambda: all(running(worker) for worker in grid.workers))
    control = only(grid).controls[grid.workers[0].boot]
    control.stall()
    control.broken = True
    grid.workers[0].cut_lane(0, told=False)
    grid.run(3.5)
    assert [lane.worker for lane in only(grid).machine.delivery.lanes.values()] == ["worker1"]
    grid.run(away_s - 3.5)
    control.broken = False
    control.resume()
    control.connect()
    grid.run_until(lambda: len(only(grid).machine.delivery.lanes) == 2, 3.0)
    grid.settle()
    assert counts(grid) == {State.STORED: 400}
    assert State.BURIED not in counts(grid)


def test_bad_link() -> None:
    """200 ms each way and 5 % of all control messages lost: it takes time and costs no job anything."""
    grid = small({"keep": 60, "discard": 10}, 2, 2)
    grid.weather.latency_s = grid.lane_weather.latency_s = 0.2
    grid.weather.hostile, grid.weather.loss = True, 0.05
    grid.run_until(lambda: grid.settled, 120.0)
    grid.settle()
    assert counts(grid) == {State.STORED: 60, State.DISCARDED: 10}
    assert failures(grid) == {0}


def test_garbage_from_strangers() -> None:
    """Thousands of words that nobody wants to hear, from peers that do not belong, change nothing."""
    grid = small({"keep": 100, "discard": 20}, 2, 2, job_s=0.1)
    strangers = Strangers(grid)
    while not grid.settled:
        for _ in range(30):
            strangers.speak()
        grid.run(0.1)
    grid.settle()
    assert counts(grid) == {State.STORED: 100, State.DISCARDED: 20}
    assert set(grid.work.runs.values()) == {1}
    assert failures(grid) == {0}
    assert sum(only(grid).machine.unexpected.values()) > 100


def test_ventilator_at_another_address() -> None:
    """A ventilator dies and its ledger is served at an address that its workers have as their second one."""
    grid = Grid(1, job_s=0.1)
    grid.add_sink()
    first, second = grid.add_ventilator({"keep": 60}), grid.add_ventilator({})
    second.ledger = second.disk.ledger = first.ledger
    grid.add_worker(2)
    for process in (*grid.sinks, first, *grid.workers):
        process.start()
    grid.run_until(lambda: len(grid.sinks[0].store.rows) > 10)
    first.crash()
    second.offers = first.offers
    second.start()
    grid.run_until(lambda: first.ledger.counts()[State.STORED] == 60, 20.0)
    assert len(grid.sinks[0].store.rows) == 60
    assert not {entry.row.failures for entry in first.ledger._jobs.values()} - {0}


def test_old_worker_at_the_port_of_another_lane() -> None:
    """A worker that was away connects to the port it had, which is another's lane now: no job waits there for long."""
    grid = small({"keep": 200}, 1, 1, job_s=0.1, terms=Terms(batch_jobs_max=1, ready_max=64, ttr_ms=60_000))
    grid.lane_ports = range(5600, 5602)
    for _ in range(3):
        grid.run_until(lambda: all(running(worker) for worker in grid.workers))
        control = only(grid).controls[grid.workers[0].boot]
        control.stall()  # it hears nothing of what follows, and tries its old lane again and again
        only(grid).crash()
        only(grid).start()
        grid.run(1.5)
        control.resume()
        grid.run(1.0)
    grid.run_until(lambda: grid.settled, 30.0)  # and not after the time-to-run
    grid.settle()
    assert counts(grid) == {State.STORED: 200}
    assert failures(grid) == {0}
