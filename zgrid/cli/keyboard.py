"""A terminal for a live view: keys one by one, the other screen, and at the end, whatever ends it, all as it was."""

import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from types import FrameType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTICED = (*ENDING, signal.SIGTSTP, signal.SIGWINCH)

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""What a terminal sends for an arrow, a function key, or a letter with Alt."""


class Screen:
    """The terminal while the view is up. ``ended_by``: the signal that asks for the end."""

    def __init__(self, console: Console) -> None:
        self.ended_by: int | None = None
        self.has_keys = sys.stdin.isatty()
        self._console = console
        self._live: Live | None = None
        self._before: list[Any] | None = None
        self._suspended = False
        self._handlers: dict[int, Any] = {}
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._reads, False)
        os.set_blocking(self._writes, False)
        self._poll = select.poll()
        self._poll.register(self._reads, select.POLLIN)
        if self.has_keys:
            self._poll.register(sys.stdin.fileno(), select.POLLIN)

    def __enter__(self) -> Self:
        for number in NOTICED:
            self._handlers[number] = signal.signal(number, self._take)
        signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            # The pipe stays open: a thread may still write to it, and the process ends soon.

    def show(self, shown: RenderableType) -> None:
        """Draw. A terminal that is gone is the end."""
        assert self._live is not None
        try:
            self._live.update(shown, refresh=True)
        except OSError:
            self.ended_by = self.ended_by or signal.SIGHUP

    def wake(self) -> None:
        """Have ``wait`` return, from any thread."""
        with contextlib.suppress(BlockingIOError):  # then it is full, and that wakes as well
            os.write(self._writes, b"\0")

    def wait(self, timeout_s: float) -> tuple[str, bool]:
        """Wait for keys, a signal, a new size or ``wake``; return the keys, and whether there is something to draw."""
        keys, anything = "", False
        for handle, _ in self._poll.poll(max(0.0, timeout_s) * 1000):
            anything = True
            if handle == self._reads:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._reads, 4096)
            else:
                keys = self._keys()
        if self._suspended:
            self._suspended = False
            self._suspend()
        return keys, anything

    def _take(self, number: int, _frame: FrameType | None) -> None:
        if number in ENDING:
            self.ended_by = self.ended_by or number
        elif number == signal.SIGTSTP:
            self._suspended = True

    def _keys(self) -> str:
        """Return what was typed; arrows and other keys that send several letters are none of ours."""
        with contextlib.suppress(OSError):
            typed = os.read(sys.stdin.fileno(), 256)
            if typed:
                return _SEQUENCE.sub(b"", typed).decode("ascii", "ignore").lower()
        self._poll.unregister(sys.stdin.fileno())  # the terminal is gone
        return ""

    def _suspend(self) -> None:
        """Stop as Ctrl-Z asks for, with the terminal as it was; go on when told to."""
        self._end()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._begin()

    def _begin(self) -> None:
        if self.has_keys:
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin, termios.TCSANOW)
        self._live = Live("", console=self._console, screen=True, auto_refresh=False)
        self._live.start()

    def _end(self) -> None:
        live, self._live = self._live, None
        before, self._before = self._before, None
        try:
            if live is not None:
                with contextlib.suppress(OSError):  # the terminal may be gone
                    live.stop()
        finally:
            if before is not None:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
