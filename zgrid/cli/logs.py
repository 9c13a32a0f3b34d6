"""The command that shows logs: lines of JSON in, lines for people out."""

# What only this command needs is imported when it runs: help must be instant; \b keeps the lines of a help text.
# ruff: noqa: PLC0415, D301

import os
import re
import select
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import translate
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated

import typer

from zgrid.cli.durations import moment
from zgrid.cli.output import OutputClosedError, hush, refusal
from zgrid.errors import EXIT_OK, SettingsError

if TYPE_CHECKING:
    from zgrid.cli.linewise import Source
    from zgrid.cli.logline import Line, Teller, Wanted

LOOK_EVERY_MS = 200
"""How often files that are followed are looked at."""

PENDING_BYTES_MAX = 1 << 16

_Many = list[str] | None
Files = Annotated[
    _Many,
    typer.Argument(metavar="FILE", help="logs, put in order of time; - or none: standard input", show_default=False),
]
Jobs = Annotated[
    _Many,
    typer.Option("--job", metavar="JOB", help="only of this job: its number, key, URI or path", show_default=False),
]
Workers = Annotated[
    _Many, typer.Option("--worker", metavar="NAME", help="only by this worker and about it", show_default=False)
]
Events = Annotated[
    _Many, typer.Option("--event", metavar="NAME", help="only this event, or those like 'job_*'", show_default=False)
]
Level = Annotated[
    str, typer.Option("--level", metavar="LEVEL", help="only from debug, info, warning or error up", show_default=False)
]
Roles = Annotated[
    _Many, typer.Option("--role", metavar="ROLE", help="only by ventilators, workers or sinks", show_default=False)
]
Instances = Annotated[
    _Many, typer.Option("--instance", metavar="NAME", help="only by the one of this --name", show_default=False)
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="only from so long ago (10m, 2h) or that time on", show_default=False),
]
Last = Annotated[
    int | None,
    typer.Option("--lines", "-n", metavar="N", min=0, help="only the last ones of what is there", show_default=False),
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="wait for more, through rotation as tail -F does")]
Long = Annotated[bool, typer.Option("--long", help="show long values, and text of several lines, whole")]
AsJson = Annotated[bool, typer.Option("--json", help="print the lines as they were; what is no JSON on standard error")]


def logs(
    files: Files = None, job: Jobs = None, worker: Workers = None, event: Events = None, level: Level = "debug",
    role: Roles = None, instance: Instances = None, since: Since = None, lines: Last = None, follow: Follow = False,
    long: Long = False, as_json: AsJson = False,
) -> int:  # fmt: skip
    """Show logs as people like to read them.

    Times are local. An option may be repeated: any of its values will do. Lines that are no JSON, such as a traceback,
    are shown as they are, whatever is asked for.

    \b
    Examples:
      journalctl -fu 'zgrid-*' -o cat | zgrid logs --level warning
      zgrid logs -f faces/logs/*.jsonl --since 10m
      zgrid logs /var/log/zgrid/*.jsonl --job /photos/2024/img_0042.jpg --long
    """
    from zgrid.cli.linewise import open_source
    from zgrid.cli.logline import Style, Teller, Wanted, job_names, text_of

    wanted = Wanted(
        _level(level),
        text_of(moment(since, "--since", datetime.now(UTC))) if since else "",
        _roles(role),
        frozenset(instance or ()),
        frozenset(worker or ()),
        job_names(job or ()),
        _events(event),
    )
    terminal = sys.stdout.isatty()
    colours = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    printer = _Printer(None if as_json else Teller(Style(long=long, terminal=terminal, colours=colours)))
    with ExitStack() as stack:
        sources = []
        for name in files or [_standard_input()]:
            sources.append(open_source(name, printer.flush, follow=follow))
            stack.callback(sources[-1].close)
        _show(sources, wanted, printer, lines)
        while follow and any(not source.ended for source in sources):
            _wait(sources)
            _show(sources, wanted, printer, None)
    return EXIT_OK


