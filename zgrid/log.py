"""Structured logs: one JSON object for each line, or colours where a person looks on; and the vocabulary of events.

A healthy job is one line, ``job_stored``, written by the sink. Everything else is an exception to explain. Every line
has ``time`` (UTC, ISO 8601, ms), ``level``, ``event``, ``role`` and ``instance``, in that order, then its own fields.
"""

import json
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import IO, Any, Self

import orjson
import structlog

LEVELS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Event(StrEnum):
    """Every name that a line of the log can have, each with its meaning. Names are an interface: never reuse one."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        """Make a member that is its name and knows its meaning."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning = meaning
        return member

    SETTINGS = "settings", "the settings that a process runs with, once at its start"
    LISTENING = "listening", "a process has bound its addresses and can be reached"
    METRICS = "metrics", "a process serves its metrics and its health over HTTP, and where"
    DRAINING = "draining", "a process was asked to stop and finishes what it has begun"
    STOPPED = "stopped", "a process ends, and why"
    DETECTOR = "detector", "which face detector is used, and what to do for a better one"
    FILTER_MISSING = "filter_missing", "a filter cannot run at this worker, and why; other workers get its jobs"
    LIBRARY_MESSAGE = "library_message", "a library that zgrid uses said something through Python's logging or warnings"
    LOG_LOST = "log_lost", "lines of the log could not be written before this one, and how many"

    LEDGER_OPENED = "ledger_opened", "the ventilator has its ledger, with the number of jobs in each state"
    SCAN_STARTED = "scan_started", "the ventilator begins to look for images in its sources"
    SCAN_FINISHED = "scan_finished", "the sources are read: how many accepted, known already, passed over, and unread"
    FILE_PASSED_OVER = "file_passed_over", "a file in a source is not offered, and why; a warning if it is unread"
    LANE_OPENED = "lane_opened", "the ventilator has bound the socket of one worker"
    CHAIN_WAITING = (
        "chain_waiting",
        "jobs wait for a worker that has all of their chain, for a sink, or for an operator",
    )
    PAUSED = "paused", "somebody has stopped the ventilator, or one chain of it, from sending jobs"
    RESUMED = "resumed", "somebody lets the ventilator, or one chain of it, send jobs again"
    BY_HAND = "by_hand", "somebody has buried, cancelled, kicked or retried jobs: which of it, and how many"
    SETTLED = "settled", "every accepted job is stored, discarded, buried or cancelled"

    WORKER_JOINED = "worker_joined", "a worker said hello and was given a lane"
    WORKER_GONE = "worker_gone", "a worker's connection closed; its jobs are ready again at once"
    WORKER_SILENT = "worker_silent", "a worker missed its beats; its jobs are ready again"
    WORKER_REFUSED = "worker_refused", "a worker cannot take part, and why"
    VENTILATOR_UP = "ventilator_up", "a worker or a sink is connected to a ventilator"
    VENTILATOR_GONE = "ventilator_gone", "a worker or a sink has lost a ventilator and waits for it"
    VENTILATOR_AWAITED = "ventilator_awaited", "nobody answers at a ventilator's address; the worker goes on asking"
    SINK_UP = "sink_up", "a sink is connected and says that it can store"
    SINK_GONE = "sink_gone", "a sink was lost; what it had not stored is sent again"
    KEYS = "keys", "whose key a process has, and who is allowed: at its start, and whenever that has changed"
    KEYS_WRONG = "keys_wrong", "the list of who is allowed cannot be used; the one before holds until it is mended"
    PEER_REFUSED = "peer_refused", "somebody was kept out, or said what its key gives no right to; it was dropped"
    TURNED_AWAY = "turned_away", "another process does not let this one in, and why; it tries again"
    UNPROTECTED = "unprotected", "another machine is called without keys, and nobody has said --insecure"
    PEER_ERROR = "peer_error", "a message broke the protocol; it was counted and dropped"

    CHILD_STARTED = "child_started", "a child process of a worker is ready for images"
    CHILD_EXPOSED = "child_exposed", "the kernel cannot keep something from child processes that they do not need"
    CHILD_DIED = "child_died", "a child process ended by itself; the job that it was at has lost one attempt"
    CHILD_STARVED = "child_starved", "a child process had no memory left and was replaced; it costs no job an attempt"
    CHILD_OVERRAN = "child_overran", "a child process was killed because its job took longer than its time to run"

    JOB_STORED = "job_stored", "a job's row and picture are on disk: the one line of a healthy job"
    JOB_RETRIED = "job_retried", "an attempt failed and the job will be tried again"
    JOB_BURIED = "job_buried", "a job is given up, with its reason, until somebody looks at it"
    OUTCOME_LATE = "outcome_late", "a result came for a job that was settled or sent elsewhere; it was counted"
    STORE_FAILED = "store_failed", "results could not be stored; they wait and are tried again"
    DISK_FULL = "disk_full", "a disk is full: no new work is taken until there is room"


