"""What systemd hears of a role: that it is ready, how it stands, that it is alive, and that it takes its time to stop.

Each is one datagram to the socket that ``NOTIFY_SOCKET`` names (sd_notify). Where nobody asks for it, nothing is sent.
Whoever asks the role over HTTP whether it is alive and ready is told the same.
"""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from zgrid.transport.clock import now as clock_now

SAY_EVERY_S = 1.0
"""How often a role says how it stands, unless the watchdog wants to be fed more often."""

STOP_AGAIN_S = 10.0
"""How long a role that stops may be silent before it is taken for stuck."""

HANGS_S = 30.0
"""A loop that has not turned, or a write to disk that goes on, for so long is taken for hanging where no watchdog says
otherwise: half of the time that the units' watchdog gives."""


class Notify:
    """The supervisor's ear. ``interval_s``: how often it wants to hear ``alive``; None when nobody listens.

    Takes its variables out of ``environ``, so that no process that a role starts speaks in its place. With ``asked``
    somebody listens even where there is no supervisor: who calls ``trouble`` from another thread. ``state`` is
    starting, ready or stopping.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None, *, asked: bool = False) -> None:
        environ = os.environ if environ is None else environ
        name = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        for_us = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.state = "starting"
        self.interval_s: float | None = SAY_EVERY_S if asked else None
        self._hangs_s = HANGS_S
        self._turned_at: float | None = None
        self._stuck = ""
        self._watchdog_s: float | None = None
        self._text = ""
        self._at: int | None = None
        self._since = clock_now()
        self._socket: socket.socket | None = None
        if name[:1] not in {"/", "@"}:
            return
        self._address = "\0" + name[1:] if name[0] == "@" else name  # the kernel writes abstract names with a zero
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self.interval_s = SAY_EVERY_S
        if for_us and watchdog_us.isdecimal() and int(watchdog_us):
            self._watchdog_s = int(watchdog_us) / 1e6
            self._hangs_s = self._watchdog_s / 2
            self.interval_s = min(SAY_EVERY_S, self._watchdog_s / 4)

    def ready(self) -> None:
        """Say that everything is open and others may come."""
        self.state = "ready"
        self._turned_at = clock_now()
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Say in one line how the role stands."""
        if text != self._text:
            self._text = text
            self._send(f"STATUS={text}")

    def alive(self, at: int | None = None) -> None:
        """Feed the watchdog: the main loop turns.

        ``at``: the number of the piece of work that the thread which writes to disk has under way, None when it has
        none. One that is under way for more than half of the watchdog's time is stuck, and nothing is fed then.
        """
        now = self._turned_at = clock_now()
        if at is None or at != self._at:
            self._at, self._since = at, now
        stuck_s = now - self._since
        self._stuck = f"one write to disk has been under way for {stuck_s:.0f} s" if stuck_s > self._hangs_s else ""
        if self._watchdog_s is None:
            return
        if self._stuck:
            self.status(self._stuck)
        else:
            self._send("WATCHDOG=1")

    def trouble(self) -> str:
        """Say why the watchdog is not fed; nothing while it is. Any thread may ask."""
        turned_at = self._turned_at  # None until the loop turns: a start takes as long as it takes
        still_s = 0.0 if turned_at is None else clock_now() - turned_at
        return f"the main loop has not turned for {still_s:.0f} s" if still_s > self._hangs_s else self._stuck

    def stopping(self, extend_s: float = STOP_AGAIN_S) -> None:
        """Say that the role ends, and may need ``extend_s`` from now on for it; say it again before they are over."""
        self.state = "stopping"
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={extend_s * 1e6:.0f}")

    def close(self) -> None:
        """Give the descriptor back; a second time does nothing, and what is said after is not heard."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None:
            # One that is lost because the supervisor is busy, or is starting anew, is followed by the next.
            with suppress(OSError):
                self._socket.sendto(text.encode("utf-8", "replace"), self._address)