def _standard_input() -> str:
    """Return its name. Raises SettingsError where that would wait for a person to type."""
    if sys.stdin is None or sys.stdin.isatty():
        raise SettingsError("name a FILE, or send lines here: journalctl -fu 'zgrid-*' -o cat | zgrid logs")
    return "-"


def _level(level: str) -> int:
    from zgrid.log import LEVELS

    if level not in LEVELS:
        raise SettingsError(f"--level must be {', '.join(list(LEVELS)[:-1])} or {list(LEVELS)[-1]}, not {level!r}")
    return LEVELS[level] if level != "debug" else 0


def _roles(roles: _Many) -> frozenset[str]:
    from zgrid.settings import ROLES

    for role in roles or ():
        if role not in ROLES:
            raise SettingsError(f"--role must be one of {', '.join(ROLES)}, not {role!r}")
    return frozenset(roles or ())


def _events(events: _Many) -> Callable[[str], bool] | None:
    """Return what says whether an event is wanted."""
    from zgrid.log import EVENTS

    for event in events or ():
        if event not in EVENTS and not set(event) & set("*?["):
            near = get_close_matches(event, EVENTS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(EVENTS)}"
            raise SettingsError(f"--event: no line has the name {event!r}; {hint}")
    if not events:
        return None
    fits = re.compile("|".join(map(translate, events))).match
    return lambda event: fits(event) is not None


def _lines(source: "Source", begun_at: dict[int, str]) -> Iterator["Line"]:
    """Yield a source's lines; one that has no time of its own has that of the line before it."""
    from zgrid.cli.logline import read

    at = begun_at.get(id(source), "")
    for raw in source.lines():
        line = read(raw, at)
        at = begun_at[id(source)] = line.at
        yield line


def _show(sources: list["Source"], wanted: "Wanted", printer: "_Printer", last: int | None) -> None:
    """Show what is there, several sources as one in order of time; or only the ``last`` lines of it."""
    each = [_lines(source, printer.begun_at) for source in sources]
    lines = each[0] if len(each) == 1 else merge(*each, key=attrgetter("at"))
    if last is None:
        for line in lines:
            if wanted.takes(line):
                printer.show(line)
    else:
        for line in deque((line for line in lines if wanted.takes(line)), last):
            printer.show(line)
    printer.flush()


def _wait(sources: list["Source"]) -> None:
    """Wait until there may be more, a moment at most for files. Raises OutputClosedError when nobody reads on."""
    poll = select.poll()
    output = sys.stdout.fileno()
    poll.register(output, 0)  # it says when its other end is closed
    for source in sources:
        if source.handle is not None and not source.ended:
            poll.register(source.handle, select.POLLIN)
    files = any(source.handle is None for source in sources)
    if any(handle == output for handle, _ in poll.poll(LOOK_EVERY_MS if files else None)):
        hush(sys.stdout)
        raise OutputClosedError


class _Printer:
    """Prints lines, many with one write: by ``teller`` for people, as they were without one.

    ``begun_at``: the time of the last line of each source, which its next one may need.
    """

    def __init__(self, teller: "Teller | None") -> None:
        self.begun_at: dict[int, str] = {}
        self._teller = teller
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._encoding = sys.stdout.encoding or "utf-8"

    def show(self, line: "Line") -> None:
        """Print a line, soon."""
        if self._teller is not None:
            text = self._teller.tell(line).encode(self._encoding, "backslashreplace")
        elif line.fields is not None:
            text = line.raw
        else:
            self.flush()
            sys.stderr.buffer.write(line.raw + b"\n")
            sys.stderr.flush()
            return
        self._pending.append(text)
        self._pending_bytes += len(text)
        if self._pending_bytes > PENDING_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Print what is pending. Raises OutputClosedError when nobody reads it."""
        if not self._pending:
            return
        text = b"\n".join([*self._pending, b""])
        self._pending, self._pending_bytes = [], 0
        try:
            sys.stdout.buffer.write(text)
            sys.stdout.flush()
        except OSError as error:
            raise refusal() or error from None
