"""When a socket that connects has reached its peer, or is turned away there: at once, and with a reason."""

import struct

import zmq

from zgrid.transport.clock import now as clock_now
from zgrid.transport.doors import unwatch

EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)

HUNG_UP_MAX = 5
HUNG_UP_S = 3.0
"""So many handshakes in a row, over so long, that end without a reason are one: a peer that is just being stopped does
it once, and one that starts on a busy machine until it can judge who is there."""

REDIAL_S = 2.0
"""libzmq never tries again where it was told no; people enroll who was forgotten, and give keys to whom had none."""

_EVENT = struct.Struct("=HI")
_MISMATCH = 0x11000002
"""ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: one side has keys, and the other none."""


class Arrivals:
    """Watches one connecting socket that is ``monitored``. Poll ``monitor`` for reading, then call ``take``.

    Between processes nothing is queued for a peer that is not there, so whoever waits for one that is being restarted
    has to speak first when it is back. Without this it would do so at its next beat: a second late.

    ``keyed``: the socket has keys. ``here``: there is a connection. ``trouble``: a sentence while the peer turns it
    away, else nothing; ``refused``: it says no to this key, but in plain text, so that may be anybody's word.
    ``hung_up``: handshakes that have failed since the last that did not.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str = "", *, keyed: bool = False) -> None:
        self._socket = socket
        self._address = address
        self._keyed = keyed
        self.here = False
        self.hung_up = 0
        self._hung_up_at = 0.0
        self._redial_at: float | None = None
        self.trouble = ""
        self.refused = False
        self.monitor: zmq.Socket[bytes] = socket.get_monitor_socket(EVENTS)

    def take(self) -> bool:
        """Return whether the peer was reached since the last call. Never waits."""
        arrived = False
        while True:
            try:
                data, _ = self.monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return arrived
            event, value = _EVENT.unpack(data)
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                arrived, self.hung_up, self.trouble, self._redial_at = True, 0, "", None
                self.here, self.refused = True, False
            else:
                self.here = False
                if event != zmq.EVENT_DISCONNECTED:
                    self._failed(event, value)

    def redial(self) -> None:
        """Now and then: try again where libzmq has given up."""
        if self._redial_at is not None and clock_now() >= self._redial_at:
            self._redial_at = None
            self._socket.disconnect(self._address)
            self._socket.connect(self._address)

    def close(self) -> None:
        """Stop watching; before the socket itself is closed."""
        unwatch(self._socket, self.monitor)

    def _failed(self, event: int, value: int) -> None:
        now = clock_now()
        if not self.hung_up:
            self._hung_up_at = now
        self.hung_up += 1
        if event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._redial_at = now + REDIAL_S
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.refused = True
            self.trouble = f"{self._address} does not let this key in: it was never enrolled there, or is revoked"
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == _MISMATCH:
            self.trouble = (
                f"{self._address} runs without keys, and this process has some: give it keys, or say --insecure here"
                if self._keyed
                else f"{self._address} wants keys: zgrid keys enroll makes some there, and --keys names them here"
            )
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL or (
            self.hung_up >= HUNG_UP_MAX and now - self._hung_up_at >= HUNG_UP_S
        ):
            self.trouble = self.trouble or (
                f"{self._address} hangs up on these keys: they are of another grid, or what listens there has none"
                if self._keyed
                else f"{self._address} hangs up: it wants keys (--keys), or no zgrid listens there"
            )
