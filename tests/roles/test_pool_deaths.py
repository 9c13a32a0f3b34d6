"""Children that crash, hang, are killed or lie: who is blamed, what comes back, and that nothing is left behind."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pool_rig import DEADLINE_S, TESTS, Rig, descriptors, inline

from zgrid.protocol.messages import Code
from zgrid.roles.arena import BEGUN, ENDED
from zgrid.roles.link import Kind, pack
from zgrid.roles.pool import START_S_MAX, Died, Ready
from zgrid.roles.sandbox import Sandbox

pytestmark = pytest.mark.grid

AGENT = """
import select, sys, time
from zgrid.roles.member import Chunk
from zgrid.roles.pool import Pool, Ready
pool = Pool(2, chains={1: "act"}, filters=["filters_for_tests"])
pool.start(time.monotonic())
ready = []
while True:
    select.select([pool.fileno()], [], [], 1)
    for event in pool.service(time.monotonic()):
        if isinstance(event, Ready):
            ready.append(event.pid)
            if len(ready) == 1:
                pool.assign(event.child, Chunk(1, 1, ["file:///1.jpg"], [4], [0], [b"spin"]))
            else:
                print(*ready, flush=True)
"""


@pytest.fixture
def rig(monkeypatch):
    """One child of its own, ready."""
    rig = Rig(monkeypatch)
    with rig.pool:
        yield rig.warm()


def wait_gone(pidfd):
    """Wait until a process that need not be ours has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(DEADLINE_S * 1000), "it still lives"
    os.close(pidfd)


def test_a_crash_blames_the_job_that_ran_and_no_other(rig):
    """Results before the crash count, that job is blamed with the evidence, later ones come back; a new child works."""
    rig.give(b"keep", b"note x", b"segv", b"keep", b"keep")
    rig.give(b"keep", first=200)
    death = rig.death()
    assert (death.signal, death.exit, death.killed_because) == (signal.SIGSEGV, None, None)
    assert death.started_token == 102
    assert sorted([*rig.results, *death.rest]) == [100, 101, 103, 104, 200]
    assert "Segmentation fault" in death.stderr_tail
    assert "filters_for_tests.py" in death.stderr_tail
    assert death.again_in_s == 0.0
    rig.until(lambda rig: rig.of(Ready))
    assert rig.of(Ready)[0].pid != death.pid
    rig.give(b"note again", first=300)
    rig.until(lambda rig: 300 in rig.results)
    assert rig.results[300].notes == {"said": "again"}


@pytest.mark.parametrize(("content", "status"), [(b"exit 3", 3), (b"leave", 4)])
def test_an_exit_is_a_death_too(rig, content, status):
    """A filter that ends its process is blamed, with the exit status."""
    rig.give(content, b"keep")
    death = rig.death()
    assert (death.exit, death.signal, death.started_token, death.rest) == (status, None, 100, [101])


def test_the_tail_of_stderr_is_kept_and_bounded(rig):
    """Standard output and error are evidence: the last 4 KiB of them, whatever was written before."""
    rig.give(b"print")
    death = rig.death()
    assert len(death.stderr_tail) == 4096
    assert death.stderr_tail.endswith("the last words\n")


def test_kill_9_from_outside(rig, tmp_path):
    """A child that something else killed during a job costs that job an attempt, and the pool did not do it."""
    rig.give(b"wait " + bytes(tmp_path / "never"), b"keep")
    rig.until(lambda rig: rig.pool.progress(0, time.monotonic()).token == 100)
    os.kill(rig.pool._members[0].pid, signal.SIGKILL)
    death = rig.death()
    assert (death.signal, death.killed_because, death.started_token, death.rest) == (9, None, 100, [101])


def test_an_idle_child_that_dies_blames_nobody(rig):
    """Between jobs no job is under way, so none is to blame."""
    rig.give(b"keep")
    rig.until(lambda rig: rig.results)
    os.kill(rig.pool._members[0].pid, signal.SIGKILL)
    death = rig.death()
    assert (death.started_token, death.rest) == (None, [])


