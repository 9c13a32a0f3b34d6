"""One line of a log: read from JSON, asked whether it is wanted, and shown as a person likes to read it."""

import json
import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from zgrid.cli.output import clean, span
from zgrid.log import LEVELS
from zgrid.sources import path_to_uri

TEXT_CHARS_MAX = 72
"""Longer values are cut, unless the whole is asked for."""

REMEMBERED_MAX = 1000
"""Names of fields, and beginnings of lines, that are kept ready."""

FIRST = frozenset({"time", "level", "event", "role", "instance"})
LAST_WORDS = frozenset({"stderr", "exception", "message"})
"""Fields whose end tells more than their beginning."""

_BEGIN = re.compile(rb'\{"time": ?"')
_SIZES = ("", "kB", "MB", "GB")


class Line(NamedTuple):
    """One line. ``at``: when, in UTC as logs have it, or when the line before was; ``fields``: None where no JSON."""

    at: str
    raw: bytes
    fields: dict[str, Any] | None


def read(raw: bytes, at: str) -> Line:
    """Return a line from its bytes, which may have something before the JSON, as journalctl and docker put there."""
    text = raw
    if not raw.startswith(b"{"):
        found = _BEGIN.search(raw)
        if found is None:
            return Line(at, raw, None)
        text = raw[found.start() :]
    fields = _fields(text)
    if fields is None or (text is not raw and not ("level" in fields and "event" in fields)):
        return Line(at, raw, None)
    return Line(utc(fields.get("time")) or at, text, fields)


def _fields(text: bytes) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            fields = json.loads(text)  # takes what orjson does not: names that are no text, numbers of any length
        except (ValueError, RecursionError):
            return None
    return fields if type(fields) is dict else None


def utc(time: object) -> str | None:
    """Return a line's time in the one form in which times can be compared as text; None where it is none."""
    if type(time) is not str:
        return None
    if len(time) == 24 and time[23] == "Z" and time[10] == "T" and time[19] == ".":
        return time
    try:
        return text_of(datetime.fromisoformat(time))
    except (ValueError, OverflowError):
        return None


