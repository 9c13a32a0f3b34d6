"""``zgrid logs``: what a line looks like to people, and which lines are shown."""

import gzip
import io
import json
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from log_lines import DIED, GONE, STORED, text

from zgrid.cli import logline, status_of
from zgrid.log import Event, Log, Output


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


@given(fields=st.dictionaries(NAMES, JSON, max_size=8), long=st.booleans(), colours=st.booleans())
@example(fields={"b_s": 1.797693134862316e305}, long=False, colours=False)
@example(fields={"a_ms": -(10**400)}, long=False, colours=False)
@example(fields={"a_ms": float("inf"), "b_s": float("nan")}, long=False, colours=False)
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