def test_a_hanging_job_is_killed_for_itself_only(rig):
    """kill() with a token does nothing once that job is not the one that runs; with the right one it blames it."""
    rig.give(b"keep", b"spin", b"keep")
    rig.until(lambda rig: rig.pool.progress(0, time.monotonic()).token == 101)
    assert not rig.pool.kill(0, "overran", token=100)
    assert rig.pool.kill(0, "overran", token=101)
    death = rig.death()
    assert (death.killed_because, death.signal, death.started_token) == ("overran", 9, 101)
    assert sorted([*rig.results, *death.rest]) == [100, 102]


def test_a_dead_child_takes_no_jobs_and_says_so(rig):
    """Between the death and its successor, assign() and kill() say no, and progress() shows nothing."""
    os.kill(rig.pool._members[0].pid, signal.SIGKILL)
    rig.death()
    assert not rig.pool.assign(0, inline(1, b"keep"))
    assert rig.pool.progress(0, 1.0).owed == 0
    assert not rig.pool._members[0] or not rig.pool._members[0].ready


def test_memory_is_limited(monkeypatch):
    """With a limit, a filter that eats memory fails for want of it and the child lives on."""
    rig = Rig(monkeypatch, sandbox=Sandbox(memory_bytes_max=1 << 30))
    with rig.pool:
        rig.warm()
        rig.give(b"eat", b"keep")
        rig.until(lambda rig: len(rig.results) == 2)
        assert rig.results[100].code == Code.TROUBLED
        assert "memory" in rig.results[100].reasons
        assert not rig.of(Died)


def test_a_child_may_take_its_time_to_end(rig):
    """One that has closed its socket and ends slowly is not killed for that: its exit status says how it ended."""
    rig.give(b"linger 1.5", b"keep")
    death = rig.death()
    assert (death.exit, death.signal, death.killed_because) == (4, None, None)


@pytest.mark.parametrize(
    "content", [b"say", b"say garbage", b"say text", b"say many", b"say ready", b"say chain", b"lie"]
)
def test_a_child_that_lies_is_killed(rig, content):
    """Wrong lengths, garbage, results of jobs it has not, and impossible counters end a child and blame what it ran."""
    rig.give(content, b"keep")
    rig.until(lambda rig: rig.pool.progress(0, time.monotonic()) and rig.of(Died))
    death = rig.of(Died)[0]
    assert death.killed_because.startswith("it")
    assert (death.signal, death.started_token, death.rest) == (9, 100, [101])
    assert not rig.results


def test_the_last_words_of_a_child_have_an_end(rig):
    """A process that a child left behind and that writes on for ever does not keep the agent."""
    member, taken = rig.pool._members[0], []
    mine, theirs = socket.socketpair()

    def accept(header, body):
        taken.append(len(body))
        assert sum(taken) < 64 << 20, "it reads on and on"

    def write():
        with suppress(OSError):
            while True:
                theirs.sendall(pack([Kind.DONE], 1 << 16) + bytes(1 << 16))

    with mine, theirs:
        writer = threading.Thread(target=write)
        writer.start()
        kept, member.link = member.link, mine
        try:
            member.receive(accept, 0.0, to_end=True)
        finally:
            member.link = kept
            mine.shutdown(socket.SHUT_RDWR)
            writer.join()
    assert sum(taken) > 1 << 20


def test_a_result_may_be_in_before_its_job_has_ended(rig):
    """The child's other thread sends it; one that is stopped just then is neither killed nor at any job."""
    rig.give(b"keep")
    rig.until(lambda rig: rig.results)
    member = rig.pool._members[0]
    os.kill(member.pid, signal.SIGSTOP)
    rig.give(b"keep", first=200)
    member.arena.words[ENDED] -= 1
    assert member.running() is None
    member.arena.words[BEGUN] += 1
    assert member.running() == 200


