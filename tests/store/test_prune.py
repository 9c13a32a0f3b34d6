"""Jobs that were settled long ago are removed, and nothing else is, while a ventilator goes on with the same ledger."""

import os
import select
import signal
import subprocess
import sys
import time

import damage
import pytest
from damage import NOW

from zgrid.errors import ForeignError, SettingsError, StoreError
from zgrid.protocol.job import Offer, State
from zgrid.store import prune as pruning
from zgrid.store.check import check
from zgrid.store.ledger import Ledger
from zgrid.store.prune import prunable, prune

OLD = (State.STORED, State.DISCARDED, State.CANCELLED)


def offers(*numbers: int) -> list[Offer]:
    return [Offer(f"file:///photos/{number:06d}.jpg", 1000, number) for number in numbers]


@pytest.fixture
def ledger(tmp_path):
    """Yield a ledger with 6000 jobs, of which 5000 are settled at times that are their numbers."""
    made = Ledger(tmp_path / "ledger.sqlite")
    made.chain_id("faces")
    made.accept(offers(*range(1, 6001)), 1, 1)
    made.record("accepted", range(1, 6001), 1)
    for start in range(1, 5000, 100):
        seqs = list(range(start, start + 100))
        made.record("sent", seqs[::2], 2, "w1", 3)
        for seq in seqs[:3]:
            made.charge(seq, 1, "crashed", {}, 3)
        made.settle(seqs, OLD[start // 100 % 3], start)
    made.bury(5001, 3, "broken", {}, 3)
    made.commit()
    yield made
    made.close()


def everything(ledger):
    """Return all that is left of the jobs: numbers, lines of history, evidence."""
    return [
        [one for (one,) in ledger._db.execute(f"SELECT {what} ORDER BY 1")]
        for what in ("seq FROM jobs", "last FROM history", "seq FROM evidence")
    ]


def test_what_is_old_goes(ledger):
    """Settled jobs go with their history and evidence; open, buried and younger ones stay, and numbers are right."""
    counts = ledger.counts()
    before_ms = 4300
    expected = prunable(ledger.path, before_ms)
    assert sum(expected.values()) == 4300
    assert len(everything(ledger)[0]) == 6000
    done = prune(ledger.path, before_ms)
    assert (done.jobs, done.evidence) == (expected, 43 * 3)
    seqs, lines, evidence = everything(ledger)
    assert seqs == list(range(4301, 6001))
    assert min(evidence) == 4301
    assert lines == [*range(4399, 5000, 100), 6000]
    assert [event.event for event in ledger.story(4301)] == ["accepted", "sent"]
    assert ledger.story(300) == []
    assert ledger.counts() == counts
    assert ledger.find("300") is None
    assert check(ledger.path) == []
    assert prune(ledger.path, before_ms) == (dict.fromkeys(OLD, 0), 0, 0)


def test_newest_job_stays(tmp_path):
    """A number is never given twice, also where everything is settled and the ventilator starts anew."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accept(offers(*range(1, 10)), ledger.chain_id("faces"), 1)
    ledger.settle(range(1, 10), State.STORED, 1)
    ledger.commit()
    assert sum(prune(ledger.path, 2).jobs.values()) == 8
    ledger.close()
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.durable_seq == 9
    again = ledger.accept(offers(3, 9), 1, 5)
    assert [(row.seq, row.uri) for row in again] == [(10, offers(3)[0].uri)]
    assert sum(ledger.counts().values()) == 10
    ledger.commit()
    assert check(ledger.path) == []
    ledger.settle([10], State.STORED, 6)
    ledger.accept(offers(11), 1, 7)
    ledger.commit()
    assert prune(ledger.path, 99).jobs[State.STORED] == 2
    assert check(ledger.path) == []
    ledger.close()


def test_job_that_is_taken_up_again_meanwhile_stays(ledger, monkeypatch):
    """What was old when it was looked for, and is open when its turn comes, is not removed."""

    def retried_first(db, patience_s):
        monkeypatch.undo()
        ledger.reopen([101, 102], 1)
        ledger.commit()
        pruning.begin(db, patience_s)

    monkeypatch.setattr(pruning, "begin", retried_first)
    assert sum(prune(ledger.path, 1000).jobs.values()) == 998
    assert [ledger.find(str(seq)).state for seq in (101, 102)] == [State.READY] * 2
    assert check(ledger.path) == []


def test_full_ledger_is_pruned(tmp_path):
    """Images that are waited for stay, in a ledger with everything in it."""
    ledger = damage.full_ledger(tmp_path / "ledger.sqlite")
    ledger.close()
    done = prune(ledger.path, NOW + 100)
    assert sum(done.jobs.values()) == 449
    jobs, images = damage.jobs_of(ledger.path)
    assert {row[9] for row in jobs.values()} == {0, 1, 4}
    assert len(images) == damage.IMAGES
    assert check(ledger.path) == []


def test_refusals(tmp_path, monkeypatch):
    """What is no ledger, or not there, or written by somebody all the time, is said."""
    with pytest.raises(SettingsError, match="is not there"):
        prune(tmp_path / "nothing.sqlite", 1)
    (tmp_path / "photograph.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 500)
    with pytest.raises(ForeignError, match="is no ledger"):
        prune(tmp_path / "photograph.jpg", 1)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.accept(offers(1, 2), 1, 1)
    ledger.settle([1], State.STORED, 1)
    ledger.commit()
    ledger.settle([2], State.STORED, 1)
    monkeypatch.setattr(pruning, "PATIENCE_S", 0.05)
    with pytest.raises(StoreError, match="is locked by another program"):
        prune(ledger.path, 9)
    ledger.commit()
    assert prune(ledger.path, 9).jobs[State.STORED] == 1
    ledger._db.execute("UPDATE meta SET value = 1 WHERE name = 'schema'")
    with pytest.raises(SettingsError, match="start its ventilator once"):
        prune(ledger.path, 9)
    ledger.close()


PRUNE = """
import sys
from pathlib import Path
from zgrid.store.prune import prune
print("ready", flush=True)
sys.stdin.readline()
print(sum(prune(Path(sys.argv[1]), 5000).jobs.values()), flush=True)
"""


@pytest.fixture
def pruner(ledger):
    """Yield another process, which prunes when it is sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRUNE, ledger.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def write(ledger, number):
    """Do what a ventilator does in one turn, and return how long it waited until it could write, in seconds."""
    began = time.monotonic()
    ledger.record("sent", [6000], 2, "w1")
    waited_s = time.monotonic() - began
    seqs = [row.seq for row in ledger.accept(offers(*range(number, number + 20)), 1, 9000)]
    ledger.settle(seqs, State.STORED, 9000)
    ledger.settle([5002 + number % 900], State.STORED, 9000)
    ledger.commit()
    return waited_s


def test_ventilator_goes_on_while_another_process_prunes(ledger, pruner):
    """Both write to the same file: neither is refused, none waits for long, and what both did is there."""
    pruner.stdin.write("\n")
    pruner.stdin.flush()
    waited_s, number = [], 10_000
    deadline = time.monotonic() + 60
    while not select.select([pruner.stdout], [], [], 0.005)[0]:  # the time in which a ventilator gathers
        waited_s.append(write(ledger, number))
        number += 20
        assert time.monotonic() < deadline
    assert pruner.stdout.readline() == "5000\n"
    assert max(waited_s) < 2.0
    assert len(waited_s) > 5
    assert ledger.counts()[State.STORED] >= len(waited_s) * 20
    assert [seq for seq in everything(ledger)[0] if seq <= 5000] == []
    assert check(ledger.path) == []


def test_pruner_that_is_killed_leaves_a_sound_ledger(ledger, pruner):
    """kill -9 in the middle undoes one short transaction; the rest is removed the next time."""
    pruner.stdin.write("\n")
    pruner.stdin.flush()
    deadline = time.monotonic() + 60
    while ledger._db.execute("SELECT count(*) FROM jobs WHERE seq <= 5000").fetchone()[0] == 5000:
        assert time.monotonic() < deadline
    os.kill(pruner.pid, signal.SIGKILL)
    pruner.wait()
    write(ledger, 10_000)
    assert check(ledger.path) == []
    prune(ledger.path, 5000)
    assert [seq for seq in everything(ledger)[0] if seq <= 5000] == []
    assert check(ledger.path) == []
