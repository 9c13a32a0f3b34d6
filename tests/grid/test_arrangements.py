"""Who comes when, and how many of each: chains that nobody can do, several ventilators, workers and sinks."""

import signal

import photographs
import pytest
from harness import free_port

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid


def test_chain_that_nobody_can_do_waits(grid, tmp_path):
    """Jobs for a filter that no worker has wait; status and log say which it is; a worker that has it does them."""
    photographs.tiny(tmp_path / "in", 10)
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked"])
    grid.sink()
    grid.worker("plain", filter_module=[])
    grid.until_joined("plain")
    waiting = grid.until(lambda: [one for one in grid.status()["waiting"] if "marked" in one], what="status says so")
    assert "no worker has marked" in waiting[0]
    grid.until(
        lambda: any("no worker has marked" in line["reason"] for line in ventilator.events("chain_waiting")),
        what="the log says so",
    )
    assert grid.counts()[State.READY] == 10
    grid.worker("able")
    assert grid.until_settled(10)[State.STORED] == 10
    assert {one.worker for one in grid.history() if one.event == "sent"} == {"able"}
    assert grid.status()["waiting"] == []


def test_two_ventilators_share_a_worker(grid, tmp_path):
    """A worker given two ventilators serves both in turn, and the sink keeps the results of both."""
    addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    ledgers = [tmp_path / f"{number}.sqlite" for number in range(2)]
    for number, (address, ledger) in enumerate(zip(addresses, ledgers, strict=True)):
        photographs.tiny(tmp_path / str(number), 120)
        grid.ventilator(
            tmp_path / str(number), name=f"v{number}", bind=address, ledger=ledger, filter=["marked:work_ms=20"]
        )
    grid.sink()
    grid.worker(to=addresses, procs=2)
    grid.until(lambda: len(grid.rows()) == 240, what="all of both are stored")
    stored = [[one.at_ms for one in grid.history(ledger) if one.event == "stored"] for ledger in ledgers]
    assert max(map(min, stored)) < min(map(max, stored)), "one ventilator was served after the other"
    grid.until(lambda: all(grid.counts(ledger)[State.STORED] == 120 for ledger in ledgers), what="both know it")


def test_two_workers_of_one_name(grid, tmp_path):
    """Two workers that are called the same are two workers, told apart by a number."""
    photographs.tiny(tmp_path / "in", 60)
    grid.ventilator(tmp_path / "in", filter=["marked:work_ms=20"])
    for process in ("a", "b"):
        grid.worker(process, procs=1) if process == "a" else grid.start("worker", "b", grid.processes["a"].words)
    grid.until_joined("a", "a#2")
    grid.sink()  # now there is work: before, the first of them might do all of it
    assert grid.until_settled(60)[State.STORED] == 60
    assert {one.worker for one in grid.history() if one.event == "finished"} == {"a", "a#2"}


def test_workers_come_back_to_a_restarted_ventilator(grid, tmp_path):
    """After kill -9 of the ventilator its workers and sink find the new one at the same port by themselves."""
    photographs.tiny(tmp_path / "in", 150)
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked:work_ms=30"])
    grid.sink()
    workers = [grid.worker(name) for name in ("w1", "w2")]
    grid.until(lambda: grid.counts()[State.STORED] >= 20, what="some are stored")
    ventilator.kill()
    ventilator.start()
    assert ventilator.wait() == 0
    assert len(grid.rows()) == 150
    assert all(len(worker.events("ventilator_up")) >= 1 and worker.alive for worker in workers)
    assert not ventilator.events("job_buried")


def test_sink_started_last(grid, tmp_path):
    """Without a sink nothing is sent and the ventilator says why; when one comes, everything is done."""
    photographs.tiny(tmp_path / "in", 30)
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked"])
    grid.worker()
    grid.until_joined("w1")
    grid.until(lambda: ventilator.events("chain_waiting"), what="the log says what is waited for")
    assert any("no sink answers" in one for one in grid.status()["waiting"])
    assert "sent" not in {one.event for one in grid.history()}
    grid.sink()
    assert grid.until_settled(30)[State.STORED] == 30


def test_two_sinks_share_the_rows(grid, tmp_path):
    """With two sinks each has the rows whose keys are its own, nothing is there twice, even when one was killed."""
    photographs.tiny(tmp_path / "in", 200, "picture 2000")
    addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(2)]
    for number, address in enumerate(addresses):
        (tmp_path / str(number)).mkdir()
        files = {"pictures": tmp_path / str(number) / "pictures", "db": f"sqlite:///{tmp_path}/{number}/results.sqlite"}
        grid.sink(f"s{number}", bind=address, intake_port=free_port(), **files)
    grid.ventilator(tmp_path / "in", sink=addresses, filter=["marked:work_ms=5"])
    grid.worker(procs=2)
    grid.until(lambda: grid.counts()[State.STORED] >= 40, what="some are stored")
    grid.kill("s1", signal.SIGKILL)
    grid.restart("s1")
    assert grid.until_settled(200)[State.STORED] == 200
    rows = [grid.rows(tmp_path / str(number) / "results.sqlite") for number in range(2)]
    assert len(rows[0]) + len(rows[1]) == len({**rows[0], **rows[1]}) == 200
    for number in range(2):
        assert {int(key[:2], 16) % 2 for key, _ in rows[number].values()} == {number}
        assert {picture for _, picture in rows[number].values()} == grid.pictures(tmp_path / str(number) / "pictures")


def test_sink_at_another_port_after_a_restart(grid, tmp_path):
    """A sink whose intake has another port after its restart is found by the workers, and nothing is lost."""
    photographs.tiny(tmp_path / "in", 150)
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked:work_ms=20"])
    grid.sink(intake_port=0)
    worker = grid.worker(procs=2)
    grid.until(lambda: grid.counts()[State.STORED] >= 20, what="some are stored")
    grid.kill("sink")
    grid.restart("sink")
    assert ventilator.wait() == 0
    assert len(grid.rows()) == 150
    worker.send(signal.SIGTERM)
    assert worker.wait(5.0) == 0, "it waited for the sink that is gone"
