"""What commands print: for people, and where nobody or nothing takes it."""

import io
import os
import subprocess
import sys

import pytest

from zgrid.cli import output


@pytest.mark.parametrize(("end", "why"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")])
@pytest.mark.parametrize("words", [["--help"], ["filters", "list"], ["logs", "-"]])
def test_output_that_cannot_be_written(end, why, words):
    """A full disk or a closed output behind the command is said in one sentence, and is no fault of ours."""
    command = ["sh", "-c", f'exec "$@" {end}', "sh", sys.executable, "-m", "zgrid", *words]
    done = subprocess.run(command, check=False, input="{}\n", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"zgrid: standard output cannot be written: {why}\n")


def test_errors_that_nobody_can_be_told():
    """With a closed standard error, a command ends with its status and says nothing."""
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-m", "zgrid", "ledger", "check", "nowhere"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_put_from_a_closed_input():
    """A list of paths on a standard input that is closed is refused in one sentence."""
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "zgrid", "put", "ipc:///nowhere", "-"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "zgrid: standard input is closed: give paths there where FILE is -\n"


def test_nobody_reads_the_output():
    """Output into a closed pipe ends quietly."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "zgrid", "models"],
            check=False,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_table_is_aligned(capsys):
    """Numbers are set to the right, texts to the left, and no line ends in blanks."""
    output.say_table(("name", "jobs"), [["a", 5], ["long name", 12345]], "things")
    assert capsys.readouterr().out == "things:\nname        jobs\na              5\nlong name  12345\n"
    output.say_table(("name",), [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (0.25, "0.2"),
        ({"a": 1}, "a 1"),
        (["a", 2], "a, 2"),
        (b"\x01", "01"),
        ("a\nb", "a\\nb"),
    ],
)
def test_values_for_people(value, text):
    """Every kind of plain data becomes one line."""
    assert output.clean(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        *((0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (200_000, "3 min 20 s"), (90_000_000, "1 d 1 h"), (None, "-")),
        *((-5000, "-5000 ms"), (1e300, "-"), (float("inf"), "-"), (-float("inf"), "-"), (float("nan"), "-")),
        pytest.param(10**400, "-", id="huge"),
        pytest.param(-(10**400), "-", id="huge below zero"),
    ],
)
def test_durations_for_people(milliseconds, text):
    """A duration has the unit in which people think of it."""
    assert output.span(milliseconds) == text


def test_names_that_an_old_terminal_cannot_show():
    """What an encoding does not have is printed as escapes."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    output.say("Zoë \udce9", stream)
    assert raw.getvalue() == b"Zo\\xeb \\udce9\n"
