"""The command that puts images: files of this machine, each a job of its own at the ventilator."""

# What speaks to the network is imported when it is needed, and help must be instant; \b keeps a help text's lines.
# ruff: noqa: PLC0415, D301

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zgrid.cli.asking import Address, AsJson, Patience, connected
from zgrid.cli.durations import duration_ms
from zgrid.cli.output import clean, say, say_json
from zgrid.errors import EXIT_OK, EXIT_SETTINGS, SettingsError, ZGridError

if TYPE_CHECKING:
    from rich.progress import Progress

    from zgrid.client import Client, Image, Placed

TOLD_MAX = 20
"""So many files are told one by one; of more there is a sum, and a line of progress on a terminal."""

EXIT_CLOSED = 1
"""All could be put, but some are of jobs that were closed before without a result."""

KEPT_TERMS = "the terms it was put with stay"

CLOSED = {
    "buried": "zgrid retry takes it up again",
    **dict.fromkeys(("discarded", "cancelled"), "its image is not kept any more, so put it again under another name"),
}
"""States in which a job is closed without a result, and what can be done then."""

SHOW_EVERY = 50
"""Files between two looks of a person at the line of progress."""


def put(
    address: Address,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="images, or - for a list of paths on standard input", show_default=False),
    ],
    priority: Annotated[
        int, typer.Option("--priority", metavar="N", help="the smaller the sooner; then the oldest first")
    ] = 0,
    delay: Annotated[
        str, typer.Option("--delay", metavar="TIME", help="nobody gets it before: 500ms, 30s, 2h, 1d")
    ] = "0s",
    ttr: Annotated[
        str | None, typer.Option("--ttr", metavar="TIME", help="its own time to run: 500ms, 10m", show_default=False)
    ] = None,
    attempts: Annotated[
        int | None,
        typer.Option("--attempts", metavar="N", min=1, help="how often it is tried at most", show_default=False),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="NAME", help="a filter of its own chain, in order; repeat it", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    timeout_ms: Patience = 5000,
) -> int:
    """Have images looked at: each file becomes a job.

    Its bytes are kept on the ventilator's disk with the job, so the file is not needed any more when this has ended.
    The same file put again is the same job. A file that cannot be read, or is no image, is named, and the others are
    put. What is not given is as the ventilator has it.

    \b
    Examples:
      zgrid put tcp://photos.lan:5550 holiday/*.jpg
      zgrid put tcp://photos.lan:5550 urgent.jpg --priority -10 --filter faces:score=0.8
      find /photos -newer mark -print0 | zgrid put tcp://photos.lan:5550 - --delay 2h

    An image that was put before keeps the terms it was put with. Where its job was buried, discarded or cancelled, it
    is not done again by that, and its line says what to do.

    Ends with 0 when all are put, 2 when some could not be, 1 when some are of jobs that were buried, discarded or
    cancelled before, or the ventilator refuses or does not answer.
    """
    terms = {
        "chain": filters,
        "priority": priority,
        "delay_s": duration_ms(delay, "--delay") / 1000,
        "ttr_ms": None if ttr is None else round(duration_ms(ttr, "--ttr")),
        "attempts": attempts,
    }
    with connected(address, timeout_ms) as client:
        putting = _Putting(client, terms, as_json=as_json, many=len(files) > TOLD_MAX or "-" in files)
        try:
            putting.put(_paths(files))
        finally:
            putting.end()
    return EXIT_SETTINGS if putting.refused else EXIT_CLOSED if putting.closed else EXIT_OK


class _Putting:
    """Puts files, and tells what became of them: each one, or, of many, how many."""

    def __init__(self, client: "Client", terms: dict[str, Any], *, as_json: bool, many: bool) -> None:
        self._client = client
        self._terms = terms
        self._has_terms = any(terms.values())
        self._as_json = as_json
        self._many = many
        self._waiting: deque[str] = deque()
        self._placed: list[dict[str, Any]] = []
        self._new = self._known = self.closed = 0
        self.refused: list[dict[str, str]] = []
        self._bar = _bar() if many and not as_json and sys.stderr.isatty() else None

    def put(self, paths: Iterable[str]) -> None:
        """Put all of them."""
        for placed in self._client.put_many(self._noted(paths), **self._terms, on_refused=self._refuse):
            path = self._waiting.popleft()
            self._known += placed.known
            self._new += not placed.known
            is_closed = placed.known and placed.state in CLOSED
            self.closed += is_closed
            if self._as_json:
                self._placed.append({"file": path, **placed._asdict()})
            elif not self._many:
                say(_line(path, placed, has_terms=self._has_terms))
            elif is_closed:
                say(f"zgrid: {_line(path, placed, has_terms=self._has_terms)}", sys.stderr)
            if self._bar is not None and not (self._known + self._new) % SHOW_EVERY:
                self._bar.update(self._bar.task_ids[0], completed=self._known + self._new, refused=len(self.refused))
        if self._terms["chain"] and self._known + self._new:
            _warn_of_lack(self._client, self._terms["chain"])

    def end(self) -> None:
        """Tell what it has come to."""
        if self._bar is not None:
            self._bar.stop()
        if self._as_json:
            say_json({"put": self._placed, "refused": self.refused})
        elif self._many:
            kept = " (the terms they were put with stay)" if self._known and self._has_terms else ""
            say(f"{self._new} put, {self._known} known already{kept}, {len(self.refused)} refused")

    def _noted(self, paths: Iterable[str]) -> Iterator[str]:
        for path in paths:
            self._waiting.append(path)
            yield path

    def _refuse(self, image: "Image", error: ZGridError) -> None:
        path = str(image)
        self._waiting.remove(path)
        self.refused.append({"file": path, "reason": str(error)})
        if not self._as_json:
            say(f"zgrid: {clean(str(error))}", sys.stderr)


def _warn_of_lack(client: "Client", filters: list[str]) -> None:
    """Say which filters of a chain no worker has, where there are workers: jobs wait for one that may never come."""
    with suppress(ZGridError):  # the images are put, whatever comes of the question
        workers = client.status()["workers"]
        have = {name for worker in workers for name in worker["filters"]}
        lack = [name for name in dict.fromkeys(step.partition(":")[0] for step in filters) if name not in have]
        if workers and lack:
            which = "it" if len(lack) == 1 else "them"
            say(f"zgrid: no worker has {' or '.join(lack)}: the jobs wait until one has {which}", sys.stderr)


def _paths(files: Iterable[str]) -> Iterator[str]:
    """Return the paths that were given, and those on standard input in the place of the dash."""
    from zgrid.sources.stdin import paths_in

    for file in files:
        if file != "-":
            yield file
            continue
        if sys.stdin is None:
            raise SettingsError("standard input is closed: give paths there where FILE is -")
        for path in paths_in(sys.stdin):
            if path is not None:  # longer than any path can be
                yield os.fsdecode(path)


def _line(path: str, placed: "Placed", *, has_terms: bool) -> str:
    notes = [KEPT_TERMS] if has_terms else []
    notes += [CLOSED[placed.state]] if placed.state in CLOSED else []
    known = f" (known, {placed.state}{': ' if notes else ''}{'; '.join(notes)})" if placed.known else ""
    return f"job {placed.job}{known}: {clean(path)}"


def _bar() -> "Progress":
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = ("{task.completed} put", "{task.fields[refused]} refused")
    bar = Progress(
        SpinnerColumn(), *map(TextColumn, columns), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    )
    bar.add_task("", total=None, refused=0)
    bar.start()
    return bar
