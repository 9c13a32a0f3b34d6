"""``zgrid top``: what it shows of a real grid, on terminals of any size and without one, and how it leaves them."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from zgrid.cli import status_of
from zgrid.cli.board import SORTS

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "grid"))

from harness import Grid, free_port  # noqa: E402  the grid of real processes, shared with tests/grid

WITHIN_S = 40.0
MARK = b"\xff\xd8\xff\xe0 an image for tests\nzgrid-test: "

IN_SESSION = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "zgrid", "top", *sys.argv[1:]])
"""


class Terminal:
    """A terminal with ``zgrid top`` at work in it. ``shown`` is what stands on it now, as text."""

    def __init__(self, *words, columns=80, lines=24, **environment):
        self.ours, self._theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._theirs)
        given = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.popen = subprocess.Popen(
            [sys.executable, "-c", IN_SESSION, *words],
            stdin=self._theirs, stdout=self._theirs, stderr=self._theirs,
            env={**given, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment},
        )  # fmt: skip
        self.all = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        os.close(self.ours)
        os.close(self._theirs)

    def resize(self, columns, lines):
        """Give it another size."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys):
        """Type."""
        os.write(self.ours, keys.encode())

    def read(self, left_s):
        """Take in what it was sent within that time."""
        if select.select([self.ours], [], [], left_s)[0]:
            self.all += os.read(self.ours, 65536)

    @property
    def shown(self):
        """Return the last whole picture."""
        frames = self.all.decode("utf-8", "replace").split("\x1b[H")
        whole = frames[-2] if len(frames) > 2 else frames[-1]
        return plain(whole).replace("\r\n", "\n")

    def until(self, condition, what=""):
        """Wait until the picture fits; a text must be in it."""
        fits = condition if callable(condition) else lambda shown: condition in shown
        deadline = time.monotonic() + WITHIN_S
        while not fits(self.shown):
            assert time.monotonic() < deadline, f"in vain: {what or condition}\n{self.shown}"
            self.read(0.2)
        return self.shown

    def end(self):
        """Return the exit status, once it has ended and left the terminal as it was."""
        deadline = time.monotonic() + WITHIN_S
        while self.popen.poll() is None:
            assert time.monotonic() < deadline, f"it does not end\n{self.shown}"
            self.read(0.05)
        self.read(0.05)
        self.check_restored()
        return self.popen.returncode

    def check_restored(self):
        """See that letters are shown and the screen and the cursor are as before."""
        assert termios.tcgetattr(self._theirs) == self.before
        for on, off in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h")):
            assert self.all.rfind(on) <= self.all.rfind(off)


def plain(text):
    """Return a text without what steers a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def snapshot(*words, **more):
    """Return what it prints where there is no terminal."""
    return subprocess.run(
        [sys.executable, "-m", "zgrid", "top", *words], capture_output=True, text=True, check=False, timeout=60, **more
    )


def nobody():
    """Return an address at which nobody is."""
    return f"tcp://127.0.0.1:{free_port()}"


class Work:
    """A grid of a ventilator, two workers and a sink, with jobs that wait until ``go`` is called."""

    def __init__(self, grid, folder):
        self.grid = grid
        self._gate = folder / "gate"
        photos = folder / "photos"
        photos.mkdir()
        words = [b"keep"] * 4 + [b"fail it is no picture"] + [b"touches " + os.fsencode(self._gate)] * 20
        for number, word in enumerate(words):
            (photos / f"{number:03}.jpg").write_bytes(MARK + word)
        # Long enough that whoever is there first is not given all of them.
        grid.ventilator(photos, filter=["marked:work_ms=25"], name="photos")
        grid.worker("attic")
        grid.worker("workshop", procs=2)
        grid.sink(name="results")
        grid.until_joined("attic", "workshop")
        grid.until(lambda: sum(len(one["running"]) for one in grid.status()["workers"]) == 3, what="three jobs run")

    def go(self):
        """Let the jobs end."""
        self._gate.touch()


@pytest.fixture
def work(tmp_path):
    """A grid at work; it ends with the test."""
    grid = Grid(tmp_path)
    grid.expected.append("job_buried")
    try:
        work = Work(grid, tmp_path)
        yield work
        work.go()
    except BaseException:
        grid.end(failed=True)
        raise
    grid.end(failed=False)


