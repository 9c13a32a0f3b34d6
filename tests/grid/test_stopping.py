"""SIGTERM: a process that is asked to stop gives back what it has, ends in order, and nothing is lost or charged."""

import signal
import sqlite3
from contextlib import closing

import photographs
import pytest
from harness import query

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid


@pytest.fixture
def busy(grid, tmp_path):
    """A grid with 200 jobs of 30 ms, some of them stored already."""
    photographs.tiny(tmp_path / "in", 200)
    grid.ventilator(tmp_path / "in", once=True, filter=["marked:work_ms=30"])
    grid.sink()
    grid.worker(procs=2)
    grid.until(lambda: grid.counts()[State.STORED] >= 10, what="some are stored")
    return grid


def check_all_done(grid):
    """See that the ventilator ends with everything stored, once, and nothing charged."""
    assert grid.processes["ventilator"].wait() == 0
    assert len(grid.rows()) == grid.counts()[State.STORED] == 200
    assert not query(grid.ledger, "SELECT seq FROM jobs WHERE failures > 0")
    assert not grid.processes["ventilator"].events("job_retried")


def test_worker_hands_back(busy):
    """A worker that is asked to stop finishes what runs, hands back the rest and ends with 0; another does it."""
    worker = busy.processes["w1"]
    assert worker.kill(signal.SIGTERM) == 0
    assert [line["event"] for line in worker.lines()][-2:] == ["draining", "stopped"]
    history = busy.until(lambda: released(busy) and busy.history(), what="what it gave back is recorded")
    assert not [one for one in history if one.event == "lost"]
    busy.worker("w2", procs=2)
    check_all_done(busy)


def released(grid):
    """Return the jobs that workers have handed back."""
    return [seq for one in grid.history() if one.event == "released" for seq in one.seqs]


def test_second_signal_stops_at_once(grid, tmp_path):
    """A worker whose job would take for ever ends at the second SIGTERM, and its job is not charged."""
    go = tmp_path / "go"
    photographs.tiny(tmp_path / "in", 1, f"wait {go}")
    grid.ventilator(tmp_path / "in", once=True, filter=["marked"])
    grid.sink()
    worker = grid.worker(stop_ms=600_000)
    grid.until(lambda: any(one["sent"] for one in grid.status().get("workers", [])), what="the job is sent")
    worker.send(signal.SIGTERM)
    grid.until(lambda: worker.events("draining"), what="it has heard")
    assert worker.alive
    worker.send(signal.SIGTERM)
    assert worker.wait(5.0) == 0
    go.touch()
    grid.worker("w2")
    assert grid.processes["ventilator"].wait() == 0
    assert not query(grid.ledger, "SELECT seq FROM jobs WHERE failures > 0")
    assert len(grid.rows()) == 1


@pytest.mark.parametrize("role", ["ventilator", "sink"])
def test_others_go_on_after_a_restart(busy, role):
    """A ventilator or sink that is asked to stop under load ends with 0; started again, everything goes on."""
    assert busy.kill(role, signal.SIGTERM) == 0
    events = [line["event"] for line in busy.processes[role].lines()]
    assert events[-1] == "stopped"
    assert "draining" in events[:-1]  # what it had taken in may have been stored in between
    busy.restart(role)
    check_all_done(busy)


def test_all_at_once(busy):
    """All three asked to stop in the same moment end with 0; started again, they do the rest."""
    for process in busy.processes.values():
        process.send(signal.SIGTERM)
    assert {name: process.wait() for name, process in busy.processes.items()} == {"ventilator": 0, "sink": 0, "w1": 0}
    for name in busy.processes:
        busy.restart(name)
    check_all_done(busy)


@pytest.mark.parametrize("role", ["ventilator", "sink"])
def test_told_twice_others_end_at_once(busy, role):
    """A ventilator or sink that is told twice under load ends there and then, with 0; nothing is lost by that."""
    process = busy.processes[role]
    process.send(signal.SIGTERM)
    process.send(signal.SIGINT)
    assert process.wait() == 0
    assert process.lines()[-1]["event"] == "stopped"
    busy.restart(role)
    check_all_done(busy)


def test_second_signal_does_not_wait_for_the_database(busy):
    """A sink whose database somebody has locked waits with what it holds; told twice, it does not."""
    sink = busy.processes["sink"]
    with closing(sqlite3.connect(busy.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        busy.until(lambda: any(one["unsettled"] for one in busy.status()["sinks"]), what="results wait at the sink")
        sink.send(signal.SIGTERM)
        busy.until(lambda: sink.events("draining"), what="it has heard")
        sink.send(signal.SIGTERM)
        assert sink.wait(5.0) == 0
    busy.restart("sink")
    check_all_done(busy)
