"""Ctrl-C while what the commands need is still being imported: nothing has begun, so the process ends at once."""

import os
import signal
from contextlib import suppress
from types import FrameType

from zgrid.errors import EXIT_SIGNAL


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_SIGNAL + number)


def over() -> None:
    """Give Ctrl-C back to Python, where nobody else has taken it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    with suppress(ValueError):  # only the main thread may, and only there somebody waits for a command
        signal.signal(signal.SIGINT, _end)
