"""``zgrid logs``: what people see of a log, from files, pipes and terminals, and that nothing of it is lost."""

import gzip
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zgrid.cli import logline, status_of
from zgrid.cli.linewise import LINE_BYTES_MAX
from zgrid.log import Event, Log, Output

WITHIN_S = 30.0

STORED = {
    "time": "2026-03-01T11:22:33.444Z", "level": "info", "event": "job_stored", "role": "sink", "instance": "results",
    "job": 41, "uri": "file:///photos/a%20b.jpg", "worker": "w1", "attempt": 1, "faces": 2, "wait_ms": 12.3,
    "work_ms": 61_234.5, "key": "00ff" * 8,
}  # fmt: skip
GONE = {
    "time": "2026-03-01T11:22:35.000Z", "level": "warning", "event": "worker_gone", "role": "ventilator",
    "instance": "photos", "worker": "w1", "lane": 3, "reason": "its connection closed", "jobs": 4, "count": 17,
}  # fmt: skip
DIED = {
    "time": "2026-03-01T11:22:34.000Z", "level": "warning", "event": "child_died", "role": "worker", "instance": "w1",
    "job": 42, "attempt": 2, "uri": "file:///photos/c.jpg", "signal": 11, "exit": None,
    "stderr": "Fatal Python error\n  File a.py\nSegmentation fault", "again_in_s": 0.5,
}  # fmt: skip


def text(*lines):
    """Return lines as they stand in a log."""
    return "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def in_utc(monkeypatch):
    """Clocks here show UTC."""
    yield from _in_zone(monkeypatch, "UTC")


@pytest.fixture
def in_kathmandu(monkeypatch):
    """Clocks here are 5 hours and 45 minutes ahead."""
    yield from _in_zone(monkeypatch, "NPT-5:45")


def _in_zone(monkeypatch, zone):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def shown(capsys, monkeypatch, tmp_path):
    """Return what the command prints of these lines, and what on standard error; it must end well."""

    def show(*lines, words=()):
        monkeypatch.setenv("ZGRID_DEBUG", "1")
        log = tmp_path / "log.jsonl"
        log.write_text(text(*lines), "utf-8", "surrogateescape")
        assert status_of(["logs", str(log), *words]) == 0
        return tuple(capsys.readouterr())

    return show


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


# -- what a line looks like


def test_lines_are_for_people(shown, in_utc):
    """Times to the ms, who, what, and the fields: durations and paths as one says them, the last words of stderr."""
    out, err = shown(STORED, DIED, GONE)
    assert err == ""
    stored, died, gone = out.splitlines()
    assert stored == (
        '2026-03-01 11:22:33.444 info    sink/results job_stored job=41 uri="/photos/a b.jpg" worker=w1 attempt=1 '
        f"faces=2 wait=12ms work=1min1s key={'00ff' * 8}"
    )
    assert died == (
        "2026-03-01 11:22:34.000 warning worker/w1    child_died job=42 attempt=2 uri=/photos/c.jpg signal=11 "
        'stderr="…Segmentation fault" again_in=500ms'
    )
    assert gone == (
        "2026-03-01 11:22:35.000 warning ventilator/photos worker_gone worker=w1 lane=3 "
        'reason="its connection closed" jobs=4 count=17'
    )


def test_times_are_local(shown, in_kathmandu):
    """A log's UTC becomes the time of the clock on the wall, and its date."""
    out, _ = shown({**STORED, "time": "2026-02-28T19:00:00.001Z"}, {**STORED, "time": "2026-02-28T20:00:59+01:00"})
    assert [line[:23] for line in out.splitlines()] == ["2026-03-01 00:45:00.001", "2026-03-01 00:45:59.000"]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("wait_ms", 0, "wait=0ms"),
        ("wait_ms", 0.25, "wait=0.25ms"),
        ("wait_ms", 1234, "wait=1.2s"),
        ("wait_ms", "soon", "wait=soon"),
        ("ago_s", 200, "ago=3min20s"),
        ("rate_per_s", 41.25, "rate=41.25/s"),
        ("held_bytes", 67_108_864, "held=67.1MB"),
        ("held_bytes", 999_999, "held=1000kB"),
        ("held_bytes", 512, "held=512"),
        ("sources", ["/a", "/b"], "sources=/a,/b"),
        ("odd", {"a": [1, {"b": None}]}, """odd='{"a":[1,{"b":null}]}'"""),
        ("flag", True, "flag=yes"),
        ("empty", {}, "empty={}"),
        ("reason", 'say "x"', "reason='say \"x\"'"),
        ("reason", "x" * 200, f"reason={'x' * 71}…"),
        ("uri", "file:///photos/" + "d/" * 100 + "img.jpg", "uri=/photos/d/d/d/d/…"),
        ("uri", "zip:file:///a.zip!/b%C3%A9.jpg", "uri=zip:file:///a.zip!/bé.jpg"),
        ("uri", "put:00ff/a%0Ab.jpg", "uri=put:00ff/a\\nb.jpg"),
        ("reason", "x\x1b[2J\ny", "reason=x\\x1b[2J\\ny"),
    ],
)
def test_values_are_readable(shown, field, value, said):
    """Units, lists, nested data, long and hostile texts: all on one line, and none of it can steer a terminal."""
    out, _ = shown({"event": "odd_event", field: value})
    assert out.startswith("- ")
    assert said in out
    assert out.count("\n") == 1