EVENTS: dict[str, str] = {event.value: event.meaning for event in Event}
"""Name -> meaning of every event."""


class Log:
    """Writes lines for one role and instance. ``bind`` makes another that adds its fields to every line."""

    def __init__(self, out: "Output", level: int, fields: Mapping[str, object]) -> None:
        self._out = out
        self._level = level
        self._fields = dict(fields)
        self._plain = structlog.wrap_logger(
            structlog.WriteLogger(out),  # type: ignore[arg-type]  # needs write and flush alone
            processors=[_known, _Order(self._fields), *_rendering(out.is_terminal)],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        )

    def bind(self, **fields: object) -> "Log":
        """Return a log that adds ``fields`` to every line."""
        return Log(self._out, self._level, {**self._fields, **fields})

    def debug(self, event: Event, **fields: object) -> None:
        """Write what only somebody who looks for a fault wants."""
        self._plain.debug(event, **fields)

    def info(self, event: Event, **fields: object) -> None:
        """Write what happened in order."""
        self._plain.info(event, **fields)

    def warning(self, event: Event, **fields: object) -> None:
        """Write what went wrong and mends itself."""
        self._plain.warning(event, **fields)

    def error(self, event: Event, **fields: object) -> None:
        """Write what wants somebody to look."""
        self._plain.error(event, **fields)

    def lines(self, event: Event, rows: Sequence[Mapping[str, object]]) -> None:
        """Write one info line for each row with a single write and one time: half a microsecond for each.

        No row is empty, and all begin with the same field.
        """
        if self._level > logging.INFO:
            return
        if self._out.is_terminal:
            for row in rows:
                self._plain.info(event, **row)
            return
        assert event in EVENTS, f"{event} is not in the vocabulary of zgrid.log.Event"
        start = _dump({"time": _now(), "level": "info", "event": event, **self._fields})[:-1] + b","
        if rows:
            self._out.write_bytes(_json_lines(start, rows), len(rows))


class Output:
    """Where lines go. A log that cannot be written never stops the grid: what is lost is counted and told later.

    ``fields``: what every line has; here the line about lost ones needs them.
    """

    def __init__(self, stream: IO[str], fields: Mapping[str, object]) -> None:
        self._stream = stream
        self._fields = dict(fields)
        self.is_terminal = stream.isatty()
        try:
            self._handle: int | None = stream.fileno()
        except (OSError, ValueError):  # a stream in memory
            self._handle = None
        self._lost = 0
        self._is_torn = False

    def write(self, text: str) -> None:
        """Write whole lines of text."""
        self.write_bytes(text.encode("utf-8", "backslashreplace"), text.count("\n"))

    def flush(self) -> None:
        """Do nothing: a write is on its way when ``write`` returns."""

    def write_bytes(self, text: bytes, lines: int) -> None:
        """Write so many whole lines, past Python's buffers, so that a full disk cannot leave half of them for later."""
        if self._lost:
            told = {"time": _now(), "level": "warning", "event": Event.LOG_LOST, **self._fields, "lines": self._lost}
            text = (b"\n" if self._is_torn else b"") + _dump(told) + b"\n" + text
        rest = memoryview(text)
        try:
            if self._handle is None:
                self._stream.write(text.decode("utf-8", "replace"))
            else:
                while rest:
                    rest = rest[os.write(self._handle, rest) :]
        except (OSError, ValueError):
            self._lost += lines
            self._is_torn = len(rest) < len(text)
        else:
            self._lost = 0


class _Order:
    """Puts the fields that every line has first, in their fixed order."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def __call__(self, _logger: object, level: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
        event = str(line.pop("event"))
        return {"time": _now(), "level": level, "event": event, **self._fields, **line}


def _known(_logger: object, _level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Stop at an event that is not in the vocabulary: it is a fault of ours that every test should find."""
    assert line["event"] in EVENTS, f"{line['event']} is not in the vocabulary of zgrid.log.Event"
    return line