def test_a_child_that_hangs_up_is_killed(rig):
    """A child that closed its socket and stays is killed a second later."""
    rig.give(b"hang_up")
    death = rig.death()
    assert (death.killed_because, death.started_token) == ("it closed its socket", 100)


def test_what_a_filter_started_dies_with_its_child(rig, tmp_path):
    """Processes that a filter left behind have no hold on the agent, and are killed when their child is replaced."""
    note = tmp_path / "pid"
    rig.give(b"child " + bytes(note))
    rig.death()
    pid, *given = note.read_text().splitlines()
    assert not [name for name in given if "zgrid-arena" in name or "socket" in name]
    with suppress(ProcessLookupError):
        wait_gone(os.pidfd_open(int(pid)))


def test_children_die_with_their_agent(monkeypatch):
    """kill -9 of the agent ends its children at once: the idle one and the one that never returns."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with subprocess.Popen([sys.executable, "-c", AGENT], stdout=subprocess.PIPE, text=True) as agent:
        pids = [int(pid) for pid in agent.stdout.readline().split()]
        pidfds = [os.pidfd_open(pid) for pid in pids]
        agent.kill()
        killed_at = time.monotonic()
        for pidfd in pidfds:
            wait_gone(pidfd)
    assert len(pids) == 2
    assert time.monotonic() - killed_at < 5


def test_deaths_in_start_up_are_replaced_ever_more_slowly(monkeypatch):
    """A child that cannot start is tried again at once twice, then after 1, 2, 4 seconds; each death says why."""
    rig = Rig(monkeypatch, filters=["no_such_module"])
    now = time.monotonic()
    with rig.pool:
        deaths = []
        while len(deaths) < 5:
            assert time.monotonic() - now < DEADLINE_S
            select.select([rig.pool.fileno()], [], [], 1)
            found = [event for event in rig.pool.service(now) if isinstance(event, Died)]
            if found:
                deaths += found
                assert rig.pool.wake_at() == now + found[0].again_in_s or found[0].again_in_s == 0
                assert rig.pool.alive == (found[0].again_in_s == 0)
                now += found[0].again_in_s
    assert [death.again_in_s for death in deaths] == [0, 0, 1, 2, 4]
    assert all("no_such_module" in death.stderr_tail and not death.was_ready for death in deaths)


def test_a_child_that_never_gets_ready_is_killed(monkeypatch):
    """Start-up has a limit too."""
    rig = Rig(monkeypatch)
    with rig.pool:
        os.kill(rig.pool._members[0].pid, signal.SIGSTOP)
        assert rig.pool.wake_at() is not None
        rig.pool.service(time.monotonic() + START_S_MAX)
        assert rig.pool.wake_at() is None
        assert "not ready" in rig.death().killed_because


def test_fifty_replacements_leak_nothing(rig):
    """Descriptors, mappings and zombies: after fifty deaths there are as many as before."""
    now, deaths = time.monotonic(), []
    before, maps = descriptors(), Path("/proc/self/maps").read_text().count("zgrid-arena")
    while len(deaths) < 50:
        if rig.pool.alive:
            rig.pool.kill(0, "for the test")
            select.select([rig.pool.fileno()], [], [], DEADLINE_S)
        deaths += [event for event in rig.pool.service(now) if isinstance(event, Died)]
        now += 31
    rig.pool.service(now)
    assert descriptors() == before
    assert Path("/proc/self/maps").read_text().count("zgrid-arena") == maps
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert children.count(str(rig.pool._members[0].pid)) == 1
    assert not {str(death.pid) for death in deaths} & set(children)


def test_close_leaves_nothing(monkeypatch):
    """Closing a busy pool kills, reaps and frees everything; closing twice is harmless."""
    before = descriptors()
    rig = Rig(monkeypatch, procs=2)
    with rig.pool:
        rig.warm()
        pidfds = [os.pidfd_open(member.pid) for member in rig.pool._members]
        rig.give(b"spin")
    rig.pool.close()
    for pidfd in pidfds:
        wait_gone(pidfd)
    assert descriptors() == before
