"""The command that shows live how ventilators and sinks stand."""

# What only this command needs is imported when it runs: help must be instant; \b keeps the lines of a help text.
# ruff: noqa: PLC0415, D301

import io
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from zgrid.cli.asking import Patience, warn_if_plain
from zgrid.cli.durations import duration_ms
from zgrid.cli.output import say
from zgrid.errors import EXIT_OK, SettingsError, ZGridError
from zgrid.settings import connectable
from zgrid.transport.clock import now as clock_now

if TYPE_CHECKING:
    from zgrid.cli.board import Sight
    from zgrid.cli.keyboard import Screen
    from zgrid.cli.watching import Watch

PLAIN_WIDTH = 120
"""Columns where no terminal says how many there are."""

DRAW_EVERY_S_MIN = 0.1

Addresses = Annotated[
    list[str],
    typer.Argument(metavar="ADDRESS", help="ventilators' and sinks', such as tcp://HOST:5550", show_default=False),
]
Interval = Annotated[str, typer.Option("--interval", metavar="TIME", help="how often to ask: 500ms, 2s")]
Once = Annotated[bool, typer.Option("--once", help="print how it stands now, and end")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="where there is no terminal, print it again and again")]


def top(
    addresses: Addresses, interval: Interval = "1s", once: Once = False, follow: Follow = False,
    timeout_ms: Patience = 2000,
) -> int:  # fmt: skip
    """Watch ventilators and sinks at work.

    Keys: q quits, p pauses the view, s sorts the workers otherwise. A worker's jobs are those that it is at, plus those
    that it has not begun. Who does not answer is asked again and again. Without a terminal it prints once.

    \b
    Examples:
      zgrid top tcp://photos.lan:5550
      zgrid top tcp://photos.lan:5550 tcp://cameras.lan:5550 tcp://results.lan:5560 --interval 5s
    """
    for address in addresses:
        try:
            connectable(address)
        except ValueError as error:
            raise SettingsError(f"ADDRESS: {error}") from None
    interval_s = duration_ms(interval, "--interval") / 1000
    if not 0.1 <= interval_s <= 3600:
        raise SettingsError(f"--interval must be between 100ms and 1h, not {interval}")
    is_live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not once
    if is_live:
        return _Live(addresses, interval_s, timeout_ms).run()
    return _print(addresses, interval_s, timeout_ms, again=follow and not once)


def _print(addresses: list[str], interval_s: float, timeout_ms: int, *, again: bool) -> int:
    """Print how they stand, once or again and again. Raises ZGridError when a single look has no answer at all."""
    watches = _watches(addresses, interval_s, timeout_ms, lambda: None)
    try:
        for watch in watches:
            watch.asked.wait()
        while True:
            began = clock_now()
            if again:
                say(time.strftime("%Y-%m-%d %H:%M:%S"))
            say(_text(watches))
            if not again:
                break
            say()
            time.sleep(max(0.0, began + interval_s - clock_now()))
    finally:
        for watch in watches:
            watch.stop()
    if all(watch.sight.error is not None for watch in watches):
        raise ZGridError(f"none of them answers: {watches[0].sight.error}" if watches[1:] else watches[0].sight.error)
    return EXIT_OK


def _watches(addresses: list[str], interval_s: float, timeout_ms: int, news: Callable[[], None]) -> "list[Watch]":
    from zgrid.cli.watching import Watch

    distinct = dict.fromkeys(addresses)
    for address in distinct:
        warn_if_plain(address)
    return [Watch(address, interval_s, timeout_ms, news) for address in distinct]


def _text(watches: "list[Watch]") -> str:
    """Return the board as text, with colours for a terminal, without spaces at the ends of lines."""
    from rich.console import Console

    from zgrid.cli.board import Look, board

    terminal = Console()
    width = terminal.width if sys.stdout.isatty() else int(os.environ.get("COLUMNS") or PLAIN_WIDTH)
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=max(20, width), force_terminal=terminal.is_terminal, no_color=terminal.no_color,
        color_system="auto" if terminal.is_terminal else None, legacy_windows=False,
    )  # fmt: skip
    look = Look(console.width, plain=not terminal.encoding.startswith("utf"))
    console.print(board([watch.sight for watch in watches], clock_now(), look), crop=False)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


class _Live:
    """The view on a terminal, until somebody or a signal ends it."""

    def __init__(self, addresses: list[str], interval_s: float, timeout_ms: int) -> None:
        from rich.console import Console

        from zgrid.cli.board import SORTS
        from zgrid.cli.keyboard import Screen

        self._interval_s = interval_s
        self._console = Console()
        self._sorts = list(SORTS)
        self._screen: Screen = Screen(self._console)
        self._watches = _watches(addresses, interval_s, timeout_ms, self._screen.wake)
        self._paused_at: float | None = None
        self._frozen: list[Sight] = []
        self._ended = False

    def run(self) -> int:
        """Show until the end; return the exit status. Raises KeyboardInterrupt after Ctrl-C."""
        try:
            with self._screen as screen:
                self._turn(screen)
        finally:
            for watch in self._watches:
                watch.stop()
        if screen.ended_by == signal.SIGINT:
            raise KeyboardInterrupt
        return 128 + screen.ended_by if screen.ended_by else EXIT_OK

    def _turn(self, screen: "Screen") -> None:
        drawn_at, due_at = 0.0, 0.0
        while not self._ended and screen.ended_by is None:
            now = clock_now()
            if now >= due_at:
                self._draw(screen)
                drawn_at, due_at = now, now + self._interval_s
            keys, anything = screen.wait(due_at - clock_now())
            for key in keys:
                self._press(key)
            if keys:
                due_at = 0.0
            elif anything:
                due_at = min(due_at, drawn_at + DRAW_EVERY_S_MIN)

    def _press(self, key: str) -> None:
        if key == "q":
            self._ended = True
        elif key == "p":
            if self._paused_at is None:
                self._paused_at, self._frozen = clock_now(), [watch.sight for watch in self._watches]
            else:
                self._paused_at = None
        elif key == "s":
            self._sorts.append(self._sorts.pop(0))

    def _draw(self, screen: "Screen") -> None:
        """Draw what is known; while it is paused, what was known then, so that it can be sorted and fits a new size."""
        from zgrid.cli.board import Look, board

        width, height = self._console.size
        keys = f"q quit  p pause  s sort: {self._sorts[0]}" if screen.has_keys else f"sorted by {self._sorts[0]}"
        now = clock_now()
        sights = [watch.sight for watch in self._watches]
        state = time.strftime("%H:%M:%S")
        if self._paused_at is not None:
            state, now, sights = f"PAUSED at {time.strftime('%H:%M:%S', self._then())}", self._paused_at, self._frozen
        plain = not self._console.encoding.startswith("utf")
        screen.show(board(sights, now, Look(width, height, self._sorts[0], plain, f"{keys}  {state}")))

    def _then(self) -> time.struct_time:
        """Return the time of the clock on the wall at which it was paused."""
        assert self._paused_at is not None
        return time.localtime(time.time() - (clock_now() - self._paused_at))