# -- a real grid


@pytest.mark.grid
def test_a_grid_at_work(work):
    """Queue, workers with pace, credit and what they are at, the sink, and one that is not there, in 80 x 24."""
    grid, away = work.grid, nobody()
    with Terminal(grid.address, grid.sink_address, away, "--interval", "200ms") as terminal:
        terminal.until(lambda shown: "no status for" in shown and "beat" in shown)
        shown = terminal.until(lambda shown: re.search(r"ready \d+ · sent \d+ · stored 4 · buried 1", shown))
        assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())
        assert f"photos  {grid.address}  ventilator" in shown
        assert f"results  {grid.sink_address}  sink" in shown
        assert f"{away}  no status for" in shown
        assert "nobody answers at" in shown
        assert re.search(r"workshop +ready +[\d.]+ +2\+\d+ ", shown)
        assert re.search(r"attic .* 75% [\d.]+m?s", shown)
        assert re.search(rf"sink {grid.sink_address}  up", shown)
        assert "of 25" in shown
        work.go()
        terminal.until("100 % · 25 of 25")
        grid.kill("photos")
        terminal.until(lambda shown: shown.count("no status for") == 2, "the dead ventilator is seen")
        assert f"results  {grid.sink_address}  sink" in terminal.shown
        grid.restart("photos")
        terminal.until("100 % · 25 of 25")
        terminal.type("q")
        assert terminal.end() == 0


@pytest.mark.grid
def test_keys_and_sizes(work):
    """s goes through the orders, p stops the view and lets it go on, other keys do nothing, and a new size is used."""
    with Terminal(work.grid.address, "--interval", "100ms", columns=130, lines=40) as terminal:
        terminal.until("workshop")
        for sort in [*list(SORTS)[1:], "name"]:
            terminal.type("\x1b[A\x1bOP\x1b[15;2Sx\x1bqs")  # arrow, F1, shift F5, x and Alt-q are none of ours, s is
            shown = terminal.until(f"s sort: {sort}")
        assert shown.index("attic") < shown.index("workshop")
        assert "crashed" in shown
        terminal.type("p")
        terminal.until("PAUSED at")
        work.go()
        work.grid.until_settled(25)
        terminal.resize(80, 24)
        os.kill(terminal.popen.pid, signal.SIGWINCH)
        shown = terminal.until(lambda shown: "crashed" not in shown and "workshop" in shown)
        assert "100 %" not in shown
        terminal.type("P")
        terminal.until("100 %")
        terminal.type("Q")
        assert terminal.end() == 0


@pytest.mark.grid
def test_a_snapshot(work):
    """In a pipe it prints once, without colours, also of what is away; with -f again and again, until nobody reads.

    With --once it prints on a terminal too, in colours, and leaves it.
    """
    away = nobody()
    printed = snapshot(work.grid.address, away, "--timeout-ms", "3000", env={**os.environ, "COLUMNS": "100"})
    assert (printed.returncode, printed.stderr) == (0, "")
    assert "\x1b" not in printed.stdout
    assert "q quit" not in printed.stdout
    assert "photos  tcp://" in printed.stdout
    assert "nobody answers" in printed.stdout
    assert all(len(line) <= 100 and line == line.rstrip() for line in printed.stdout.splitlines())
    command = [sys.executable, "-m", "zgrid", "top", work.grid.address, "-f", "--interval", "100ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        heads = 0
        while heads < 3:
            heads += process.stdout.readline().startswith("photos  tcp://")
        process.stdout.close()
        assert process.wait(WITHIN_S) == 141
        assert process.stderr.read() == ""
    with Terminal(work.grid.address, "--once") as terminal:
        assert terminal.end() == 0
        assert b"\x1b[?1049h" not in terminal.all
        assert b"\x1b[1m" in terminal.all
        assert "workshop" in plain(terminal.all.decode())


# -- ends


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (None, 130)]
)
def test_every_end_restores_the_terminal(number, status):
    """A signal, or Ctrl-C (None), while it waits for somebody who is not there: at once, and all is as it was."""
    with Terminal(nobody(), "--timeout-ms", "600000") as terminal:
        terminal.until("asking")
        if number is None:
            terminal.type("\x03")
        else:
            terminal.popen.send_signal(number)
        assert terminal.end() == status


