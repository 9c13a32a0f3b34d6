"""What people read: tables with lines on a terminal, plain columns elsewhere, and text that a terminal can be given."""

import errno
import os
import stat
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO

import orjson

from zgrid.errors import ZGridError

SPAN_MS_MAX = 1e18
"""No duration is longer, thirty million years; what says so may be infinite, or more than a float can hold."""


class OutputClosedError(Exception):
    """Nobody reads what we print any more, as with ``| head``: not a fault of anybody."""


class OutputRefusedError(ZGridError):
    """What we print cannot be written: the disk is full, or the output was closed before we began."""


def provide() -> None:
    """Have outputs where there are none: standard output as one that refuses whatever is written, errors as nowhere."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def refusal(stream: IO[str] | None = None) -> Exception | None:
    """Return why an output takes nothing more, and send it nowhere from now on; None where it does take a line."""
    stream = sys.stdout if stream is None else stream
    try:
        stream.write("\n")
        stream.flush()
    except OSError as error:
        # A terminal that is gone says EIO, as a disk that fails.
        gone = error.errno == errno.EPIPE or (error.errno == errno.EIO and _is_device(stream))
        hush(stream)
        if gone:
            return OutputClosedError()
        why = "it is closed" if error.errno == errno.EBADF else error.strerror
        name = "standard error" if stream is sys.stderr else "standard output"
        return OutputRefusedError(f"{name} cannot be written: {why}")
    return None


def _is_device(stream: IO[str]) -> bool:
    return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)


def say(text: str = "", stream: IO[str] | None = None) -> None:
    """Print one line. Raises OutputClosedError when nobody reads it, OutputRefusedError when it cannot be written."""
    stream = sys.stdout if stream is None else stream
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError as error:
        raise refusal(stream) or error from None
    except UnicodeEncodeError:  # a terminal of an old encoding, or a name that is not text
        stream.write(text.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()


def hush(stream: IO[str]) -> None:
    """Send what is still in the buffer of a closed pipe or terminal nowhere, so that Python's end is quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def say_json(value: object) -> None:
    """Print plain data as JSON, indented, whatever is in it."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    say(orjson.dumps(value, lambda one: one.hex() if isinstance(one, bytes) else str(one), options).decode())


def say_table(heads: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print rows under their heads; numbers are set to the right. Without rows nothing is printed."""
    if not rows:
        return
    texts = [[clean(cell) for cell in row] for row in rows]
    is_number = [all(isinstance(row[place], int | float) for row in rows) for place in range(len(heads))]
    if sys.stdout.isatty():
        _say_rich(heads, texts, is_number, title)
        return
    if title:
        say(f"{title}:")
    widths = [max(len(line[place]) for line in [heads, *texts]) for place in range(len(heads))]
    for line in [heads, *texts]:
        cells = zip(line, widths, is_number, strict=True)
        say("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip())


def _say_rich(heads: Sequence[str], rows: Sequence[Sequence[str]], is_number: Sequence[bool], title: str) -> None:
    """Print a table for a person at a terminal."""
    from rich import box, console, table, text  # noqa: PLC0415 - only people at a terminal pay for it

    shown = table.Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for head, right in zip(heads, is_number, strict=True):
        shown.add_column(head, justify="right" if right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*[text.Text(cell) for cell in row])
    console.Console().print(shown)


def clean(value: object) -> str:
    """Return a value as one line that cannot steer a terminal: it may come from a file's name or another machine."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, dict):
        return ", ".join(f"{clean(key)} {clean(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(clean, value))
    if isinstance(value, bytes):
        return value.hex()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(value))


def span(milliseconds: object) -> str:
    """Return a duration in ms as people say it: 250 ms, 12.5 s, 3 min 20 s, 2 h 5 min, 3 d 4 h; "-" for none."""
    if not isinstance(milliseconds, int | float) or not abs(milliseconds) < SPAN_MS_MAX:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def moment(at_ms: object) -> str:
    """Return a moment of the wall clock as people here write it, to the millisecond."""
    if not isinstance(at_ms, int | float) or not 0 <= at_ms < 250_000_000_000_000:
        return "-"
    then = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone()
    return then.isoformat(sep=" ", timespec="milliseconds")
