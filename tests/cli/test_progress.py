"""The bar on a terminal, and the lines elsewhere."""

import os
import pty
import re
import subprocess
import sys

from zgrid.cli.progress import WAITING_TOLD_S, Waiting

SHOWN = """
from zgrid.cli.progress import view
from zgrid.roles.run import Standing, Summary
from pathlib import Path
shown = view()
for settled in (0, 40, 100):
    standing = Standing(accepted=100, settled=settled, stored=settled, faces=settled * 2)
    standing.rate_per_s, standing.scanning = 20.0, settled == 0
    shown.show(standing)
standing.passed_over, standing.unread = 7, 2
buried, unread = [("file:///a.jpg", "cut short")], [("file:///b", "cannot be read: Permission denied")]
shown.end(Summary(standing, 100, 5.0, Path("/out"), False, buried, unread, ["look"]))
"""


def on_a_terminal(columns: int = 100) -> str:
    """Return what a person at a terminal so wide sees, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written(SHOWN, columns))


def written(program: str, columns: int = 100) -> str:
    """Return what a program writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns)}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        seen += part
    os.close(ours)
    assert process.wait(30) == 0, seen.decode()
    return seen.decode()


def test_bar_from_the_first_moment_to_the_last():
    """The bar can be drawn before anything is known, and shows images, faces, rate and the end."""
    seen = on_a_terminal()
    assert "100/100 images" in seen
    assert "200 faces" in seen
    assert "20.0 images/s" in seen
    assert "done" in seen


def test_a_run_that_fails_leaves_the_cursor(tmp_path):
    """The bar hides the cursor; an error that ends the run gives it back."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.sqlite").write_bytes(b"no database" * 1000)
    words = ["run", str(tmp_path), "--out", str(out), "--filter=null"]
    seen = written(f"from zgrid.cli import status_of; assert status_of({words}) == 2")
    assert "is damaged" in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l") > -1


def test_a_narrow_terminal_has_all_numbers():
    """Where there is no room for a bar, nothing is cut off."""
    seen = on_a_terminal(40)
    assert "100/100 · 200 faces · 20.0/s · done" in seen
    assert "…" not in seen


def test_lines_where_there_is_no_terminal():
    """Elsewhere the summary is plain lines: what was done, what was buried and why, and where everything is."""
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True, check=True, timeout=60)
    assert "\x1b" not in done.stdout
    assert "100 images, 100 new, in 5.0 s, 20.0 images/s" in done.stdout
    assert "buried: file:///a.jpg: cut short" in done.stdout
    assert "5 files passed over: no images, 2 could not be read" in done.stdout
    assert "not read: file:///b cannot be read: Permission denied" in done.stdout
    assert "/out/results.sqlite" in done.stdout
    assert "note: look\n" in done.stdout


def test_what_is_waited_for_is_said_once_it_has_lasted():
    """Processes wait for each other at every start; only what lasts is said, once, and again when it comes again."""
    waiting, late = Waiting(), WAITING_TOLD_S
    assert waiting.news(["no worker"], 0.0) == []
    assert waiting.news(["no worker", "disk full"], late) == ["no worker"]
    assert waiting.news(["no worker", "disk full"], late + 1.0) == []
    assert waiting.news(["disk full"], 2 * late) == ["disk full"]
    assert waiting.news(["no worker"], 3 * late) == []
    assert waiting.news(["no worker"], 4 * late) == ["no worker"]
