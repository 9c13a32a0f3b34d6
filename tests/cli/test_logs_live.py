"""``zgrid logs`` at work: pipes, files that are followed, terminals, long logs, and what a real grid writes."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from log_lines import DIED, GONE, STORED, text

from zgrid.cli.linewise import LINE_BYTES_MAX

sys.path.append(str(Path(__file__).parents[1] / "grid"))

from harness import Grid  # the grid of real processes, shared with tests/grid

WITHIN_S = 30.0


class Process:
    """The command as a process of its own, whose output is read line by line."""

    def __init__(self, *words, stdin=subprocess.DEVNULL):
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "zgrid", "logs", *map(str, words)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TZ": "UTC"},
        )
        self._seen = {self.popen.stdout: b"", self.popen.stderr: b""}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                pipe.close()
        self.popen.wait()

    def until(self, words, pipe=None):
        """Read until a line has these words; return the lines until then."""
        pipe = pipe or self.popen.stdout
        deadline = time.monotonic() + WITHIN_S
        while words.encode() not in self._seen[pipe]:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"in vain: {words}\n{self._seen}"
            if select.select([pipe], [], [], left_s)[0]:
                part = os.read(pipe.fileno(), 65536)
                assert part, f"it has ended without {words}\n{self._seen}"
                self._seen[pipe] += part
        seen, self._seen[pipe] = self._seen[pipe], b""
        return seen.decode().splitlines()


def on_a_terminal(*words, **environment):
    """Return what a terminal is sent, and the exit status."""
    ours, theirs = pty.openpty()
    given = {**os.environ, "TERM": "xterm", "TZ": "UTC", **environment}
    if "NO_COLOR" not in environment:
        given.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "zgrid", "logs", *map(str, words)], stdin=theirs, stdout=theirs, stderr=theirs, env=given
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        seen += part
    os.close(ours)
    return seen.decode().replace("\r\n", "\n"), process.wait(WITHIN_S)


# -- pipes


def test_standard_input_is_shown_as_it_comes():
    """Behind journalctl -f each line is there at once, not when some buffer is full; the end of input is the end."""
    with Process(stdin=subprocess.PIPE) as process:
        for line in (STORED, "Traceback\n", GONE):
            process.popen.stdin.write(text(line).encode())
            process.popen.stdin.flush()
            process.until("Traceback" if isinstance(line, str) else line["event"])
        process.popen.stdin.write(b"no end of line")
        process.popen.stdin.close()
        process.popen.stdin = None
        assert process.until("no end of line") == ["no end of line"]
        assert process.popen.wait(WITHIN_S) == 0


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    """Behind ``| head`` it ends without a word."""
    log = tmp_path / "log.jsonl"
    log.write_text(text(STORED) * 20_000)
    with Process(log) as process:
        process.until("job_stored")
        process.popen.stdout.close()
        assert process.popen.wait(WITHIN_S) == 141
        assert process.popen.stderr.read() == b""


def test_following_ends_when_nobody_reads_any_more(tmp_path):
    """With -f it notices that its reader has gone although nothing new comes."""
    log = tmp_path / "log.jsonl"
    log.write_text(text(STORED))
    with Process("-f", log) as process:
        process.until("job_stored")
        process.popen.stdout.close()
        assert process.popen.wait(WITHIN_S) == 141


def test_nothing_to_read_is_said_at_a_terminal():
    """Without a FILE and with nobody sending lines, it does not wait for a person to type."""
    said, status = on_a_terminal()
    assert status == 2
    assert "name a FILE, or send lines here" in said


# -- following


def test_follow_through_rotation_truncation_and_absence(tmp_path):
    """A file that is not there yet, grows, is renamed and made anew, cut short, and taken away is read throughout."""
    log = tmp_path / "log.jsonl"
    with Process("-f", log) as process:
        process.until("is not there yet", process.popen.stderr)
        log.write_text(text({**STORED, "job": 1}))
        process.until("job=1 ")
        with log.open("a") as file:
            file.write(text({**STORED, "job": 2})[:30])
            file.flush()
            process.popen.poll()
            file.write(text({**STORED, "job": 2})[30:])
        assert len(process.until("job=2 ")) == 1
        with log.open("a") as old:
            log.rename(tmp_path / "log.jsonl.1")
            old.write(text({**STORED, "job": 3}))
            old.flush()
            process.until("job=3 ")
            old.write(text({**STORED, "job": 4}) + "the last words")
        log.write_text(text({**STORED, "job": 5}))
        lines = process.until("job=5 ")
        assert [line[:14] for line in lines[1:2]] == ["the last words"]
        assert "job=4 " in lines[0]
        log.write_text("")
        log.write_text(text(GONE))
        process.until("worker_gone")
        log.unlink()
        log.write_text(text({**STORED, "job": 6}))
        process.until("job=6 ")
        assert process.popen.poll() is None


def test_follow_several_with_standard_input(tmp_path):
    """Files and standard input are followed together, and it goes on when the pipe has ended."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text(text(*[{**STORED, "job": job} for job in range(50)]))
    second.write_text(text(GONE))
    with Process("-f", first, second, "-", "-n", 2, stdin=subprocess.PIPE) as process:
        lines = process.until("worker_gone")
        assert len(lines) == 2
        assert "job=49 " in lines[0]
        process.popen.stdin.write(text(DIED).encode())
        process.popen.stdin.close()
        process.popen.stdin = None
        process.until("child_died")
        with second.open("a") as file:
            file.write("Traceback\n")
        process.until("Traceback")


