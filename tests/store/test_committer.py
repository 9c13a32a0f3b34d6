"""The thread that waits for the disk in the main loop's place."""

import os
import select
import threading

import pytest

from zgrid.store.committer import Committer, Done

DEADLINE_S = 10


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def wait(reader: int) -> None:
    assert select.select([reader], [], [], DEADLINE_S)[0], "nobody woke the loop"
    os.read(reader, 100)


def test_results_come_in_order_with_their_tokens(pipe):
    """Work runs in another thread, one after the other; a pipe wakes the loop for each."""
    committer = Committer(lambda: os.write(pipe[1], b"."))
    assert not committer.busy
    for number in range(3):
        committer.submit(lambda number=number: (number, threading.current_thread().name), f"token {number}")
    assert committer.busy
    done: list[Done] = []
    while len(done) < 3:
        wait(pipe[0])
        done += committer.take()
    assert done == [Done(f"token {number}", (number, "committer"), None) for number in range(3)]
    assert (committer.busy, committer.pending, committer.close()) == (False, 0, [])


def test_errors_are_results(pipe):
    """Work that raises, even SystemExit, is told to the loop, and the thread goes on."""
    committer = Committer(lambda: os.write(pipe[1], b"."))
    error = SystemExit("stop")

    def fail() -> None:
        raise error

    committer.submit(fail, 1)
    committer.submit(lambda: "fine", 2)
    assert committer.close() == [Done(1, None, error), Done(2, "fine", None)]


def test_pending_until_taken(pipe):
    """The ledger is free only when the loop has seen the result, not already when the thread is done."""
    committer = Committer(lambda: os.write(pipe[1], b"."))
    committer.submit(lambda: None)
    wait(pipe[0])
    assert committer.busy
    assert len(committer.take()) == 1
    assert not committer.busy
    committer.close()


def test_at_moves_on_with_each_piece(pipe):
    """Whoever watches sees whether the thread is still at the same piece of work, and when it has none."""
    committer = Committer(lambda: os.write(pipe[1], b"."))
    gates = [threading.Event(), threading.Event()]
    assert committer.at is None
    for gate in gates:
        committer.submit(lambda gate=gate: gate.wait(DEADLINE_S))
    first = committer.at
    assert first == committer.at is not None
    gates[0].set()
    wait(pipe[0])
    assert committer.at not in {None, first}
    gates[1].set()
    committer.close()
    assert committer.at is None


def test_close_waits_for_all_work():
    """What was submitted is done before `close` returns; closing twice is harmless."""
    gate = threading.Event()
    committer = Committer(lambda: None)
    committer.submit(lambda: gate.wait(DEADLINE_S))
    committer.submit(lambda: "last")
    gate.set()
    assert [done.value for done in committer.close()] == [True, "last"]
    assert committer.close() == []
    assert not committer._thread.is_alive()


def test_wake_that_fails_loses_nothing():
    """A full or closed pipe does not stop the thread."""

    def wake() -> None:
        raise BrokenPipeError

    committer = Committer(wake)
    committer.submit(lambda: 1)
    committer.submit(lambda: 2)
    assert [done.value for done in committer.close()] == [1, 2]


def test_what_goes_well_is_timed(pipe):
    """Whoever wants to hears of each piece that went well how long it took, before the loop hears that it is done."""
    timed = []
    committer = Committer(lambda: os.write(pipe[1], b"."), timed=lambda token, seconds: timed.append((token, seconds)))
    committer.submit(lambda: wait(pipe[0]), "long")
    committer.submit(lambda: 1 / 0, "wrong")
    os.write(pipe[1], b".")
    done = committer.close()
    assert [one.token for one in done] == ["long", "wrong"]
    assert [token for token, _ in timed] == ["long"]
    assert timed[0][1] > 0
