"""Where an image's time goes: filters say which stage their work belongs to, and whoever measures listens.

Nothing is measured, and next to nothing spent, while nobody listens. One process, one thread, one clock.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

DECODE, DETECT, DRAW, ENCODE = "decode", "detect", "draw", "encode"
"""What a chain does with an image: pixels out of its file, faces in them, lines round these, and a file again."""

_NOTHING = nullcontext()


class Spent:
    """The seconds that each stage has taken since reset(). A stage within another stops the outer one's clock."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._inside: list[str] = []
        self._since = 0.0

    def reset(self) -> None:
        """Forget what was measured."""
        self.seconds = {}

    def enter(self, name: str) -> None:
        """A stage begins."""
        self._charge()
        self._inside.append(name)

    def leave(self) -> None:
        """The innermost stage ends."""
        self._charge()
        self._inside.pop()

    def _charge(self) -> None:
        now = self._clock()
        if self._inside:
            name = self._inside[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


class _Stage:
    """One stage of a chain that is measured."""

    __slots__ = ("_name", "_spent")

    def __init__(self, name: str, spent: Spent) -> None:
        self._name = name
        self._spent = spent

    def __enter__(self) -> None:
        self._spent.enter(self._name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._spent.leave()


listener: Spent | None = None
"""Who measures; None where nobody does."""


def stage(name: str) -> AbstractContextManager[None]:
    """Return what a ``with`` puts round the work that belongs to a stage."""
    return _NOTHING if listener is None else _Stage(name, listener)
