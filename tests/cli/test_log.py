"""Structured logs: what a line looks like, and that writing it never stops anybody."""

import io
import json
import logging
import os
import re
import warnings
from datetime import UTC, datetime

import pytest

from zgrid import log
from zgrid.log import EVENTS, Event, RateLimit


class Terminal(io.StringIO):
    """A stream in memory that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _as_before():
    """Logging is as it was after each test."""
    handlers = logging.getLogger().handlers[:]
    yield
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = handlers


def written(write, **settings):
    """Return the lines that ``write`` makes, decoded."""
    stream = io.StringIO()
    write(log.configure("sink", "s1", stream=stream, **settings))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_begins_with_the_same_fields():
    """Time, level, event, role and instance come first and in this order, then the line's own fields."""
    (line,) = written(lambda out: out.info(Event.SINK_UP, address="tcp://h:1", jobs=3))
    assert list(line) == ["time", "level", "event", "role", "instance", "address", "jobs"]
    assert [line[key] for key in list(line)[1:]] == ["info", "sink_up", "sink", "s1", "tcp://h:1", 3]


def test_time_is_utc_in_milliseconds():
    """The time is ISO 8601 in UTC with three decimals and a Z, in the fast path too."""
    before = datetime.now(UTC).replace(microsecond=0)
    for write in [lambda out: out.info(Event.SINK_UP), lambda out: out.lines(Event.SINK_UP, [{"a": 1}])]:
        (line,) = written(write)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert before <= datetime.fromisoformat(line["time"]) <= datetime.now(UTC)


def test_many_lines_are_as_one_by_one():
    """The fast path writes the same lines, in order, as the ordinary one."""
    rows = [{"job": number, "worker": "w1", "faces": number % 3, "wait_ms": 1.5} for number in range(50)]
    fast = written(lambda out: out.lines(Event.JOB_STORED, rows))
    slow = written(lambda out: [out.info(Event.JOB_STORED, **row) for row in rows])
    assert [list(line.items())[1:] for line in fast] == [list(line.items())[1:] for line in slow]
    assert len(fast) == 50


def test_many_lines_with_lines_within():
    """Rows that hold maps which look like rows, or a text that looks like the end of one, are still a line each."""
    rows = [{"job": number, "note": [{"job": 1}, {"job": '},{"job":2'}]} for number in range(3)]
    for odd in (rows, [*rows, {"job": float("nan"), 7: "no text"}]):
        lines = written(lambda out, odd=odd: out.lines(Event.JOB_STORED, odd))
        assert [line["job"] for line in lines][:3] == [0, 1, 2]
        assert len(lines) == len(odd)
        assert lines[1]["note"] == rows[1]["note"]


def test_many_lines_are_one_write(tmp_path):
    """A batch of lines reaches the file whole, with a single system call."""
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb", buffering=0) as pipe:
        log.configure("sink", "s1", stream=stream).lines(Event.JOB_STORED, [{"job": number} for number in range(100)])
        assert pipe.read(1 << 16).count(b"\n") == 100


def test_no_lines_is_no_write():
    """An empty batch writes nothing."""
    assert written(lambda out: out.lines(Event.JOB_STORED, [])) == []


def test_level_holds_back():
    """Below the level nothing is written, in the fast path neither."""

    def write(out):
        out.debug(Event.SINK_UP)
        out.info(Event.SINK_UP)
        out.lines(Event.JOB_STORED, [{"job": 1}])
        out.warning(Event.SINK_GONE)
        out.error(Event.DISK_FULL)

    assert [line["level"] for line in written(write, level="warning")] == ["warning", "error"]
    assert [line["level"] for line in written(write, level="debug")] == ["debug", "info", "info", "warning", "error"]


def test_bound_fields_are_in_every_line():
    """A bound log adds its fields, and the first one stays as it was."""

    def write(out):
        out.bind(worker="w1").info(Event.CHILD_STARTED)
        out.bind(worker="w2").lines(Event.JOB_STORED, [{"job": 1}])
        out.info(Event.STOPPED)

    assert [line.get("worker") for line in written(write)] == ["w1", "w2", None]


@pytest.mark.parametrize(
    "write", [lambda out: out.info("job_stolen"), lambda out: out.lines("job_stolen", [{"job": 1}])]
)
def test_unknown_event_is_refused(write):
    """A name that is not in the vocabulary is a fault of ours."""
    with pytest.raises(AssertionError, match="job_stolen"):
        written(write)


def test_vocabulary_is_documented():
    """Every event has a meaning, in one line that says more than its name, and names are plain."""
    assert {event.value for event in Event} == set(EVENTS)
    for name, meaning in EVENTS.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert len(meaning) > len(name)
        assert "\n" not in meaning
    assert len(set(EVENTS.values())) == len(EVENTS)


ODD = {"name": "caf\udce9", "key": b"\x01\xff", "huge": 2**80, "set": {1}, "error": ValueError("x"), "keys": {1: 2}}


