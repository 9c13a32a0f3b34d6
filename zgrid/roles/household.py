"""The processes of a grid on one machine: started, watched, started again when they die, and ended in order."""

import ctypes
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from zgrid.errors import EXIT_SETTINGS, SettingsError, ZGridError
from zgrid.settings import variable_of
from zgrid.transport.clock import now as clock_now

DEATHS_MAX = 5
"""A process that dies this often within DEATHS_WITHIN_S is not started again: it will not get better by itself."""
DEATHS_WITHIN_S = 20.0

METRICS = variable_of("metrics")
"""Not for the processes of a run: all of them would serve their metrics at the same address."""

LOOK_EVERY_S = 0.1
"""How soon somebody who is in a hurry is heard while a process is awaited."""

LAST_WORDS_S = 1.0
"""How long a process that is told twice to stop may take to say what it leaves."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


class Member:
    """One process of the household, as what it is (``ventilator``, ...) and with which arguments it is started."""

    def __init__(self, role: str, arguments: Sequence[str], log: Path, *, stdin: bool = False) -> None:
        self.role = role
        self.log = log
        self._arguments = arguments
        self._stdin = stdin
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                # -P: what lies in the folder where somebody starts a run must hide no library of ours.
                [sys.executable, "-P", "-m", "zgrid", self.role, *self._arguments],
                stdin=None if self._stdin else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name != METRICS},
                start_new_session=True,  # Ctrl-C reaches us alone, and we end the others in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509  we have no threads that could hold a lock
            )

    def watch(self) -> int | None:
        """Start it again if it died by a fault; return its exit status if it ended as it should.

        Raises SettingsError where it says that its settings cannot work, ZGridError where it dies again and again.
        """
        status = self.process.poll()
        if status is None or status in (0, 3):
            return status
        if status == EXIT_SETTINGS:
            raise SettingsError(self.last_words())
        now = clock_now()
        self._deaths.append(now)
        if len(self._deaths) == DEATHS_MAX and now - self._deaths[0] < DEATHS_WITHIN_S:
            raise ZGridError(f"the {self.role} dies again and again ({self.last_words()}); its log is {self.log}")
        self.process = self._start()
        return None

    def end(self, within_s: float, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Ask it to stop; when it has not within the time, or as soon as ``is_hurried``, ask again, then kill it."""
        deadline = clock_now() + within_s
        self._ask_to_stop()
        while self.process.poll() is None and clock_now() < deadline and not is_hurried():
            self._wait(LOOK_EVERY_S)
        if self.process.poll() is None:
            self._ask_to_stop()
            self._wait(LAST_WORDS_S)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def _wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def last_words(self) -> str:
        """Return the last line of its log that is a sentence for people."""
        with self.log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 8192))
            lines = log.read().decode("utf-8", "replace").splitlines()
        said = [line.removeprefix("zgrid: ") for line in lines if line.startswith("zgrid: ")]
        return said[-1] if said else f"see {self.log}"


def _die_with_parent() -> None:
    """In the new process: end in order when the one that started it is gone, however it went."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
