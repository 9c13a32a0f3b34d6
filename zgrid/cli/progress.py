"""How far a run is: a bar on a terminal, plain lines elsewhere, and what it has come to."""

import sys
import time
from collections.abc import Callable, Sequence
from shlex import quote
from typing import TYPE_CHECKING

from zgrid.cli.output import OutputClosedError, clean, hush, say, span

if TYPE_CHECKING:  # the roles are imported when they run: help must be instant
    from rich.progress import Progress

    from zgrid.roles.run import Standing, Summary

LINE_EVERY_S = 10.0

NARROW = 90
"""A terminal with fewer columns gets numbers without a bar and in few words."""

STOPPING = "finishing what has begun; Ctrl-C again stops at once"

WAITING_TOLD_S = 3.0
"""What a run waits for is told after so long; at every start its processes wait for each other for a moment."""


class Waiting:
    """Tells which sentences of what a run waits for are to be said: each once it has stood for a while, and once."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._said: set[str] = set()

    def news(self, waiting: Sequence[str], now: float) -> list[str]:
        """Return those of ``waiting`` that are due; ``now`` in s. What has passed may come again, and is said again."""
        self._since = {sentence: self._since.get(sentence, now) for sentence in waiting}
        self._said &= self._since.keys()
        due = [sentence for sentence in waiting if now - self._since[sentence] >= WAITING_TOLD_S]
        news = [sentence for sentence in due if sentence not in self._said]
        self._said.update(news)
        return news


class Lines:
    """A line now and then, for logs and pipes."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()
        self._waiting = Waiting()

    def show(self, standing: "Standing") -> None:
        """Say how it stands, every few seconds, and what it waits for as soon as that has lasted."""
        now = time.monotonic()
        if now - self._said_at >= LINE_EVERY_S:
            self._said_at = now
            say(_line(standing))
        for sentence in self._waiting.news(standing.waiting, now):
            say(f"waiting: {clean(sentence)}")

    def stopping(self) -> None:
        """Say that it finishes what has begun."""
        say(STOPPING)

    def end(self, summary: "Summary") -> None:
        """Say what it has come to."""
        say_summary(summary)

    def close(self) -> None:
        """There is nothing to take away."""


class Bar:
    """A bar with images, faces, rate and the time left, for a person at a terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._waiting = Waiting()

    def show(self, standing: "Standing") -> None:
        """Draw how it stands."""
        if self._progress is None:
            self._progress = _new_bar()
            self._progress.start()
            self._progress.add_task("", total=1, of="0", faces=0, rate="0.0", buried="", left="-")
        left = standing.left
        eta = span(1000 * left / standing.rate_per_s) if standing.rate_per_s > 0.01 and not standing.scanning else "-"
        self._progress.update(
            self._progress.task_ids[0],
            total=max(1, standing.accepted),
            completed=standing.settled,
            faces=standing.faces,
            rate=f"{standing.rate_per_s:.1f}",
            buried=f" · {standing.buried} buried" if standing.buried else "",
            of=f"{standing.accepted}{'+' if standing.scanning else ''}",
            left=f"{eta} left" if left or standing.scanning else "done",
        )
        for sentence in self._waiting.news(standing.waiting, time.monotonic()):
            self._progress.console.print(f"waiting: {clean(sentence)}", markup=False, highlight=False)

    def stopping(self) -> None:
        """Say that it finishes what has begun."""
        if self._progress is None:
            say(STOPPING)
        else:
            self._progress.console.print(STOPPING, highlight=False)

    def end(self, summary: "Summary") -> None:
        """Draw the end, and say what it has come to."""
        if self._progress is not None:
            self.show(summary.standing)
            self.close()
        say_summary(summary)

    def close(self) -> None:
        """Leave the terminal as it was, with its cursor. Safe to call twice."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class Lasting:
    """A bar that outlives its terminal: once that is gone nothing is shown, and the run ends as it was told to."""

    def __init__(self) -> None:
        self._bar = Bar()
        self._terminals = [stream for stream in (sys.stdout, sys.stderr) if stream.isatty()]

    def show(self, standing: "Standing") -> None:
        """Draw how it stands."""
        self._try(lambda: self._bar.show(standing))

    def stopping(self) -> None:
        """Say that it finishes what has begun."""
        self._try(self._bar.stopping)

    def end(self, summary: "Summary") -> None:
        """Draw the end, and say what it has come to."""
        self._try(lambda: self._bar.end(summary))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._try(self._bar.close)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except (OSError, OutputClosedError):
            for terminal in self._terminals:
                hush(terminal)


def view() -> "Lines | Lasting":
    """Return the view that fits standard output."""
    return Lasting() if sys.stdout.isatty() else Lines()


def say_summary(summary: "Summary") -> None:
    """Say what a run has come to, and where it is."""
    standing = summary.standing
    new = f"{summary.new} new" if summary.new else "nothing new"
    rate = f", {summary.new / summary.seconds:.1f} images/s" if summary.new else ""
    say(f"{_counted(standing.accepted, 'image')}, {new}, in {span(summary.seconds * 1000)}{rate}")
    parts = [f"{standing.stored} stored", f"{standing.discarded} discarded", f"{standing.buried} buried"]
    if standing.passed_over:
        read = standing.passed_over - standing.unread
        parts += [f"{_counted(read, 'file')} passed over: no image{'s' * (read != 1)}"] if read else []
        parts += [f"{standing.unread} could not be read"] if standing.unread else []
    if standing.faces:
        parts.append(_counted(standing.faces, "new face"))
    say("  " + ", ".join(parts))
    for uri, reason in summary.buried_why:
        say(f"  buried: {clean(uri)}: {clean(reason)}")
    log = quote(str(summary.out / "logs" / "ventilator.jsonl"))
    if more := standing.buried - len(summary.buried_why):
        say(f"  buried: and {more} more: zgrid logs --event job_buried {log}")
    if standing.buried:
        say("  to try again what is buried: the same command with --retry-buried")
    for uri, reason in summary.unread_why:
        say(f"  not read: {clean(uri)} {clean(reason)}")
    if summary.unread_why and (more := standing.unread - len(summary.unread_why)):
        say(f"  not read: and {more} more: zgrid logs --event file_passed_over --level warning {log}")
    say(f"pictures: {summary.out / 'pictures'}")
    say(f"database: {summary.out / 'results.sqlite'}")
    for note in summary.notes:
        say(f"note: {clean(note)}")
    if summary.interrupted and (standing.left or standing.scanning):
        search = ", and more may be found" if standing.scanning else ""
        say(f"stopped with {_counted(standing.left, 'image')} to go{search}: the same command goes on from here")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _line(standing: "Standing") -> str:
    of = f"{standing.accepted}{'+' if standing.scanning else ''}"
    return (
        f"{standing.settled} of {of} images, {standing.faces} faces, {standing.rate_per_s:.1f} images/s"
        f", {standing.buried} buried"
    )


def _new_bar() -> "Progress":
    # Only people at a terminal pay for these.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    console = Console()
    if console.width < NARROW:
        numbers = "{task.completed}/{task.fields[of]} · {task.fields[faces]} faces · {task.fields[rate]}/s"
        return Progress(TextColumn(numbers + "{task.fields[buried]} · {task.fields[left]}"), console=console)
    return Progress(
        BarColumn(),
        TextColumn("{task.completed}/{task.fields[of]} images"),
        TextColumn("· {task.fields[faces]} faces · {task.fields[rate]} images/s{task.fields[buried]}"),
        TextColumn("· {task.fields[left]}"),
        console=console,
    )