def test_a_fault_restores_the_terminal():
    """A fault of our own ends with its sentence on the terminal as it was."""
    fault = "import zgrid.cli.board as b, sys; b.board = None; from zgrid.cli import main; main(sys.argv[1:])"
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = [sys.executable, "-c", fault, "top", nobody()]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        assert process.wait(WITHIN_S) == 1
    said = os.read(ours, 65536)
    assert termios.tcgetattr(theirs) == before
    assert said.rfind(b"\x1b[?1049l") < said.find(b"this is a fault of zgrid's")
    os.close(ours)
    os.close(theirs)


def test_suspended_and_continued():
    """Ctrl-Z gives the terminal back as it was; when it goes on, the view is back."""
    with Terminal(nobody(), "--interval", "100ms") as terminal:
        terminal.until("asking")
        terminal.type("\x1a")
        deadline = time.monotonic() + WITHIN_S
        while f"\n{'State:'}\tT" not in Path(f"/proc/{terminal.popen.pid}/status").read_text():
            assert time.monotonic() < deadline, "it does not stop"
            terminal.read(0.05)
        terminal.read(0.05)
        terminal.check_restored()
        seen = len(terminal.all)
        terminal.popen.send_signal(signal.SIGCONT)
        while b"\x1b[?1049h" not in terminal.all[seen:]:
            assert time.monotonic() < deadline, "it does not go on"
            terminal.read(0.05)
        terminal.type("q")
        assert terminal.end() == 0


def test_without_keys_and_without_letters():
    """Standard input may be elsewhere, and a terminal may know ASCII alone."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "ascii", "COLUMNS": "60", "LINES": "10"}
    command = [sys.executable, "-m", "zgrid", "top", nobody(), "--interval", "100ms", "--timeout-ms", "100"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment)
    seen, deadline = b"", time.monotonic() + WITHIN_S
    while b"no status" not in seen or b"sorted by name" not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([ours], [], [], 0.2)[0]:
            seen += os.read(ours, 65536)
    process.terminate()
    assert process.wait(WITHIN_S) == 143
    assert seen.isascii()
    os.close(ours)
    os.close(theirs)


# -- without a grid


def test_nobody_answers():
    """When none of them answers, a single look is an error of one sentence after what there is to see."""
    printed = snapshot(nobody(), "--timeout-ms", "100")
    assert printed.returncode == 1
    assert printed.stderr.startswith("zgrid: nobody answers at tcp://127.0.0.1:")
    assert printed.stderr.count("\n") == 1
    printed = snapshot(nobody(), nobody(), "--timeout-ms", "100", "--once")
    assert printed.returncode == 1
    assert printed.stderr.startswith("zgrid: none of them answers: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "ADDRESS"),
        (["photos"], "ADDRESS: 'photos' is no address"),
        (["tcp://h:1", "tcp://*:1"], "says where to listen"),
        (["tcp://h:1", "--interval", "2"], "--interval: '2' is no duration: write 500ms"),
        (["tcp://h:1", "--interval", "1ms"], "--interval must be between 100ms and 1h, not 1ms"),
        (["tcp://h:1", "--timeout-ms", "0"], "--timeout-ms"),
    ],
)
def test_wrong_usage_is_one_sentence(words, said, capsys):
    """What the operator gets wrong is said in one sentence."""
    assert status_of(["top", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("zgrid: ")
    assert said in err
    assert err.count("\n") == 1


# -- the picture


@pytest.mark.grid
@pytest.mark.timeout(300)
def test_the_picture_is_made_from_a_real_run(tmp_path):
    """scripts/pictures runs a grid and draws it: one file that asks nobody for anything and names no machine."""
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    command = [str(ROOT / "scripts" / "pictures"), "top", "--into", str(tmp_path), "--images", "60"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    svg = (tmp_path / "top.svg").read_text()
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", svg, flags=re.DOTALL).replace("&#160;", " ")
    assert all(word in text for word in ("photos", "attic", "workshop", "results", "stored", "of 60"))
    assert 'url("http' not in svg
    assert str(tmp_path) not in svg
    assert os.uname().nodename not in text