# -- terminals


def test_colours_are_for_terminals(tmp_path):
    """On a terminal levels have colours and the date stands once; NO_COLOR and a dumb terminal have none."""
    log = tmp_path / "log.jsonl"
    log.write_text(text(STORED, {**GONE, "level": "error"}, {**STORED, "time": "2026-03-02T00:00:00.000Z"}))
    said, status = on_a_terminal(log)
    assert status == 0
    assert "\x1b[32minfo" in said
    assert "\x1b[1;31merror" in said
    assert [line for line in re.sub(r"\x1b\[[\d;]*m", "", said).splitlines() if line.startswith("--")] == [
        "-- 2026-03-01",
        "-- 2026-03-02",
    ]
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        said, _ = on_a_terminal(log, **environment)
        assert "\x1b" not in said
        assert "11:22:33.444 info    sink/results" in said


def test_a_log_cannot_steer_a_terminal(tmp_path):
    """Neither a value nor a line that is no JSON gets a control character through; tabs stay."""
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\x1b]0;title\x07raw\tline\n" + text({**GONE, "reason": "\x1b[2J", "\x1b[x": 1}).encode())
    said, _ = on_a_terminal(log, NO_COLOR="1")
    assert "\x1b" not in said
    assert "\\x1b]0;title\\x07raw\tline" in said


# -- large logs


MEASURED = """
import resource, sys
from pathlib import Path
from zgrid.cli import status_of
status = status_of(["logs", *sys.argv[1:]])
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(status, peak.split()[1], resource.getrusage(resource.RUSAGE_SELF).ru_utime, file=sys.stderr)
"""


def test_memory_is_flat_and_it_is_quick(tmp_path):
    """A log ten times as long, and a line without an end, take no more memory; 100,000 lines take seconds."""
    lines = text(*[{**STORED, "job": job, "uri": f"file:///p/{job}.jpg"} for job in range(1000)])
    peaks = []
    for thousands, tail in ((5, "x"), (50, "x" * (20 * LINE_BYTES_MAX))):
        log, shown = tmp_path / "log.jsonl", tmp_path / "shown"
        log.write_text(lines * thousands + tail)
        with shown.open("wb") as out:
            command = [sys.executable, "-c", MEASURED, str(log), str(log)]
            ended = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=True)
        status, peak_kib, cpu_s = ended.stderr.split()
        peaks.append(int(peak_kib))
        assert status == "0"
        assert shown.read_bytes().count(b"job_stored") == 2000 * thousands
    assert peaks[1] < peaks[0] + 30_000, f"{peaks} KiB"
    assert float(cpu_s) < 30


# -- a real grid


@pytest.mark.grid
def test_every_line_of_a_grid_says_who_and_which_job(tmp_path):
    """Every role's every line says when, what and who first, and, where it is about one job, which attempt of which.

    Together they are the life of a job. Deaths of children that were held back are told when the worker ends.
    """
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, words in {"good": b"keep", "bad": b"fail it is no picture", "evil": b"segv"}.items():
        (photos / f"{name}.jpg").write_bytes(b"\xff\xd8\xff\xe0 an image\nzgrid-test: " + words)
    grid = Grid(tmp_path)
    try:
        grid.ventilator(photos, filter=["marked"], name="photos")
        grid.worker("attic")
        grid.sink(name="results")
        grid.until_settled(3, within_s=90)
    except BaseException:
        grid.end(failed=True)
        raise
    grid.end(failed=False)
    logs = sorted(str(path) for path in tmp_path.glob("*.jsonl"))
    lines = [json.loads(line) for path in logs for line in Path(path).read_text().splitlines()]
    for line in lines:
        assert list(line)[:5] == ["time", "level", "event", "role", "instance"], line
        assert (line["role"], line["instance"]) in {("ventilator", "photos"), ("worker", "attic"), ("sink", "results")}
        about_a_job = line["event"].startswith("job_") or line["event"] in {"child_died", "child_overran"}
        assert not about_a_job or {"job", "attempt", "uri"} <= set(line), line
    assert {"job_stored", "job_retried", "job_buried", "child_died"} <= {line["event"] for line in lines}
    assert sum(1 + line.get("count", 0) for line in lines if line["event"] == "child_died") == 3
    command = [sys.executable, "-m", "zgrid", "logs", *logs, "--job", str(photos / "evil.jpg")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    life = re.findall("child_died|job_retried|job_buried", shown)
    assert sorted(life) == ["child_died", "child_died", "job_buried", "job_retried", "job_retried"]
    assert "good.jpg" not in shown