@pytest.mark.parametrize(
    "write", [lambda out: out.info(Event.SINK_UP, **ODD), lambda out: out.lines(Event.SINK_UP, [ODD])]
)
def test_anything_can_be_logged(write):
    """Names that are not text, bytes, huge numbers, sets and errors become JSON instead of an exception."""
    (line,) = written(write)
    assert [line[key] for key in ODD] == ["caf\udce9", "01ff", 2**80, [1], "x", {"1": 2}]


def test_newlines_stay_in_their_line():
    """A value with newlines and control characters cannot forge a second line."""
    (line,) = written(lambda out: out.info(Event.PEER_ERROR, reason='x\n{"event":"job_stored"}\x1b[2J'))
    assert line["reason"].startswith("x\n")


def test_terminal_gets_text_for_people(monkeypatch):
    """On a terminal lines are coloured text with the same content; NO_COLOR makes it plain."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for plain in [False, True]:
        if plain:
            monkeypatch.setenv("NO_COLOR", "1")
        stream = Terminal()
        out = log.configure("sink", "s1", stream=stream)
        out.info(Event.SINK_UP, jobs=3)
        out.lines(Event.JOB_STORED, [{"job": 7}])
        first, second = stream.getvalue().splitlines()
        assert ("\x1b[" in first) is not plain
        assert "sink_up" in first
        assert "job_stored" in second


def test_log_that_cannot_be_written_stops_nobody():
    """Lines that a full disk or a closed pipe takes are counted, and told with the next one that gets through."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(write, "w") as stream, os.fdopen(read, "rb", buffering=0) as pipe:
        out = log.configure("sink", "s1", stream=stream)
        for _ in range(200):
            out.lines(Event.JOB_STORED, [{"job": number} for number in range(100)])
        pipe.read(1 << 20)
        out.info(Event.SINK_UP)
        after = pipe.read(1 << 20).split(b"\n")
    told = next(json.loads(line) for line in after if b"log_lost" in line)
    assert 0 < told["lines"] < 20_000
    assert list(told) == ["time", "level", "event", "role", "instance", "lines"]
    assert json.loads(after[-2])["event"] == "sink_up"


def test_closed_pipe_stops_nobody():
    """A reader that has gone away is no error."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        log.configure("sink", "s1", stream=stream).info(Event.SINK_UP)


def test_libraries_speak_in_our_lines():
    """What a library logs, and a warning, becomes a line of ours; setting up twice does not double it."""

    def write(out):
        log.configure("sink", "old", stream=io.StringIO())
        logging.getLogger("sqlalchemy.pool").warning("lost %s", "it")

    assert written(write) == []
    stream = io.StringIO()
    log.configure("sink", "s1", stream=stream)
    logging.getLogger("sqlalchemy.pool").warning("lost %s", "it")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("mind this", stacklevel=1)
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (first["event"], first["library"], first["message"]) == ("library_message", "sqlalchemy.pool", "lost it")
    assert "mind this" in second["message"]


def test_exception_is_one_line():
    """A traceback is a field of one line."""

    def write(out):
        try:
            int("odd")
        except ValueError:
            out.error(Event.STORE_FAILED, exc_info=True)

    (line,) = written(write)
    assert "ValueError: invalid literal" in line["exception"]


def test_rate_limit_counts_what_it_holds_back():
    """One line in a minute for each event and subject; the next one says how many were held back."""
    limit = RateLimit()
    assert limit.take("peer_error", "a", 0.0) == 0
    assert [limit.take("peer_error", "a", now) for now in (1.0, 30.0, 59.9)] == [None] * 3
    assert limit.take("peer_error", "b", 59.9) == 0
    assert limit.take("worker_silent", "a", 59.9) == 0
    assert limit.take("peer_error", "a", 60.0) == 3
    assert limit.take("peer_error", "a", 60.1) is None
    assert limit.take("peer_error", "a", 120.0) == 1


def test_rate_limit_is_bounded():
    """Ever new subjects do not make it grow, and the latest ones are the ones it knows."""
    limit = RateLimit(subjects_max=10)
    for number in range(1000):
        assert limit.take("peer_error", number, 0.0) == 0
    assert len(limit._seen) == 10
    assert limit.take("peer_error", 999, 1.0) is None


def test_names_cannot_steer_a_terminal():
    """What a stranger's file or machine is called is shown, escapes, newlines and turned writing made visible."""
    stream = Terminal()
    evil = "w1\x1b[2J\x9b31m\u202egpj"
    out = log.configure("sink", "s1", stream=stream)
    out.info(Event.SINK_UP, worker=evil, more={"a\x07": ["b\x1b[1m"]}, lines=f"one\r\n{evil}")
    shown = re.sub(r"\x1b\[\d*(;\d+)*m", "", stream.getvalue())  # our own colours
    assert shown.count("\n") == 1
    assert shown.rstrip("\n").isprintable()
    assert "x1b[2J" in shown
