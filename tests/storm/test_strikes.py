"""Each strike at the network and at the pictures bites, and is undone; and a run that is broken off leaves nothing."""

import errno
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import Grid
from hub import Hub
from plan import SINK, Fault
from small_disks import Disks
from storm import HOSTS, Storm
from strikes import BAD_DELAY_MS, SkippedError

pytestmark = pytest.mark.grid

SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos"
PORT = 7000
WITHIN_S = 30.0
DATAGRAMS = 200
"""What a socket has room for while nobody reads."""


@pytest.fixture
def stack():
    """What is taken down when the test ends."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def storm(tmp_path, stack):
    """A run in which nothing was started, on a network and on disks of its own."""
    homes = {SINK: (Disks(stack).small(tmp_path / "disk", 1 << 20), 1 << 20)}
    return Storm(tmp_path / "run", 1, 1.0, print, homes, Hub(stack, *HOSTS))


def fault_of(kind, victim):
    """Return a fault of this kind."""
    return Fault(0.0, kind, victim, "", 1.0, 0)


def until(condition):
    """Look until a condition is true."""
    deadline = time.monotonic() + WITHIN_S
    poll = select.poll()
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        poll.poll(10)


def socket_at(storm, stack, name, kind):
    """Return a socket at a host, bound to it."""
    with storm.at(name):
        end = stack.enter_context(socket.socket(socket.AF_INET, kind))
    end.bind((storm.host(name), PORT))
    end.settimeout(WITHIN_S)
    return end


def link_to(storm, stack, name):
    """Return both ends of a TCP connection from people to a host."""
    door = socket_at(storm, stack, name, socket.SOCK_STREAM)
    door.listen()
    ours = stack.enter_context(socket.create_connection((storm.host(name), PORT), WITHIN_S))
    theirs = stack.enter_context(door.accept()[0])
    theirs.settimeout(WITHIN_S)
    return ours, theirs


def test_cut_loses_all_of_one_and_tells_nobody(storm, stack):
    """Neither end of a cut connection hears anything, others go on; once it is mended all arrives."""
    (ours, theirs), (other, others) = link_to(storm, stack, "w1"), link_to(storm, stack, "w2")
    mend = storm.strikes.strike(fault_of("cut", "w1"))
    ours.sendall(b"job")
    theirs.sendall(b"beat")
    until(lambda: storm.hub.lost >= 4)  # each end has tried more than once
    other.sendall(b"job")
    assert others.recv(10) == b"job"
    assert select.select([ours, theirs], [], [], 0) == ([], [], [])
    with pytest.raises(SkippedError, match="cut already"):
        storm.strikes.strike(fault_of("cut", "w1"))
    mend()
    assert (theirs.recv(10), ours.recv(10)) == (b"job", b"beat")
    storm.strikes.strike(fault_of("cut", "w1"))()


def test_bad_network_loses_and_delays(storm, stack):
    """Some packets never arrive, the others late; afterwards all do, and sooner."""
    ours = socket_at(storm, stack, HOSTS[0], socket.SOCK_DGRAM)
    theirs = socket_at(storm, stack, "w1", socket.SOCK_DGRAM)
    address = theirs.getsockname()

    def lost_and_late(datagrams):
        """Send these, then others until one of those has come; return how many did not come, and its delay in ms."""
        for _ in range(datagrams):
            ours.sendto(b"beat", address)
        sent_s = []
        while True:
            sent_s.append(time.monotonic())
            ours.sendto(b"%d" % (len(sent_s) - 1), address)
            while select.select([theirs], [], [], 2 * BAD_DELAY_MS / 1000)[0]:
                word = theirs.recv(10)
                if word.isdigit():
                    return datagrams, (time.monotonic() - sent_s[int(word)]) * 1000
                datagrams -= 1

    ease = storm.strikes.strike(fault_of("bad", "all"))
    lost, delay_ms = lost_and_late(DATAGRAMS)
    assert 0 < lost < DATAGRAMS / 5
    assert delay_ms >= BAD_DELAY_MS
    with pytest.raises(SkippedError, match="bad already"):
        storm.strikes.strike(fault_of("bad", "all"))
    ease()
    until(lambda: lost_and_late(1)[1] < BAD_DELAY_MS)
    assert lost_and_late(DATAGRAMS)[0] == 0


def test_read_only_pictures(storm):
    """Nobody can write to the pictures, whoever was there and whoever comes; afterwards everybody can."""
    folder = storm.grid.pictures_folder
    with pytest.raises(SkippedError, match="not there yet"):
        storm.strikes.strike(fault_of("readonly", SINK))
    (folder / "ab").mkdir(parents=True)
    words = [sys.executable, "-c", f"open({str(folder / 'ab' / 'one.png')!r}, 'w')"]  # as a sink that is started now
    release = storm.strikes.strike(fault_of("readonly", SINK))
    with pytest.raises(OSError, match="Read-only") as caught:
        (folder / "ab" / "one.png").write_bytes(b"pixels")
    assert caught.value.errno == errno.EROFS
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1
    (folder.parent / "results.sqlite").write_bytes(b"rows can still be written")
    with pytest.raises(SkippedError, match="read-only already"):
        storm.strikes.strike(fault_of("readonly", SINK))
    assert storm.troubles
    release()
    assert not storm.troubles
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    assert (folder / "ab" / "one.png").exists()


@pytest.mark.parametrize("kind", ["cut", "bad", "readonly"])
def test_where_there_is_nothing_of_our_own(tmp_path, kind):
    """Without a network and disks of its own a run leaves these out, and says why."""
    storm = Storm(tmp_path / "run", 1, 1.0, print, {})
    with pytest.raises(SkippedError, match="of our own here"):
        storm.strikes.strike(fault_of(kind, SINK))


def test_broken_off(tmp_path):
    """Whoever breaks a run off gets a sentence, and none of its processes is left, stopped or not."""
    grid = Grid(tmp_path / "kept")
    words = [sys.executable, SCRIPT, "--minutes", "5", "--seed", "31", "--keep", grid.folder]
    with (tmp_path / "told").open("w") as told:
        run = subprocess.Popen(words, stdout=told, stderr=told, start_new_session=True)
    try:
        until(lambda: " s  stop w1 " in (tmp_path / "told").read_text())
        assert len(grid.running()) >= len(HOSTS) - 1
        run.send_signal(signal.SIGTERM)  # as Ctrl-C, which Python has a handler for
        assert run.wait(WITHIN_S) == 130
    finally:
        run.kill()
        run.wait()
    assert not grid.until_gone()
    said = (tmp_path / "told").read_text()
    assert "broken off: nothing was checked" in said
    assert "Traceback" not in said