def test_long_cuts_nothing(shown):
    """With --long every value is whole, also what is null, and text of several lines stands below its line."""
    out, _ = shown({**DIED, "reason": "x" * 500}, words=["--long"])
    lines = out.splitlines()
    assert "x" * 500 in lines[0]
    assert "uri=file:///photos/c.jpg" in lines[0]
    assert "exit=-" in lines[0]
    assert lines[1:] == ["    stderr:", "      Fatal Python error", "        File a.py", "      Segmentation fault"]


def test_unknown_events_and_fields_are_shown(shown):
    """A line of a newer zgrid, or of somebody else, loses nothing."""
    out, _ = shown(
        {"time": "now", "level": "loud", "event": "job_sung", "verse": 3}, {"msg": "hello", "n": [1.5, None]}
    )
    assert out.splitlines()[0] == "now loud    - job_sung verse=3"
    assert "msg=hello n=[1.5,null]" in out


@pytest.mark.parametrize("prefix", ["Nov 24 14:03:12 host zgrid[1]: ", "sink-1  | "])
def test_what_others_put_before_a_line_is_taken_off(shown, prefix):
    """Lines as journalctl and docker show them are read as well."""
    out, _ = shown(prefix + text(STORED))
    assert "job_stored job=41" in out
    assert "host" not in out


# -- which lines


TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nKeyError: {"time":"1"}\n'


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--job", "9"],
        ["--event", "settled"],
        ["--level", "error"],
        ["--role", "worker"],
        ["--worker", "w"],
        ["--long"],
    ],
)
def test_a_traceback_never_vanishes(shown, words):
    """Lines that are no JSON are shown as they are, whatever is asked for."""
    out, _ = shown(STORED, TRACEBACK, GONE, words=words)
    assert TRACEBACK in out


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["--job", "41"], [41]),
        (["--job", "41", "--job", "42"], [41, 42]),
        (["--job", "/photos/a b.jpg"], [41]),
        (["--job", "/photos/x/../c.jpg"], [42]),
        (["--job", "file:///photos/a%20b.jpg"], [41]),
        (["--job", "00FF" * 8], [41]),
        (["--job", "4"], []),
        (["--worker", "w1"], [41, 42, None]),
        (["--worker", "results"], []),
        (["--event", "job_stored"], [41]),
        (["--event", "job_*", "--event", "child_died"], [41, 42]),
        (["--level", "warning"], [42, None]),
        (["--level", "error"], []),
        (["--level", "debug"], [41, 42, None]),
        (["--role", "sink", "--role", "worker"], [41, 42]),
        (["--instance", "photos"], [None]),
        (["--since", "2026-03-01T11:22:34Z"], [42, None]),
        (["--since", "2026-03-01T11:22:34.5+00:00"], [None]),
        (["--since", "10m"], []),
        (["--since", "100000d", "--lines", "2"], [42, None]),
        (["-n", "0"], []),
        (["--level", "warning", "-n", "1", "--worker", "w1", "--role", "worker"], [42]),
    ],
)
def test_only_what_is_asked_for(shown, words, jobs):
    """Each option leaves out what does not fit it, several together what does not fit all."""
    out, _ = shown(STORED, DIED, GONE, words=["--json", *words])
    assert [json.loads(line).get("job") for line in out.splitlines()] == jobs


def test_a_list_of_jobs_is_about_each_of_them(shown):
    """A line that names several jobs is found by any of them."""
    out, _ = shown({"event": "by_hand", "jobs": [3, 4]}, {"event": "by_hand", "jobs": 4}, words=["--job", "4"])
    assert out == "- -       - by_hand jobs=3,4\n"


def test_what_has_no_time_has_that_of_the_line_before_it(shown):
    """With --since a traceback belongs to the line that it follows."""
    out, _ = shown(STORED, "old\n", GONE, "new\n", words=["--since", "2026-03-01T11:22:34Z"])
    assert "old" not in out
    assert out.endswith("new\n")


def test_json_is_passed_on_unchanged(shown):
    """With --json lines keep every byte; what is no JSON goes to standard error, where no program trips over it."""
    odd = '{ "event":"x",  "huge": 123456789012345678901234567890 }\n'
    out, err = shown(STORED, "Traceback\n", odd, "[1]\n", words=["--json"])
    assert out == text(STORED) + odd
    assert err == "Traceback\n[1]\n"


