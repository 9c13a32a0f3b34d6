"""A socket as messages: received and checked, sent without waiting, and whatever is wrong with any of them counted."""

from collections import Counter
from collections.abc import Callable

import zmq

from zgrid.errors import PeerError
from zgrid.protocol import wire
from zgrid.protocol.messages import Frame, Message
from zgrid.transport.buffers import send_room

MESSAGES_PER_TURN_MAX = 256
"""From one socket, before the others have their turn."""

COPY_BYTES_MAX = 65536
"""Below this a copy is cheaper than the bookkeeping of sending without one (pyzmq's own threshold)."""

_LAST = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
"""Flags of a frame, as numbers: joining pyzmq's enums for each frame took longer than to send a short one."""


class Post:
    """One socket's messages. ``routed``: it is a ROUTER, and every message has a peer.

    ``views``: long frames are not copied out of ZeroMQ's buffers, which live as long as the message that has them.
    ``complain`` is called with a peer's name and a sentence for a message that breaks the protocol; it was dropped.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        complain: Callable[[str, str], None],
        *,
        routed: bool = False,
        views: bool = False,
    ) -> None:
        self.socket = socket
        self.dropped: Counter[str] = Counter()
        self._complain = complain
        self._routed = routed
        self._views = views

    def receive(self, messages_max: int = MESSAGES_PER_TURN_MAX) -> list[tuple[bytes, Message]]:
        """Return the (peer, message) pairs that are there, at most ``messages_max``. Never waits."""
        received = []
        for _ in range(messages_max):
            try:
                frames: list[Frame] = self._frames() if self._views else [*self.socket.recv_multipart(zmq.DONTWAIT)]
            except zmq.Again:
                break
            peer = bytes(frames.pop(0)) if self._routed else b""
            try:
                received.append((peer, wire.decode(frames)))
            except wire.UnknownMessageError:
                self.dropped["unknown"] += 1
            except PeerError as error:
                self.dropped["wrong"] += 1
                self._complain(peer.hex() or "peer", str(error))
        return received

    def _frames(self) -> list[Frame]:
        """Return the frames of a message, the long ones as views of ZeroMQ's own buffers. Raises zmq.Again."""
        return [frame.buffer if len(frame) >= COPY_BYTES_MAX else frame.bytes for frame in receive(self.socket)]

    def send(self, message: Message, peer: bytes | None = None) -> bool:
        """Send a message if it can go now. Return whether it went; what cannot go is dropped and counted.

        On a control socket nothing waits for a peer that is not there: everything said there is said again, or settled
        by a clock.
        """
        frames = wire.encode(message)
        try:
            send(self.socket, frames if peer is None else [peer, *frames])
        except zmq.ZMQError as error:
            # Not there, or not reading: its silence will be noticed, and what it needs it asks for again.
            self.dropped["unreachable" if error.errno == zmq.EHOSTUNREACH else "full"] += 1
            return False
        return True

    def public(self, peer: bytes) -> str | None:  # noqa: ARG002  as with keys
        """Return the public key of a peer: none has any here (``GuardedPost``)."""
        return None

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """Return the frames of a message without copying them. Raises zmq.Again.

    Each frame knows whether another one follows. pyzmq's recv_multipart asks the socket for each, which takes as long
    again as to receive it.
    """
    frames = [socket.recv(_LAST, copy=False)]
    while frames[-1].more:
        frames.append(socket.recv(_LAST, copy=False))
    return frames


def send(socket: zmq.Socket[bytes], frames: list[Frame]) -> None:
    """Send a message without waiting; raises zmq.Again before its first frame is taken, never after."""
    last = len(frames) - 1
    for index, data in enumerate(frames):
        flags = _MORE if index < last else _LAST
        if not send_room(socket, data, flags):
            socket.send(data, flags, copy=len(data) < COPY_BYTES_MAX)