def text_of(moment: datetime) -> str:
    """Return a moment as logs have it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Wanted(NamedTuple):
    """Which lines are wanted: those that fit everything that is given here. Lines that are no JSON always are.

    ``level`` is the lowest one, as a number; ``since`` is as ``Line.at``; ``event`` says whether one of that name is.
    """

    level: int = 0
    since: str = ""
    roles: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    workers: frozenset[str] = frozenset()
    jobs: frozenset[str] = frozenset()
    event: Callable[[str], bool] | None = None

    def takes(self, line: Line) -> bool:
        """Whether a line is wanted."""
        if line.at < self.since and line.at:
            return False
        fields = line.fields
        if fields is None:
            return True
        if self.level and LEVELS.get(str(fields.get("level")), self.level) < self.level:
            return False
        if self.event is not None and not self.event(str(fields.get("event"))):
            return False
        if self.roles and str(fields.get("role")) not in self.roles:
            return False
        if self.instances and str(fields.get("instance")) not in self.instances:
            return False
        if self.workers and not self._is_of_worker(fields):
            return False
        return not self.jobs or self._is_of_job(fields)

    def _is_of_worker(self, fields: dict[str, Any]) -> bool:
        """Whether a worker wrote it, or somebody wrote it of a worker."""
        return str(fields.get("worker")) in self.workers or (
            fields.get("role") == "worker" and str(fields.get("instance")) in self.workers
        )

    def _is_of_job(self, fields: dict[str, Any]) -> bool:
        if any(str(fields[name]) in self.jobs for name in ("job", "uri", "key") if name in fields):
            return True
        jobs = fields.get("jobs")
        return isinstance(jobs, list) and any(str(job) in self.jobs for job in jobs)


def job_names(jobs: Iterable[str]) -> frozenset[str]:
    """Return what the fields of a line may call these jobs: as they are given, and a path as a URI."""
    names = set()
    for job in jobs:
        names |= {job, job.lower()}
        if not job.isdecimal() and "://" not in job:
            names.add(path_to_uri(os.path.abspath(job)))  # noqa: PTH100 - links must stay, as in the ledger
    return frozenset(names)


Show = Callable[[Any, bool], str]
"""Makes text of a value, the whole of it if asked to."""


class Style(NamedTuple):
    """How lines are shown. ``long``: nothing is cut; ``terminal``: a date stands above its lines and not in each."""

    long: bool = False
    terminal: bool = False
    colours: bool = False


_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[1;31m"}


class Teller:
    """Makes lines for people. Remembers how wide names are, and the last date, so that lines stand below each other."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._dim, self._plain = (_DIM, _PLAIN) if style.colours else ("", "")
        self._minute = ("", "", "")
        self._date = ""
        self._who_width = self._event_width = 0
        self._heads: dict[tuple[Any, ...], str] = {}
        self._fields: dict[str, tuple[str, Show]] = {}

    def tell(self, line: Line) -> str:
        """Return what to print of a line: one line, or with ``long`` and text of several lines, more."""
        fields = line.fields
        if fields is None:
            text = line.raw.decode("utf-8", "backslashreplace")
            return "\t".join(map(_clean, text.split("\t"))) if self._style.terminal else text
        time, before = self._time(fields.get("time"))
        parts = [f"{before}{self._dim}{time}{self._plain} {self._head(fields)}"]
        below: list[str] = []
        long = self._style.long
        for name, value in fields.items():
            if name in FIRST:
                continue
            label, show = self._fields.get(name) or self._field(name)
            if not long:
                if value is not None and value != "":
                    parts.append(label + show(value, False))
            elif type(value) is str and "\n" in value.strip():
                below += [f"   {label.rstrip('=')}:", *(f"      {_clean(one)}" for one in value.splitlines())]
            else:
                parts.append(label + show(value, True))
        return "\n".join(["".join(parts).rstrip(), *below])

    def _head(self, fields: dict[str, Any]) -> str:
        """Return level, who and event, each as wide as the widest before."""
        names = (fields.get("level"), fields.get("event"), fields.get("role"), fields.get("instance"))
        try:
            return self._heads[names]
        except (KeyError, TypeError):  # new, or a list where a name should be
            pass
        level, event, role, instance = ("-" if name is None else _clean(name) for name in names)
        who = role if instance == "-" else f"{role}/{instance}"
        widths = (self._who_width, self._event_width)
        self._who_width, self._event_width = min(24, max(widths[0], len(who))), min(16, max(widths[1], len(event)))
        if widths != (self._who_width, self._event_width) or len(self._heads) > REMEMBERED_MAX:
            self._heads.clear()
        colour = _COLOURS.get(level, "") if self._style.colours else ""
        plain = _PLAIN if colour else ""
        head = f"{colour}{level:<7}{plain} {who:<{self._who_width}} {colour}{event:<{self._event_width}}{plain}"
        if all(name is None or type(name) is str for name in names):
            self._heads[names] = head
        return head

    def _field(self, name: str) -> tuple[str, Show]:
        """Return what stands before a value, and how it is shown."""
        if len(self._fields) > REMEMBERED_MAX:
            self._fields.clear()
        label, show = _shown_as(name)
        found = self._fields[name] = (f" {self._dim}{_clean(label)[:TEXT_CHARS_MAX]}={self._plain}", show)
        return found

    def _time(self, time: object) -> tuple[str, str]:
        """Return the time of a line as clocks here show it, and a line with the date where that is a new one."""
        at = utc(time)
        if at is None:
            return _clean(time), ""
        if self._minute[0] != at[:16]:
            try:
                here = datetime.fromisoformat(at[:16] + "+00:00").astimezone()
            except (ValueError, OverflowError):
                return _clean(time), ""
            self._minute = (at[:16], here.strftime("%Y-%m-%d"), here.strftime("%H:%M"))
        _, date, clock = self._minute
        text = f"{clock}{_clean(at[16:23])}"
        if not self._style.terminal:
            return f"{date} {text}", ""
        before = "" if date == self._date else f"{self._dim}-- {date}{self._plain}\n"
        self._date = date
        return text, before