def test_several_files_are_one_story(capsys, tmp_path):
    """Lines of several files come in order of time, a traceback right after the line before it in its file."""
    (tmp_path / "a").write_text(text("started\n", STORED, "crash a\n", GONE))
    (tmp_path / "b").write_text(text(DIED, "crash b\n"))
    assert status_of(["logs", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    found = re.findall("started|job_stored|crash a|child_died|crash b|worker_gone", out)
    assert found == ["started", "job_stored", "crash a", "child_died", "crash b", "worker_gone"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["time", "level", "event", "role", "instance", "job", "jobs", "uri", "worker", "a_ms", "b_s"])
NAMES |= st.sampled_from(["n_bytes", "stderr", "x_per_s", "key"]) | st.text(max_size=5)


@given(st.dictionaries(NAMES, JSON, max_size=8), st.booleans(), st.booleans())
def test_any_json_is_one_line(fields, long, colours):
    """Whatever is in a line, each field's name is shown, in one line unless asked for more, and nothing fails."""
    raw = json.dumps(fields).encode()
    line = logline.read(raw, "")
    told = logline.Teller(logline.Style(long=long, terminal=colours, colours=colours)).tell(line)
    assert long or "\n" not in told
    assert all(letter.isprintable() or letter in "\n\x1b" for letter in told)
    every = frozenset({"x"})
    logline.Wanted(10, "2026", every, every, every, every, lambda _: True).takes(line)
    logline.Wanted(jobs=every, workers=every).takes(line)


@given(st.binary(max_size=60).filter(lambda raw: b"\n" not in raw))
def test_any_bytes_are_shown(raw):
    """Bytes that are no text, broken JSON: every line is shown, and on a terminal it cannot steer it."""
    line = logline.read(raw, "")
    told = logline.Teller(logline.Style()).tell(line)
    assert line.fields is not None or told == raw.decode("utf-8", "backslashreplace")
    coloured = logline.Teller(logline.Style(terminal=True)).tell(line)
    assert line.fields is not None or all(letter.isprintable() or letter == "\t" for letter in coloured)


# -- options


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--level", "loud"], "--level must be debug, info, warning or error, not 'loud'"),
        (["--event", "job_storde"], "did you mean job_stored?"),
        (["--event", "zzzzzz"], "there are settings, listening"),
        (["--role", "sinks"], "--role must be one of run, ventilator, worker, sink, not 'sinks'"),
        (["--since", "yesterday"], "--since: 'yesterday' is no time: write 10m"),
        (["--since", "25:61"], "--since: '25:61' is no time"),
        (["--since", "999999999d"], "is no time"),
        (["--lines", "-1"], "--lines"),
        (["--nope"], "--nope"),
        (["/nowhere/x.jsonl"], "/nowhere/x.jsonl cannot be read: there is no such file"),
        (["/"], "/ is a folder: name the files in it"),
        (["-f", "/etc/passwd/x"], "/etc/passwd/x cannot be read: Not a directory"),
    ],
)
def test_wrong_usage_is_one_sentence(words, said, capsys):
    """What the operator gets wrong is said in one sentence, before anything is shown."""
    assert status_of(["logs", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("zgrid: ")
    assert said in err
    assert err.count("\n") == 1


def test_compressed_files_are_named(tmp_path, capsys):
    """A rotated log that is compressed is not shown as noise; the sentence says how to read it."""
    path = tmp_path / "log.jsonl.1.gz"
    path.write_bytes(gzip.compress(text(STORED).encode()))
    assert status_of(["logs", str(path)]) == 2
    assert f"zcat {path} | zgrid logs" in capsys.readouterr().err


@pytest.mark.parametrize(("since", "lines"), [("1m", 0), ("90s", 1), ("1.5h", 1), ("500ms", 0)])
def test_since_is_so_long_ago(shown, since, lines):
    """Durations count back from now."""
    at = logline.text_of(logline.datetime.now(logline.UTC) - logline.datetime.resolution * 75_000_000)
    out, _ = shown({**STORED, "time": at}, words=["--since", since])
    assert out.count("\n") == lines


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


# -- what our own processes write


def test_our_own_log_is_read_as_it_is_written():
    """Every line that a role can write is one that this command reads, with its fields in their places."""
    stream = io.StringIO()
    log = Log(Output(stream, {}), 10, {"role": "sink", "instance": "s"})
    log.info(Event.SINK_UP, name="caf\udce9", huge=2**80, key=b"\1")
    log.lines(Event.JOB_STORED, [{"job": 1, "uri": "file:///a"}])
    for raw in stream.getvalue().encode("utf-8", "backslashreplace").splitlines():
        line = logline.read(raw, "")
        assert line.fields["role"] == "sink"
        assert line.at == line.fields["time"]