def _rendering(is_terminal: bool) -> list[Any]:
    """Return the last processors: colours for a person, JSON for everybody else."""
    if is_terminal:
        return [
            _printable,
            structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ, timestamp_key="time", sort_keys=False),
        ]
    return [structlog.processors.format_exc_info, lambda _logger, _level, line: _dump(line).decode()]


def _printable(_logger: object, _level: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    """Make what could steer a terminal visible: names come from files and from other machines."""
    return {_visible(name): _visible(value) for name, value in line.items()}


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    if isinstance(value, dict):
        return {_visible(name): _visible(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(one) for one in value]
    return value


def _dump(line: Mapping[str, object]) -> bytes:
    """Return a line as JSON, whatever is in it: names of files need not be text, and numbers may be large."""
    try:
        return orjson.dumps(line, _unknown)
    except orjson.JSONEncodeError:
        return json.dumps(line, default=_unknown, skipkeys=True).encode()


def _json_lines(start: bytes, rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return a line of JSON for each row, with ``start`` in place of its brace."""
    with suppress(orjson.JSONEncodeError):
        # All rows at once take half the time; they are cut apart where each begins with the first one's first field.
        seam = b"},{" + orjson.dumps(next(iter(rows[0]))) + b":"
        texts = orjson.dumps(rows, _unknown)[2:-1].split(seam)
        if len(texts) == len(rows):  # else there is one within a row, too
            return start + (b"}\n" + start + seam[3:]).join(texts) + b"\n"
    return b"".join(start + _dump(row)[1:] + b"\n" for row in rows)


def _unknown(value: object) -> object:
    """Return something that JSON has, for a value that it has not."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value).encode("utf-8", "backslashreplace").decode()


def _now() -> str:
    """Return the time of the wall clock: people compare it, nothing decides by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Library(logging.Handler):
    """Takes what libraries say through Python's logging, and warnings, into our lines."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(Event.LIBRARY_MESSAGE, library=record.name, message=self.format(record))


def configure(role: str, instance: str, level: str = "info", stream: IO[str] | None = None) -> Log:
    """Return the log of one process, and send to it what libraries say.

    ``level`` is debug, info, warning or error; ``stream`` is standard error unless given. Lines are JSON where it is no
    terminal, and coloured where it is one (plain with NO_COLOR in the environment).
    """
    fields = {"role": role, "instance": instance}
    log = Log(Output(stream or sys.stderr, fields), LEVELS[level], fields)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Library)]:
        root.removeHandler(old)
    root.addHandler(_Library(log))
    logging.captureWarnings(capture=True)
    return log


class RateLimit:
    """Lets one line through for each (event, subject) in an interval, and counts what it holds back. Pure.

    Remembers ``subjects_max`` of them and forgets the one not seen for longest, so that a hostile peer with many names
    cannot make it grow.
    """

    def __init__(self, interval_s: float = 60.0, subjects_max: int = 1024) -> None:
        self._interval_s = interval_s
        self._subjects_max = subjects_max
        self._seen: OrderedDict[tuple[str, object], tuple[float, int]] = OrderedDict()

    def take(self, event: str, subject: object, now: float) -> int | None:
        """Return how many lines like this one were held back since the last, or None to hold this one back too.

        ``now`` is any steady clock, in seconds. Put the number into the line as ``count``.
        """
        key = (event, subject)
        last, held = self._seen.pop(key, (None, 0))
        if last is not None and now - last < self._interval_s:
            self._seen[key] = (last, held + 1)
            return None
        self._seen[key] = (now, 0)
        while len(self._seen) > self._subjects_max:
            self._seen.popitem(last=False)
        return held

    def release(self, event: str, subject: object, now: float, *, at_once: bool = False) -> int | None:
        """Return how many lines were held back before the last one that was, when that may be written now; else None.

        It may once the interval is over, or ``at_once``. A subject that was forgotten has nothing to wait for.
        """
        key = (event, subject)
        last, held = self._seen.get(key, (None, 1))
        if last is None:
            return 0
        if now - last < self._interval_s and not at_once:
            return None
        self._seen[key] = (now, 0)
        return max(0, held - 1)