def _shown_as(name: str) -> tuple[str, Show]:
    """Return how a field of this name is called and shown."""
    if name.endswith("_per_s"):
        return name.removesuffix("_per_s"), lambda value, long: f"{_value(value, long)}/s"
    if name.endswith("_ms"):
        return name.removesuffix("_ms"), _duration
    if name.endswith("_s"):
        return name.removesuffix("_s"), lambda value, long: _duration(_times(value, 1000), long)
    if name.endswith("_bytes"):
        return name.removesuffix("_bytes"), _size
    if name == "uri":
        return name, _uri
    return name, _last_words if name in LAST_WORDS else _value


def _times(value: Any, factor: int) -> Any:
    return value * factor if type(value) in {int, float} else value


def _duration(value: Any, long: bool) -> str:
    if type(value) not in {int, float}:
        return _value(value, long)
    if 0 < value < 10:
        return f"{value:.2g}ms"
    return f"{value:.0f}ms" if abs(value) < 1000 else span(value).replace(" ", "")


def _size(value: Any, long: bool) -> str:
    if type(value) is not int or value < 1000:
        return _value(value, long)
    power = min(3, (len(str(value)) - 1) // 3)
    size = value / 1000**power
    return f"{size:.0f}{_SIZES[power]}" if size >= 100 else f"{size:.3g}{_SIZES[power]}"


def _uri(value: Any, long: bool) -> str:
    """Return the path of a file's URI, its end first of all; the whole of everything else."""
    if long or type(value) is not str:
        return _value(value, long=True)
    folder, slash, name = value.removeprefix("file://").rpartition("/")
    text = _clean(f"{_unquoted(folder)}{slash}{unquote(name, errors='backslashreplace') if '%' in name else name}")
    if len(text) > TEXT_CHARS_MAX:
        text = f"{text[:16]}…{text[17 - TEXT_CHARS_MAX :]}"
    return _quoted(text)


@lru_cache(REMEMBERED_MAX)
def _unquoted(folder: str) -> str:
    return unquote(folder, errors="backslashreplace")


def _last_words(value: Any, long: bool) -> str:
    if long or type(value) is not str:
        return _value(value, long)
    lines = value.strip().splitlines()
    text = _clean(lines[-1]) if lines else ""
    if len(lines) > 1 or len(text) > TEXT_CHARS_MAX:
        text = f"…{text[1 - TEXT_CHARS_MAX :]}"
    return _quoted(text)


def _value(value: Any, long: bool) -> str:
    """Return any value."""
    if type(value) is int:
        return str(value)
    if type(value) is str:
        return _quoted(_clean(value)) if long else _text(value)
    if type(value) is float:
        return f"{value:.6g}"
    if isinstance(value, list) and all(type(one) in {str, int} for one in value):
        text = ",".join(map(str, value))
    elif isinstance(value, list | dict):
        text = _json(value)
    else:
        return clean(value)
    return _quoted(_clean(text)) if long else _text(text)


def _text(text: str) -> str:
    return _as_one(text) if len(text) <= TEXT_CHARS_MAX else _as_one(text[: TEXT_CHARS_MAX - 1] + "…")


@lru_cache(REMEMBERED_MAX)
def _as_one(text: str) -> str:
    return _quoted(_clean(text))


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return json.dumps(value)


def _quoted(text: str) -> str:
    """Return a text as it is where one sees where it ends."""
    if text and " " not in text and '"' not in text and "=" not in text:
        return text
    return f'"{text}"' if '"' not in text else f"'{text}'"


def _clean(value: Any) -> str:
    return value if type(value) is str and value.isprintable() else clean(value)
